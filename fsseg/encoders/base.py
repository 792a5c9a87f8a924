"""The encoder contract."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from fsseg.errors import FssegError

# Statistics of torchvision's ImageNet weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_CONTAINERS = ("features", "blocks", "stages", "layers")  # modules that hold the stages in torchvision and timm

M = TypeVar("M", bound=nn.Module)
Frozen = bool | tuple[str, ...]  # the whole encoder, or names of its stages


class Encoder(nn.Module, ABC):
    """Images to a tuple of feature maps, fine to coarse.

    Features of an image do not depend on other images, so that they can be cached. An encoder takes images of 0..255
    and normalises them. A constructor ends with `freeze`.

    Attributes:
        name: name in tables; by default the name of the class, also for a subclass of another encoder.
        widths: channels of each map.
        stride: pixels per cell of the finest map.
        strides: pixels per cell of each map; empty if all have ``stride``.
        weights: ``pretrained``, ``none`` or a file; None for a network without pretrained weights.
        crop: cells of FCN-32s, whose decoder cuts its output from this pixel on, see `fsseg.ops.fcn`; None for cells
            that divide the image.
        running_statistics: BatchNorm uses its running statistics in training too and does not update them.
        resumes: `last_map` can compute the last map from the one before it.
    """

    __signature__: ClassVar[inspect.Signature]
    name: str
    widths: tuple[int, ...]
    stride: int
    strides: tuple[int, ...] = ()
    weights: str | None = None
    crop: int | None = None
    running_statistics: bool = False
    resumes: bool = False
    _frozen: Frozen = False
    _batch_statistics: bool = False  # frozen BatchNorm uses the statistics of the batch
    mean: Tensor
    std: Tensor

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__dict__.get("name", cls.__name__)
        cls.__signature__ = constructor_signature(cls)

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

    def freeze(self, frozen: Frozen, batch_statistics: bool = False) -> None:
        """Train nothing of the encoder, or of some stages.

        Frozen parameters have no gradient, so that the optimiser and DDP's buckets leave them out. Frozen layers stay
        in eval mode in training: BatchNorm uses its running statistics, and dropout has no effect.

        Args:
            frozen: True for the whole encoder; or names of modules or parameters of ``network`` (of the encoder itself
                if it has no such module), such as ``layer1`` or ``layer2.0``, with everything below them.
            batch_statistics: whether frozen BatchNorm uses and updates statistics all the same.

        Raises:
            FssegError: the network has no stage of a name.
        """
        names = () if isinstance(frozen, bool) else frozen
        known = [name for name, _ in (*self._stages.named_modules(), *self._stages.named_parameters()) if name]
        if unknown := [name for name in names if name not in known]:
            stages = stage_names(name for name, _ in self._stages.named_parameters())
            near = nearest(unknown[0], [*stages, *known])
            raise FssegError(f"{self.name} has no stage {unknown[0]} to freeze.{near} It has: {listed(stages)}.")
        self._frozen, self._batch_statistics = frozen, batch_statistics
        for name, parameter in self._stages.named_parameters():
            if frozen is True or _below(name, names):
                parameter.requires_grad_(False)
        self.train(self.training)

    @property
    def fixed(self) -> bool:
        """Whether the features of an image depend on the image only, in training too.

        True if no parameter has a gradient, and no BatchNorm by batch statistics and no dropout is active. An encoder
        that was frozen without `freeze` may have other random layers, which this property does not see.
        """
        held = {id(module) for module in self._held()}
        active = [module for module in self.modules() if id(module) not in held and _differs_in_training(module)]
        return not active and not any(parameter.requires_grad for parameter in self.parameters())

    def train(self, mode: bool = True) -> "Encoder":
        """Set the training mode; frozen layers stay in eval mode, with `running_statistics` every BatchNorm."""
        super().train(mode)
        for module in self._held():
            module.training = False
        return self

    def _held(self) -> Iterator[nn.Module]:
        """Modules that stay in eval mode in training."""
        norms = batch_norms(self)
        if self.running_statistics:
            yield from norms
        exempt = {id(module) for module in norms} if self._batch_statistics else set()
        if self._frozen is True:
            yield from (module for module in self.modules() if id(module) not in exempt)
        elif self._frozen:
            for name, module in self._stages.named_modules():
                if _below(name, self._frozen) and id(module) not in exempt:
                    yield module

    @property
    def _stages(self) -> nn.Module:
        """The module whose parts `freeze` names."""
        network = getattr(self, "network", self)
        return network if isinstance(network, nn.Module) else self

    def normalise(self, images: Integer[Tensor, "M 3 H W"] | Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M 3 H W"]:
        """Normalised images, ``(images / 255 - mean) / std``."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std

    @abstractmethod
    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, fine to coarse, with ``widths`` channels."""

    def forward(
        self, images: Integer[Tensor, "M 3 H W"] | Float[Tensor, "M 3 H W"]
    ) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of images of 0..255, fine to coarse."""
        return self.features(self.normalise(images))

    def before_last(self, images: Integer[Tensor, "M 3 H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """All maps but the last, for methods that change the map before it and call `last_map`."""
        maps: tuple[Tensor, ...] = self(images)
        return maps[:-1]

    def last_map(self, before: Float[Tensor, "M _ _ _"]) -> Float[Tensor, "M _ _ _"]:
        """The last map, from the map before it; only if the encoder `resumes`."""
        raise NotImplementedError(f"{self.name} cannot start at the map before the last one.")


def constructor_signature(kind: type) -> inspect.Signature:
    """The signature of a class's constructor. `__new__` would hide it for a class without a constructor of its own."""
    _, *parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    return inspect.Signature(parameters)


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


def stage_names(names: Iterable[str]) -> list[str]:
    """Stages of a network from the names of its parts: ``layer1`` of ``layer1.0.conv1``, ``blocks.3`` of blocks."""
    parts = [name.split(".") for name in names]
    return list(dict.fromkeys(".".join(part[: 2 if part[0] in _CONTAINERS else 1]) for part in parts))


def listed(names: Sequence[str], most: int = 50) -> str:
    """Names of an error, cut after ``most`` of them."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint at the nearest known name, or ""."""
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _below(name: str, stages: Sequence[str]) -> bool:
    """Whether a module or parameter is one of the stages, or lies below one."""
    return any(name == stage or name.startswith(f"{stage}.") for stage in stages)


def _differs_in_training(module: nn.Module) -> bool:
    """Whether a module is known to use the batch or random numbers in training."""
    norm = isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
    drop = "drop" in type(module).__name__.lower() and any(getattr(module, name, 0) for name in ("p", "drop_prob"))
    return norm or drop or isinstance(module, nn.modules.batchnorm._BatchNorm | nn.RReLU)
