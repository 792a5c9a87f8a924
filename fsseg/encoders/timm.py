"""Any network of timm as encoder: convolutional networks, and transformers whose tokens become maps.

timm's ``forward_intermediates`` gives the levels of nearly all its networks as maps ``M C h w``, without class and
register tokens, and cuts off what lies behind the last one. The levels of a convolutional or hierarchical network are
its resolutions, those of a ViT its blocks. timm is imported when an encoder is made.
"""

import logging
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders.base import Encoder, Frozen, batch_norms, check_stride, listed, nearest
from fsseg.encoders.dilation import nearest_power_of_two, trade_stride_for_dilation
from fsseg.encoders.timm_levels import layers_between, resumes
from fsseg.encoders.weights import State, are_needed, load_state, no_download, read_state, without_prefix
from fsseg.errors import FssegError

_log = logging.getLogger(__name__)
_ONCE = {"of_each_process": True}  # see `fsseg.cli`: the first process prints the line

Statistics = tuple[float, float, float] | None
_COARSEST = 16  # stride of the default level: coarser ones lose objects (PMMs, CANet: layer3 of ResNet)
_USUAL = ("apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "bsd")  # licences that ask for a copyright notice only
# Options by which transformers take images of any size, tried in this order; networks that lack both need none, or
# have a fixed size.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
# Sides of images in pixels: a network whose own size is larger is tried at a small size, which takes less time.
_LARGE, _SMALL = 256, 64
_UNFIT = (AssertionError, RuntimeError, IndexError, ValueError)  # what networks raise on a size that does not fit


class Timm(Encoder):
    """A network of timm up to its last tap.

    Images of a size that the network does not take, such as 321 with patches of 14, are resized to the nearest
    multiple, or to the one size of the network; a note says so once.

    Args:
        architecture: timm's name, with or without the tag of its weights, e.g. ``vit_small_patch14_dinov2.lvd142m``.
        taps: levels whose outputs are the feature maps, in rising order; -1 is the last. By default the last level of
            stride 16 or less, which is the last block of a ViT.
        stride: largest stride in pixels per feature cell; deeper convolutions get dilation instead. By default the
            network's own; transformers have no other.
        weights: ``pretrained`` (timm's, downloaded on first use), ``none``, or the path of a state dict (torch or
            safetensors) with timm's names or those of the network's authors; it may lack what the taps do not need.
        norm: apply the last LayerNorm of a ViT to each map, as DINOv2's and DINOv3's codes do.
        frozen_batch_norm: freeze running statistics and affine weights of BatchNorm in training, because a batch of a
            few episodes is too small for batch statistics.
        frozen: train nothing, or not these layers, such as ``patch_embed`` and ``blocks.0``; see `Encoder.freeze`.
        mean: mean of images in 0..1, per channel; by default that of timm's weights.
        std: standard deviation of images in 0..1, per channel; by default that of timm's weights.

    Raises:
        FssegError: unknown architecture, tap or frozen layer, a stride that the network cannot have, weights that do
            not fit, or a failed download.
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        taps: tuple[int, ...] | None = None,
        stride: int | None = None,
        weights: str = "pretrained",
        norm: bool = True,
        frozen_batch_norm: bool = True,
        frozen: Frozen = False,
        mean: Statistics = None,
        std: Statistics = None,
    ) -> None:
        model = _model(architecture, weights)
        facts: dict[str, Any] = model.pretrained_cfg
        super().__init__(mean or tuple(facts["mean"]), std or tuple(facts["std"]))
        self.name, self.weights = architecture if type(self) is Timm else self.name, weights
        described = _levels(model)
        strides = [int(level["reduction"]) for level in described]
        levels = _chosen(architecture, taps, strides)
        names = tuple(model.state_dict())
        columnar = len(set(strides)) == 1 and len(strides) > 1
        self._norm = norm and columnar
        self._taps = model.prune_intermediate_layers(list(levels), prune_norm=not self._norm, prune_head=True)
        if weights != "pretrained" and are_needed(weights):
            _load(model, architecture, weights, names)
        self.network: nn.Module = model
        self._own_size = (int(facts["input_size"][-2]), int(facts["input_size"][-1]))
        self._multiple: int | None = 1
        if stride is not None:
            self._dilate(stride, strides[levels[-1]], columnar)
        self.strides = tuple(min(strides[level], stride or strides[level]) for level in levels)
        self.stride = self.strides[0]
        self.widths = tuple(int(described[level]["num_chs"]) for level in levels)
        self._multiple = self._probe(self.widths)
        self._after = layers_between(model, [str(described[level].get("module")) for level in levels])
        self.resumes = bool(self._after)
        self.resumes = self.resumes and resumes(self, self._own_size)
        self.running_statistics = frozen_batch_norm
        for module in batch_norms(model) if frozen_batch_norm else []:
            module.requires_grad_(False)
        self.freeze(frozen)

    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, one per tap."""
        given = (images.shape[-2], images.shape[-1])
        if (size := self._fitting(*given)) != given:
            if not torch.compiler.is_compiling():
                self._note(given, size)
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        return tuple(self._maps(images))

    def last_map(self, before: Float[Tensor, "M _ _ _"]) -> Float[Tensor, "M _ _ _"]:
        """The last map, from the map before it; only of networks whose levels are layers in a row."""
        if not self.resumes:
            return super().last_map(before)
        for name in self._after:
            before = self.network.get_submodule(name)(before)
        return before

    def _maps(self, images: Tensor) -> list[Tensor]:
        network: Any = self.network
        maps: list[Tensor] = network.forward_intermediates(
            images, indices=self._taps, norm=self._norm, output_fmt="NCHW", intermediates_only=True
        )
        return maps

    def _fitting(self, height: int, width: int) -> tuple[int, int]:
        """The nearest size that the network takes."""
        if self._multiple is None:
            return self._own_size
        if self._multiple == 1:
            return height, width
        return tuple(max(round(side / self._multiple), 1) * self._multiple for side in (height, width))  # type: ignore[return-value]

    def _note(self, given: tuple[int, int], size: tuple[int, int]) -> None:
        taken = "one size" if self._multiple is None else f"multiples of {self._multiple} pixels"
        before, after = ("x".join(map(str, pair)) for pair in (given, size))
        _note(f"{self.name} takes {taken}: images of {before} are resized to {after}.")

    def _dilate(self, stride: int, own: int, columnar: bool) -> None:
        """Set a smaller stride; refuse it for a network that has no convolutions to dilate."""
        check_stride("Timm", stride)
        reason = "transformers have no dilation" if columnar else ""
        if own > stride and not reason:
            try:
                trade_stride_for_dilation(self, stride, size=256)
                with torch.no_grad():
                    cells = self.eval()(torch.zeros(1, 3, 256, 256))[-1].shape[-1]
                reason = "" if nearest_power_of_two(256 / cells) == stride else "its layers have no dilation"
            except _UNFIT as error:
                reason = " ".join(str(error).split())
        if own > stride and reason:
            raise FssegError(
                f"{self.name} cannot have stride {stride} in place of {own} ({reason}). Leave stride out, or take a "
                "finer tap."
            )

    def _probe(self, channels: tuple[int, ...]) -> int | None:
        """The number of pixels that sides of images are multiples of; None if the network takes its own size only."""
        patch = getattr(getattr(self.network, "patch_embed", None), "patch_size", 1)
        side = patch if isinstance(patch, int) else patch[0]
        least = max(self._own_size) if max(self._own_size) <= _LARGE else _SMALL
        mode = self.network.training
        self.network.eval()
        fitting = (
            multiple
            for multiple in dict.fromkeys((1, side, self.stride, 32))
            if self._takes((-(-least // multiple) + 1) * multiple, multiple, channels)
        )
        found = next(fitting, None)
        self.network.train(mode)
        return found

    def _takes(self, side: int, more: int, channels: tuple[int, ...]) -> bool:
        """Whether images of two sides, which a square network refuses, give maps of the right shape."""
        try:
            with torch.no_grad():
                maps = self._maps(torch.zeros(1, 3, side, side + more))
        except _UNFIT:
            return False
        cells = [
            abs(cell - pixels / self.stride)
            for cell, pixels in zip(maps[0].shape[-2:], (side, side + more), strict=True)
        ]
        return max(cells) <= 1 and tuple(one.shape[1] for one in maps) == channels


def _model(architecture: str, weights: str) -> Any:
    """A network of timm, with timm's weights if they are asked for."""
    import timm

    known = timm.list_models()
    name, _, tag = architecture.partition(".")
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{name}.*")] if tag else []
    if name not in known or (tag and tag not in tags):
        fix = (
            f" {name} has the weights {listed(tags)}."
            if tags
            else f"{nearest(name, known)} timm.list_models() lists all."
        )
        raise FssegError(f"timm has no network {architecture}.{fix}")
    model = made(architecture, downloaded=weights == "pretrained" and are_needed(weights))
    licence, page = (model.pretrained_cfg.get(key) for key in ("license", "hf_hub_id"))
    if are_needed(weights) and str(licence).lower() not in _USUAL:
        where = f": https://huggingface.co/{page}" if page else ""
        _note(f"timm's weights of {architecture} have the licence {licence or 'unknown'}{where}.")
    return model


def made(architecture: str, downloaded: bool) -> Any:
    """A network of timm for images of any size, if it can have them; with timm's weights or random ones.

    Raises:
        NoDownloadError: the download fails.
    """
    import timm

    if downloaded:
        _log.info("loading timm's weights of %s, downloaded on first use", architecture, extra=_ONCE)
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns of each attempt
    for options in _ANY_SIZE:
        try:
            return timm.create_model(architecture, pretrained=downloaded, **options)
        except TypeError:
            if not options:
                raise
        except Exception as error:  # the hub's client raises its own types
            if not downloaded:
                raise
            raise no_download(f"timm's weights of {architecture}", error) from error
    raise AssertionError


def _levels(model: Any) -> list[dict[str, Any]]:
    """Descriptions of the levels, as timm gives them."""
    info: Any = model.feature_info
    return list(getattr(info, "info", info))


def _chosen(architecture: str, taps: tuple[int, ...] | None, strides: list[int]) -> tuple[int, ...]:
    """Numbers of the tapped levels, counted from 0."""
    count = len(strides)
    if taps is None:
        fine = [level for level, stride in enumerate(strides) if stride <= _COARSEST]
        return (fine[-1] if fine else 0,)
    levels = tuple(tap + count if tap < 0 else tap for tap in taps)
    if not levels or list(levels) != sorted(set(levels)) or levels[0] < 0 or levels[-1] >= count:
        raise FssegError(
            f"{architecture}: taps {list(taps)}; give some of the levels 0 to {count - 1}, each once, in this order "
            f"(strides {listed([str(stride) for stride in strides])})."
        )
    return levels


def _load(model: nn.Module, architecture: str, weights: str, names: tuple[str, ...]) -> None:
    """Load a file, with timm's names or, where timm can convert them, with those of the network's authors."""
    own = model.state_dict()
    state: State = without_prefix(read_state(weights, architecture), own.keys() & set(names), weights)
    foreign = state.keys() - set(names) or any(own[n].shape != state[n].shape for n in own.keys() & state.keys())
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if foreign and convert is not None:
        with suppress(Exception):  # a file of another network, whose tensors the comparison below names
            state = convert(dict(state), model)
    load_state(model, state, architecture, weights, tuple(set(names) - own.keys()) or ("\0",))


@cache
def _note(text: str) -> None:
    """Log a warning once, in the first process only (see `fsseg.cli`)."""
    _log.warning(text, extra=_ONCE)
