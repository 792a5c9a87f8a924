"""What methods and encoders have in common: parameters and a state dict."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from fsseg.contracts.checks import require
from fsseg.encoders.base import listed
from fsseg.errors import FssegError

M = TypeVar("M", bound=nn.Module)
_NAMED = 3  # most parameters that a problem names


def check_gradients(network: nn.Module, loss: Tensor) -> None:
    """Every trained parameter gets a finite gradient.

    Args:
        network: method or encoder.
        loss: scalar from a pass in training.

    Raises:
        FssegError: a parameter has no gradient, or one that is not finite.
    """
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    problem = "nothing has a gradient, but parameters are trained. Look for no_grad() and detach()."
    require(loss.requires_grad or not trained, problem)
    check_finite(network, loss)
    without = [name for name, parameter in trained.items() if parameter.grad is None]
    problem = f"no gradient reaches {listed(without, _NAMED)}. Use them, remove them, or call requires_grad_(False)."
    require(not without, problem)


def check_finite(network: nn.Module, loss: Tensor) -> None:
    """Gradients of a loss are finite.

    Raises:
        FssegError: the gradient of a parameter is not finite.
    """
    if loss.requires_grad:
        loss.backward()
    found = {name: each.grad for name, each in network.named_parameters() if each.grad is not None}
    wrong = [name for name, grad in found.items() if not grad.isfinite().all()]
    problem = f"the gradient of {listed(wrong, _NAMED)} is not finite. Look for a root, a logarithm or a norm of 0."
    require(not wrong, problem)


def check_state_dict(made: M, other: M, outputs: Callable[[M], tuple[Tensor, ...]]) -> None:
    """Another module with the same state dict has the same outputs.

    Args:
        made: a method or an encoder.
        other: the same with other random weights.
        outputs: computes outputs in eval mode.

    Raises:
        FssegError: the state dict does not load, or outputs differ.
    """
    try:
        other.load_state_dict(made.state_dict())
    except RuntimeError as error:
        raise FssegError(
            f"the state dict of one object does not load into another ({' '.join(str(error).split())}). Make all "
            "parameters and buffers in the constructor."
        ) from error
    require(
        all(map(torch.equal, outputs(made), outputs(other))),
        "outputs differ after the state dict of one object was loaded into another. Weights in a list, a dict or a "
        "plain tensor are not stored: use nn.ModuleList, nn.ParameterList or register_buffer.",
    )
