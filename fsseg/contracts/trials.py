"""A method under test, and functions that several of its checks need."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fsseg.contracts.checks import require
from fsseg.episode import Batch
from fsseg.methods.base import Method

_NEAR = 1e-3  # of the largest logit: rounding in float32 is far below, a broken contract far above
_AWAKE = 0.1  # standard deviation of weights in place of zeros


def near(found: Tensor, expected: Tensor) -> bool:
    """Whether tensors differ by rounding only."""
    return torch.allclose(found, expected, rtol=0, atol=_NEAR * float(expected.abs().max()))


class Trial(NamedTuple):
    """A method under test.

    Attributes:
        make: builds the method, each time with other random weights.
        batch: makes a random batch, see `fsseg.contracts.batches.random_batch`.
        close: whether two tensors count as equal.
    """

    make: Callable[[], Method]
    batch: Callable[..., Batch]
    close: Callable[[Tensor, Tensor], bool] = near

    def require_equal(self, found: Tensor, expected: Tensor, problem: str) -> None:
        """Refuse other values; the problem gets the largest difference.

        Raises:
            FssegError: shapes or values differ.
        """
        require(found.shape == expected.shape, f"{problem}: shapes {shape_of(found)} and {shape_of(expected)}")
        found, expected = found.detach(), expected.detach()
        largest = float((found - expected).abs().max()) if found.numel() else 0.0
        require(self.close(found, expected), f"{problem} (largest difference {largest:.2g})")


def awake(method: Method) -> Method:
    """A method whose zero weights are random: with zeros all answers are equal, and checks say nothing."""
    for parameter in method.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=_AWAKE)
    return method


def logits(method: Method, batch: Batch) -> Tensor:
    """Logits in eval mode, without gradients."""
    with torch.no_grad():
        found: Tensor = method.eval()(batch)
    return found


def changed(batch: Batch, change: Callable[[Tensor], Tensor], *names: str) -> Batch:
    """A batch with a change of some of its tensors."""
    return batch._replace(**{name: change(getattr(batch, name)) for name in names})


def shape_of(tensor: Tensor) -> str:
    """Sizes of a tensor, for messages."""
    return " ".join(map(str, tensor.shape)) or "()"
