"""VGG16 of PANet, and the DeepLab variant of PMMs and SG-One.

Both differ from torchvision's ``vgg16().features``: max pools are 3x3 with padding 1, and the fourth has stride 1. The
output stride is 8: 417 -> 209 -> 105 -> 53. Tensors have torchvision's names, so that its weights load, of the
whole network or of its ``features`` (``features.0.weight`` or ``0.weight``).

- `VGG16` (PANet, section 3.2; models/vgg.py): no fifth pool, dilation 2 in the last block, and no ReLU after the last
  convolution, so that features are signed. FWB's (few_shot_model.py) has BatchNorm, dilations 2 and 4 in the last two
  blocks, a fifth pool of stride 1, and the second pool as another feature map.
- `DeepLabVGG16` (models/backbone/vgg.py of PMMs): a fifth pool of stride 1, no dilation, ReLU after every
  convolution, and one additional convolution at the end.
"""

from collections.abc import Callable, Collection

from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, Frozen, check_taps
from fsseg.encoders.weights import load_pretrained
from fsseg.errors import FssegError

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
# Taps of VGG16: channels, stride.
_MAPS = {"pool2": (128, 4), "pool3": (256, 8), "pool4": (512, 8), "conv5": (512, 8), "pool5": (512, 8)}
_TAPS = {"pool3": (16, 256), "pool4": (23, 512), "pool5": (30, 512)}  # torchvision's number of the pool, channels


class VGG16(Encoder):
    """PANet's VGG16 with stride 8 and 512 channels; every layer is trained.

    FWB uses ``taps=("pool2", "pool5"), dilations=(2, 4), batch_norm=True``.

    Args:
        weights: ``pretrained`` (torchvision's, downloaded on first use), ``none``, or the path of a state dict.
        frozen: train nothing, or not these layers, such as ``features.0`` and ``features.2``; see `Encoder.freeze`.
        taps: layers whose outputs are the feature maps, in this order: ``pool2`` to ``pool4``; ``conv5``, the last
            convolution, without ReLU; ``pool5``, a pool of stride 1 over ``conv5``.
        dilations: dilations of the last two blocks.
        batch_norm: BatchNorm after every convolution, as in torchvision's ``vgg16_bn``. In training features then
            depend on the other images of a pass.
        mean: mean of images in 0..1, per channel.
        std: standard deviation of images in 0..1, per channel.

    Raises:
        FssegError: unknown taps or frozen layers, a dilation below 1, weights that do not fit, or a failed download.
    """

    name = "VGG16"

    def __init__(
        self,
        weights: str = "pretrained",
        frozen: Frozen = False,
        taps: tuple[str, ...] = ("conv5",),
        dilations: tuple[int, int] = (1, 2),
        batch_norm: bool = False,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        check_taps("VGG16", taps, tuple(_MAPS))
        if min(dilations) < 1:
            raise FssegError(f"VGG16: dilations {list(dilations)}; give two numbers of at least 1, such as [1, 2].")
        self.weights = weights
        self.widths = tuple(_MAPS[tap][0] for tap in taps)
        self.strides = tuple(_MAPS[tap][1] for tap in taps)
        self.stride = self.strides[0]
        layers = _layers((2, 2, 2, 1, 1), (1, 1, 1, *dilations), _kaiming, batch_norm)
        del layers[-2]  # the last ReLU
        _, *pools = [number for number, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        ends = [*pools[:-1], pools[-1] - 1, pools[-1]]
        self._tapped = {end for tap, end in zip(_MAPS, ends, strict=True) if tap in taps}
        end = max(self._tapped) + 1
        self.network = nn.ModuleDict({"features": nn.Sequential(*layers[:end])})
        unused = [f"features.{number}." for number in range(end, len(layers))]
        architecture = "vgg16_bn" if batch_norm else "vgg16"
        load_pretrained(self.network, architecture, weights, ("classifier.", *unused), prefix="features.")
        self.freeze(frozen)

    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, one per tap."""
        return _tapped(self.network["features"], images, self._tapped)


class DeepLabVGG16(Encoder):
    """The VGG16 of PMMs and SG-One with stride 8; every layer is trained.

    SG-One uses ``taps=("pool3", "pool4", "pool5"), extra=False``.

    Args:
        taps: pools whose outputs are the feature maps, from ``pool3`` to ``pool5`` in this order.
        extra: add a 3x3 convolution without ReLU after ``pool5``. It starts at random, also with pretrained weights.
        weights: ``pretrained`` (torchvision's, downloaded on first use), ``none``, or the path of a state dict.
        frozen: see `VGG16`; ``extra`` is the additional convolution.
        mean: mean of images in 0..1, per channel.
        std: standard deviation of images in 0..1, per channel.

    Raises:
        FssegError: unknown taps or frozen layers, ``extra`` without ``pool5``, weights that do not fit, or a failed
            download.
    """

    name = "VGG16"
    stride = 8

    def __init__(
        self,
        taps: tuple[str, ...] = ("pool5",),
        extra: bool = True,
        weights: str = "pretrained",
        frozen: Frozen = False,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        check_taps("DeepLabVGG16", taps, tuple(_TAPS))
        if extra and taps[-1] != "pool5":
            raise FssegError(
                f"DeepLabVGG16: extra needs the tap pool5; taps are {list(taps)}. Add pool5, or give extra false."
            )
        self.weights = weights
        self.widths = tuple(_TAPS[tap][1] for tap in taps)
        self._tapped = {_TAPS[tap][0] for tap in taps}
        layers = _layers(pools=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 1), start=_xavier)
        end = max(self._tapped) + 1
        self.network = nn.ModuleDict({"features": nn.Sequential(*layers[:end])})
        if extra:
            convolution = nn.Conv2d(512, 512, 3, padding=1)
            _xavier(convolution)
            self.network["extra"] = convolution
        unused = [f"features.{number}." for number in range(end, len(layers))]
        optional = ("classifier.", "extra.", *unused)
        load_pretrained(self.network, "vgg16", weights, optional, prefix="features.")
        self.freeze(frozen)

    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, one per tap."""
        outputs = _tapped(self.network["features"], images, self._tapped)
        if "extra" in self.network:
            return (*outputs[:-1], self.network["extra"](outputs[-1]))
        return outputs


def _tapped(layers: nn.Module, images: Tensor, taps: Collection[int]) -> tuple[Tensor, ...]:
    """Outputs of the layers of these numbers."""
    outputs = []
    for number, layer in enumerate(layers.children()):
        images = layer(images)
        if number in taps:
            outputs.append(images)
    return tuple(outputs)


def _layers(
    pools: tuple[int | None, ...],
    dilations: tuple[int, ...],
    start: Callable[[nn.Conv2d], None],
    batch_norm: bool = False,
) -> list[nn.Module]:
    """Layers in torchvision's order. ``pools`` has the stride of the pool after each block, None for no pool."""
    layers: list[nn.Module] = []
    width = 3
    for (channels, convolutions), pool, dilation in zip(_BLOCKS, pools, dilations, strict=True):
        for _ in range(convolutions):
            convolution = nn.Conv2d(width, channels, 3, padding=dilation, dilation=dilation)
            start(convolution)
            layers += [convolution, *([nn.BatchNorm2d(channels)] if batch_norm else []), nn.ReLU(inplace=True)]
            width = channels
        if pool is not None:
            layers.append(nn.MaxPool2d(3, stride=pool, padding=1))
    return layers


def _kaiming(convolution: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")


def _xavier(convolution: nn.Conv2d) -> None:
    nn.init.xavier_uniform_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
