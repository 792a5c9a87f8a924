"""Pretrained weights: downloaded, or read from a file and compared with the network."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights

from fsseg.encoders.base import listed
from fsseg.errors import FssegError, NoDownloadError
from fsseg.untrusted.card import refuse_bomb

State = Mapping[str, Tensor]
# Keys of training checkpoints that hold the weights, in order of preference.
_WRAPPED = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "backbone", "weights")
_WRAPPERS = ("module.", "_orig_mod.")  # prefixes by DataParallel and torch.compile
_OWN = "method."  # prefix of the weights of a checkpoint of fsseg


class OwnCheckpointError(FssegError):
    """A checkpoint of fsseg, in place of a network's weights."""


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
            The file may have any other prefix instead, see `without_prefix`.

    Raises:
        FssegError: the download fails, the file does not exist or is no state dict, or its tensors do not fit.
    """
    if not are_needed(weights):
        return
    state = _download(architecture) if weights == "pretrained" else read_state(weights, architecture)
    needed = _needed(model, optional)
    if prefix and not any(name.endswith(tuple(needed)) for name in state):
        wanted = {name.removeprefix(prefix) for name in needed}
        bare = without_prefix(state, wanted, weights)
        if wanted & bare.keys():
            state = {f"{prefix}{name}": value for name, value in bare.items()}
    load_state(model, state, architecture, weights, optional)


def load_state(model: nn.Module, state: State, architecture: str, weights: str, optional: tuple[str, ...] = ()) -> None:
    """Load a state dict that fits a network; half precision becomes the network's float32.

    Args:
        model: the network.
        state: tensors by name.
        architecture: name of the network for errors.
        weights: origin of the tensors for errors.
        optional: prefixes of tensors that the features do not need. The state may lack them, contain more of them, or
            have them in other shapes, as a classifier of other classes.

    Raises:
        FssegError: tensors are missing, unexpected, or have other shapes.
    """
    own, needed = model.state_dict(), _needed(model, optional)
    state = without_prefix(state, needed, weights)
    other = {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    problems = {
        "lacks": sorted(needed - state.keys()),
        "has unexpected": sorted(name for name in state.keys() - own.keys() if not name.startswith(optional)),
        "has other shapes for": sorted(name for name in other if not name.startswith(optional)),
    }
    if any(problems.values()):
        found = "; ".join(f"{problem} {listed(names, 3)}" for problem, names in problems.items() if names)
        raise FssegError(
            f"weights {weights} don't fit {architecture}: the file {found}. Give a state dict of {architecture}."
        )
    model.load_state_dict({name: state[name] for name in own.keys() & state.keys() - other}, strict=False)


def _needed(model: nn.Module, optional: tuple[str, ...]) -> set[str]:
    return {n for n in model.state_dict() if not n.startswith(optional) and not n.endswith("num_batches_tracked")}


def without_prefix(state: State, needed: Collection[str], weights: str) -> State:
    """The part of a state dict that belongs to a network, with the network's names.

    Args:
        state: tensors by name; the network's names may begin with a prefix, such as ``backbone.`` in a detector. If
            some do, tensors without the prefix are left out.
        needed: names that the network needs.
        weights: origin of the tensors for errors.

    Raises:
        FssegError: several parts fit, or the part is the encoder of a checkpoint of fsseg.
    """
    longest = max(needed, key=len)
    beginnings = [name.removesuffix(longest) for name in state if f".{name}".endswith(f".{longest}")]
    fits = [start for start in beginnings if all(start + name in state for name in needed)]
    if len(fits) > 1 and "" not in fits:
        raise FssegError(f"weights {weights} fit twice: {' and '.join(fits)} are such networks. Give a file of one.")
    (start,) = fits if len(fits) == 1 else beginnings if len(beginnings) == 1 else ("",)
    if start.startswith(_OWN):
        raise _is_own(weights)
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def _is_own(weights: str) -> OwnCheckpointError:
    return OwnCheckpointError(
        f"weights {weights} are a checkpoint of fsseg. Give it as `model.weights`, which checks the classes that it "
        "was trained on."
    )


def _download(architecture: str) -> State:
    # V1, because published numbers of few-shot segmentation use V1.
    try:
        state: State = get_model_weights(architecture)["IMAGENET1K_V1"].get_state_dict(progress=True, check_hash=True)
        return state
    except (URLError, OSError, RuntimeError) as error:
        raise no_download(f"torchvision's ImageNet weights of {architecture}", error) from error


def no_download(what: str, error: Exception) -> NoDownloadError:
    """The error for a failed download."""
    reason = " ".join(str(error).split())
    return NoDownloadError(
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
        content = load_file(path) if path.endswith(".safetensors") else _load(path)
    except Exception as error:  # torch.load raises many types on a file that is no checkpoint
        raise FssegError(f"weights {path} cannot be read ({type(error).__name__}). Give a state dict.") from error
    if isinstance(content, Mapping) and "fsseg" in content:
        raise _is_own(path)
    state = _unwrapped(content)
    if not state:
        raise FssegError(f"weights {path} hold {type(content).__name__}; give a state dict of {architecture}.")
    while start := next((each for each in _WRAPPERS if all(name.startswith(each) for name in state)), None):
        state = {name.removeprefix(start): value for name, value in state.items()}
    return state


def _unwrapped(content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, which may be nested in a training checkpoint; empty if there is none."""
    for _ in _WRAPPED:
        inner = [content[key] for key in _WRAPPED if isinstance(content, Mapping) and key in content]
        content = next((each for each in inner if isinstance(each, Mapping)), content)
    if not isinstance(content, Mapping):
        return {}
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


class _Unused:
    """Stands for an object of a class that is not read, such as the arguments beside the weights. It keeps nothing."""

    def __new__(cls, *_: Any) -> "_Unused":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _load(path: str) -> Any:
    """The content of a file of torch, read as data; objects of other classes than torch's become `_Unused`."""
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a format that cannot be searched; torch.load decides
        unknown = []
    with torch.serialization.safe_globals([(_Unused, name) for name in unknown]):
        return torch.load(path, map_location="cpu", weights_only=True)
