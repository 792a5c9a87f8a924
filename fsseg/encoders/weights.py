"""Pretrained weights: downloaded, or read from a file and compared with the network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights

from fsseg.encoders.base import listed
from fsseg.errors import FssegError
from fsseg.untrusted.card import refuse_bomb

State = Mapping[str, Tensor]
_WRAPPED = ("state_dict", "model")  # keys of training checkpoints that hold the weights

_skip: ContextVar[bool] = ContextVar("_skip", default=False)


@contextmanager
def without_pretrained_weights() -> Iterator[None]:
    """Build encoders without reading or downloading weights, because a checkpoint follows."""
    token = _skip.set(True)
    try:
        yield
    finally:
        _skip.reset(token)


def are_needed(weights: str) -> bool:
    """Whether weights are to be loaded: they are not ``none``, and no checkpoint follows."""
    return weights != "none" and not _skip.get()


def load_pretrained(
    model: nn.Module, architecture: str, weights: str, optional: tuple[str, ...] = (), prefix: str = ""
) -> None:
    """Load pretrained weights into a network whose tensors have torchvision's names.

    Args:
        model: the network.
        architecture: torchvision's name of the architecture, e.g. ``vgg16``.
        weights: ``pretrained`` (torchvision's V1 weights for ImageNet, downloaded on first use), ``none`` or a file's
            path.
        optional: see `load_state`.
        prefix: prefix of the network's names that a file may lack, as ``features.`` in a state dict of the features.

    Raises:
        FssegError: the download fails, the file does not exist or is no state dict, or its tensors do not fit.
    """
    if not are_needed(weights):
        return
    state = _download(architecture) if weights == "pretrained" else read_state(weights, architecture)
    if prefix and all(name[:1].isdigit() for name in state):
        state = {f"{prefix}{name}": value for name, value in state.items()}
    load_state(model, state, architecture, weights, optional)


def load_state(model: nn.Module, state: State, architecture: str, weights: str, optional: tuple[str, ...] = ()) -> None:
    """Load a state dict that fits a network; half precision becomes the network's float32.

    Args:
        model: the network.
        state: tensors by name.
        architecture: name of the network for errors.
        weights: origin of the tensors for errors.
        optional: prefixes of tensors that the features do not need. The state may lack them or contain more of them.

    Raises:
        FssegError: tensors are missing, unexpected, or have other shapes.
    """
    own = model.state_dict()
    needed = {name for name in own if not name.startswith(optional) and not name.endswith("num_batches_tracked")}
    problems = {
        "lacks": sorted(needed - state.keys()),
        "has unexpected": sorted(name for name in state.keys() - own.keys() if not name.startswith(optional)),
        "has other shapes for": sorted(n for n in own.keys() & state.keys() if own[n].shape != state[n].shape),
    }
    if any(problems.values()):
        found = "; ".join(f"{problem} {listed(names, 3)}" for problem, names in problems.items() if names)
        raise FssegError(
            f"weights {weights} don't fit {architecture}: the file {found}. Give a state dict of {architecture}."
        )
    model.load_state_dict({name: state[name] for name in own.keys() & state.keys()}, strict=False)


def _download(architecture: str) -> State:
    # V1, because published numbers of few-shot segmentation use V1.
    try:
        state: State = get_model_weights(architecture)["IMAGENET1K_V1"].get_state_dict(progress=True, check_hash=True)
        return state
    except (URLError, OSError, RuntimeError) as error:
        raise no_download(f"torchvision's ImageNet weights of {architecture}", error) from error


def no_download(what: str, error: Exception) -> FssegError:
    """The error for a failed download."""
    reason = " ".join(str(error).split())
    return FssegError(
        f"cannot download {what} ({reason}). Give `model.method.encoder.weights` FILE, or none for a random start."
    )


def read_state(path: str, architecture: str) -> State:
    """The state dict of a file of torch or safetensors, bare or in a training checkpoint.

    Raises:
        FssegError: the file does not exist, or is no state dict.
    """
    if not Path(path).is_file():
        raise FssegError(f"weights {path}: no such file. Give pretrained, none, or a state dict of {architecture}.")
    refuse_bomb(path)
    try:
        safe = path.endswith(".safetensors")
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types on a file that is no checkpoint
        raise FssegError(f"weights {path} cannot be read ({type(error).__name__}). Give a state dict.") from error
    for key in _WRAPPED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise FssegError(f"weights {path} hold {type(state).__name__}; give a state dict of {architecture}.")
    return state
