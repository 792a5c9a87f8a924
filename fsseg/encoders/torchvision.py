"""Any torchvision classification network as encoder (PANet 3.6: "any network with a fully convolutional structure")."""

import warnings
from functools import partial
from typing import Any

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model, list_models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from fsseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, load_pretrained
from fsseg.errors import FssegError


class Torchvision(Encoder):
    """A torchvision network, cut at its taps, with its stride traded for dilation.

    Args:
        architecture: torchvision's name, e.g. ``resnet18``, ``mobilenet_v2``, ``squeezenet1_0``.
        taps: nodes whose outputs are the features, e.g. ``[layer3]``; several are concatenated over channels, at the
            resolution of the finest.
        stride: pixels per feature cell; layers that would go beyond it get stride 1, and those behind them dilation.
        weights: ``imagenet`` (torchvision's V1, downloaded on first use), ``none``, or the path of a state dict.
            Tensors that the taps don't need may be missing from it.
        frozen_batch_norm: BatchNorm keeps its running statistics and affine weights while training. Batches of a
            few episodes are too small for statistics of their own.
        mean: subtracted after division by 255.
        std: divided by after that.

    Raises:
        FssegError: unknown architecture or tap, weights that don't fit, no network for the download.
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        taps: tuple[str, ...] = ("layer3",),
        stride: int = 8,
        weights: str = "imagenet",
        frozen_batch_norm: bool = True,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        self.name, self.weights = architecture, weights
        self.frozen_batch_norm = frozen_batch_norm
        if not taps or stride < 1 or stride & (stride - 1):
            raise FssegError(
                f"Torchvision: taps {list(taps)} and stride {stride}; some taps and a power of two are needed."
            )
        model, network = _cut(architecture, tuple(taps))
        unused = set(model.state_dict()) - set(network.state_dict())
        load_pretrained(model, architecture, weights, optional=tuple(unused) or ("\0",))
        self.network = network
        features = _probe(network, stride, architecture)
        self.channels = sum(feature.shape[1] for feature in features)
        self.stride = _power_of_two(256 / max(feature.shape[-1] for feature in features))
        if frozen_batch_norm:
            for module in self._batch_norms():
                module.requires_grad_(False)
        self.train()

    def features(self, images: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Feature maps of normalised images."""
        outputs = list(self.network(images).values())
        size = max((output.shape[-2:] for output in outputs), key=lambda s: s[0] * s[1])
        same = [o if o.shape[-2:] == size else F.interpolate(o, size=size, mode="bilinear") for o in outputs]
        return torch.cat(same, dim=1)

    def train(self, mode: bool = True) -> "Torchvision":
        """Training mode, BatchNorm excepted where it is frozen."""
        super().train(mode)
        if self.frozen_batch_norm:
            for module in self._batch_norms():
                module.eval()
        return self

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def trade_stride_for_dilation(network: nn.Module, stride: int, size: int = 512) -> None:
    """Give a convolutional network an output stride, in place, without changing a weight ("a trous").

    A probe image measures the stride at which each layer works. A layer that would go beyond ``stride`` keeps its
    place with stride 1; a layer that worked at ``s > stride`` is dilated by ``s / stride``, so that its kernel still
    covers the same pixels. Branches and shortcuts need no special case.

    Args:
        network: any network whose strides sit in ``Conv2d`` and pooling layers.
        stride: wanted output stride, a power of two.
        size: side of the probe image.
    """
    working: dict[nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, int] = {}

    def note(module: Any, inputs: tuple[Tensor, ...]) -> None:
        working[module] = _power_of_two(size / inputs[0].shape[-1])

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    mode = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    network.train(mode)
    for handle in handles:
        handle.remove()
    for layer, at in working.items():
        if at * _first(layer.stride) > stride:
            _at_stride_one(layer, dilation=max(at // stride, 1))


def _at_stride_one(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, dilation: int) -> None:
    """Stride 1, dilated, and padded so that the output is as large as the input."""
    if isinstance(layer, nn.AvgPool2d):
        dilation = 1  # has none; a window of neighbours instead of every other cell is near enough
    else:
        dilation *= _first(layer.dilation)
        layer.dilation = (dilation, dilation)
    reach = dilation * (_first(layer.kernel_size) - 1)
    before = reach // 2
    layer.stride = (1, 1)
    if isinstance(layer, nn.Conv2d) and reach % 2 == 0:
        layer.padding = (before, before)
        return
    # Even kernels need one more cell behind than before, and pools refuse to pad by more than half their kernel.
    layer.padding = (0, 0)
    if not isinstance(layer, nn.Conv2d):
        layer.ceil_mode = False
    value = float("-inf") if isinstance(layer, nn.MaxPool2d) else 0.0
    layer.register_forward_pre_hook(partial(_pad, margin=(before, reach - before) * 2, value=value))


def _pad(layer: nn.Module, inputs: tuple[Tensor, ...], margin: tuple[int, ...], value: float) -> Tensor:
    return F.pad(inputs[0], margin, value=value)


def _first(value: object) -> int:
    return int(value[0]) if isinstance(value, tuple) else int(value)  # type: ignore[call-overload]


def _power_of_two(ratio: float) -> int:
    return 1 << max(round(torch.tensor(ratio).log2().item()), 0)


def _cut(architecture: str, taps: tuple[str, ...]) -> tuple[nn.Module, nn.Module]:
    """A torchvision network at random, and the part of it that computes the taps; both share their weights."""
    if architecture not in list_models(module=torchvision.models):
        raise FssegError(f"torchvision has no classification network {architecture}. Choose one of torchvision.models.")
    with warnings.catch_warnings():
        # googlenet and inception announce a future change of their random start; fx notes what train mode lacks
        warnings.simplefilter("ignore")
        model = get_model(architecture, weights=None)
        names = get_graph_node_names(model)[1]
        for tap in taps:
            if not any(name == tap or name.startswith(tap + ".") for name in names):
                top = dict.fromkeys(name.split(".")[0] for name in names)  # in order of execution
                raise FssegError(f"{architecture} has no node {tap} to tap. Its nodes begin with: {', '.join(top)}.")
        return model, create_feature_extractor(model, return_nodes={tap: tap for tap in taps})


def _probe(network: nn.Module, stride: int, architecture: str) -> list[Tensor]:
    """Give the network its stride, and show what it makes of an image."""
    try:
        trade_stride_for_dilation(network, stride)
        with torch.no_grad():
            features: list[Tensor] = list(network.eval()(torch.zeros(1, 3, 256, 256)).values())
        if any(feature.ndim != 4 for feature in features):
            raise ValueError("a tap gives no map of features")
        if any(feature.shape[2] != feature.shape[3] for feature in features):
            raise ValueError("channels don't come first")
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FssegError(f"{architecture} is no fully convolutional encoder at these taps ({reason}).") from error
    network.train()
    return features
