"""VGG16 with BatchNorm and its own strides, as in PFENet's code (model/vgg.py): torchvision's ``vgg16_bn``.

Max pools are 2x2 and round sizes up (473 -> 237 -> 119 -> 60 -> 30), and the last one is left out. PFENet's ``layer2``,
``layer3`` and ``layer4`` are the taps ``pool3``, ``pool4`` and ``conv5``. Tensors have torchvision's names.
"""

from typing import Literal

from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from fsseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Frozen, batch_norms, check_taps
from fsseg.encoders.layered import Layered
from fsseg.encoders.weights import load_pretrained

# Taps: the number of the last layer, channels, stride.
_TAPS = {"pool2": (13, 128, 4), "pool3": (23, 256, 8), "pool4": (33, 512, 16), "conv5": (42, 512, 16)}


class VGG16BN(Layered):
    """VGG16 with BatchNorm and without the last pool; by default with the maps of PFENet, of stride 8, 16 and 16.

    Args:
        taps: layers whose outputs are the feature maps, in this order: ``pool2`` to ``pool4``, and ``conv5``, the last
            convolution with BatchNorm and ReLU.
        batch_norm: statistics in training: ``batch`` (PFENet's code, also for a frozen encoder; running statistics are
            updated), or ``running``, with which features of a frozen encoder depend on the image only. The affine
            weights are frozen in both cases.
        weights: ``pretrained`` (torchvision's ``vgg16_bn``, downloaded on first use), ``none``, or the path of a state
            dict.
        frozen: train nothing, or not these layers, such as ``features.0`` and ``features.3``; see `Encoder.freeze`.
        mean: mean of images in 0..1, per channel.
        std: standard deviation of images in 0..1, per channel.

    Raises:
        FssegError: unknown taps or frozen layers, weights that do not fit, or a failed download.
    """

    name = "VGG16"

    def __init__(
        self,
        taps: tuple[str, ...] = ("pool3", "pool4", "conv5"),
        batch_norm: Literal["batch", "running"] = "batch",
        weights: str = "pretrained",
        frozen: Frozen = False,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        check_taps("VGG16BN", taps, tuple(_TAPS))
        self.taps, self.weights = taps, weights
        self.widths = tuple(_TAPS[tap][1] for tap in taps)
        self.strides = tuple(_TAPS[tap][2] for tap in taps)
        self.stride = self.strides[0]
        layers = make_layers(cfgs["D"], batch_norm=True)
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        end = _TAPS[taps[-1]][0] + 1
        self.network = nn.ModuleDict({"features": layers[:end]})
        unused = [f"features.{number}." for number in range(end, len(layers))]
        load_pretrained(self.network, "vgg16_bn", weights, ("classifier.", *unused), prefix="features.")
        self.running_statistics, self.resumes = batch_norm == "running", len(taps) > 1
        for module in batch_norms(self):
            module.requires_grad_(False)
        self.freeze(frozen, batch_statistics=batch_norm == "batch")

    def outputs(self, x: Tensor, taps: tuple[str, ...], after: str | None = None) -> tuple[Tensor, ...]:
        """Outputs of some taps, from the input of the layer after another tap, or of the first layer."""
        first = _TAPS[after][0] + 1 if after else 0
        ends = [_TAPS[tap][0] for tap in taps]
        outputs = []
        for number, layer in enumerate(self.network["features"].children()):
            if first <= number <= max(ends):
                x = layer(x)
                if number in ends:
                    outputs.append(x)
        return tuple(outputs)
