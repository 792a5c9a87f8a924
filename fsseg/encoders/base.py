"""The encoder contract, and the loading of pretrained weights."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torchvision.models import get_model_weights

from fsseg.errors import FssegError
from fsseg.untrusted.card import refuse_bomb

# Statistics of torchvision's ImageNet weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

M = TypeVar("M", bound=nn.Module)

_skip: ContextVar[bool] = ContextVar("_skip", default=False)


@contextmanager
def without_pretrained_weights() -> Iterator[None]:
    """Build encoders without reading or downloading weights, because a checkpoint follows."""
    token = _skip.set(True)
    try:
        yield
    finally:
        _skip.reset(token)


class Encoder(nn.Module, ABC):
    """Images to a tuple of feature maps, fine to coarse.

    Features of an image do not depend on other images, so that they can be cached. An encoder takes images of 0..255
    and normalises them.

    Attributes:
        name: name in tables; by default the name of the class, also for a subclass of another encoder.
        widths: channels of each map.
        stride: pixels per cell of the finest map.
        weights: ``imagenet``, ``none`` or a file; None for a network without pretrained weights.
        running_statistics: BatchNorm uses its running statistics in training too and does not update them.
    """

    name: str
    widths: tuple[int, ...]
    stride: int
    weights: str | None = None
    running_statistics: bool = False
    mean: Tensor
    std: Tensor

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__dict__.get("name", cls.__name__)

    def __new__(cls: type[M], *args: Any, **options: Any) -> M:  # beartype knows no Self here
        """Record the constructor's arguments for `given_arguments`."""
        made: M = nn.Module.__new__(cls)
        return keep_arguments(made, args, options)

    def __init__(
        self, mean: tuple[float, float, float] = IMAGENET_MEAN, std: tuple[float, float, float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        # Not persistent: configuration, not weights.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def channels(self) -> int:
        """Sum of the channels of all maps, i.e. the channels of `fsseg.ops.feature_maps.concatenated`."""
        return sum(self.widths)

    @property
    def fixed(self) -> bool:
        """Whether the features of an image are always the same in training, so that they can be cached."""
        return not any(p.requires_grad for p in self.parameters()) and (
            self.running_statistics or not batch_norms(self)
        )

    def train(self, mode: bool = True) -> "Encoder":
        """Set the training mode. With `running_statistics`, BatchNorm stays in eval mode."""
        super().train(mode)
        if self.running_statistics:
            for module in batch_norms(self):
                module.eval()
        return self

    def normalise(self, images: Integer[Tensor, "M 3 H W"] | Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M 3 H W"]:
        """Normalised images, ``(images / 255 - mean) / std``."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std

    @abstractmethod
    def features(self, images: Float[Tensor, "M 3 H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, fine to coarse, with ``widths`` channels."""

    def forward(
        self, images: Integer[Tensor, "M 3 H W"] | Float[Tensor, "M 3 H W"]
    ) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of images of 0..255, fine to coarse."""
        return self.features(self.normalise(images))


def keep_arguments(made: M, args: tuple[Any, ...], options: dict[str, Any]) -> M:
    """Record the constructor's arguments on a new object, so that a file can store how to rebuild it."""
    object.__setattr__(made, "_given", (args, options))
    return made


def given_arguments(made: nn.Module) -> dict[str, Any]:
    """The constructor's arguments of a method or an encoder, by name."""
    args, options = made.__dict__["_given"]
    return dict(inspect.signature(type(made)).bind(*args, **options).arguments)


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """All BatchNorm layers of a network."""
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def check_taps(encoder: str, taps: Sequence[str], known: Sequence[str]) -> None:
    """Refuse taps that the network does not have, or that are not in its order.

    Raises:
        FssegError: taps are empty, unknown, repeated or in another order.
    """
    if not taps or list(taps) != [tap for tap in known if tap in taps]:
        raise FssegError(f"{encoder}: taps {list(taps)}; give some of {', '.join(known)}, each once, in this order.")


def check_stride(encoder: str, stride: int) -> None:
    """Refuse an output stride that is not a power of two.

    Raises:
        FssegError: the stride is not a power of two.
    """
    if stride < 1 or stride & (stride - 1):
        raise FssegError(f"{encoder}: stride {stride}; give a power of two, such as 8.")


def load_pretrained(model: nn.Module, architecture: str, weights: str, optional: tuple[str, ...] = ()) -> None:
    """Load pretrained weights into a network whose tensors have torchvision's names.

    Args:
        model: the network.
        architecture: torchvision's name of the architecture, e.g. ``vgg16``.
        weights: ``imagenet`` (torchvision's V1 weights, downloaded on first use), ``none`` or a file's path.
        optional: prefixes of tensors that the features do not need. The file may lack them or contain more of them.

    Raises:
        FssegError: the download fails, the file does not exist or is no state dict, or its tensors do not fit.
    """
    if weights == "none" or _skip.get():
        return
    state = _download(architecture) if weights == "imagenet" else _read(weights, architecture)
    own = model.state_dict()
    needed = {name for name in own if not name.startswith(optional) and not name.endswith("num_batches_tracked")}
    problems = {
        "lacks": sorted(needed - state.keys()),
        "has unexpected": sorted(name for name in state.keys() - own.keys() if not name.startswith(optional)),
        "has other shapes for": sorted(n for n in own.keys() & state.keys() if own[n].shape != state[n].shape),
    }
    if any(problems.values()):
        found = "; ".join(f"{problem} {_some(names)}" for problem, names in problems.items() if names)
        raise FssegError(
            f"weights {weights} don't fit {architecture}: the file {found}. Give a state dict of {architecture}."
        )
    model.load_state_dict({name: state[name] for name in own.keys() & state.keys()}, strict=False)


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _download(architecture: str) -> Mapping[str, Tensor]:
    # V1, because published numbers of few-shot segmentation use V1.
    try:
        state: Mapping[str, Tensor] = get_model_weights(architecture)["IMAGENET1K_V1"].get_state_dict(
            progress=True, check_hash=True
        )
        return state
    except (URLError, OSError, RuntimeError) as error:
        raise FssegError(
            f"cannot download torchvision's ImageNet weights of {architecture} ({error}). "
            "Give --model.method.encoder.weights FILE, or none for a random start."
        ) from error


def _read(path: str, architecture: str) -> Mapping[str, Tensor]:
    if not Path(path).is_file():
        raise FssegError(f"weights {path}: no such file. Give imagenet, none, or a state dict of {architecture}.")
    refuse_bomb(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types on a file that is no checkpoint
        raise FssegError(f"weights {path} cannot be read ({type(error).__name__}). Give a state dict.") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise FssegError(f"weights {path} hold {type(state).__name__}; give a state dict of {architecture}.")
    return state
