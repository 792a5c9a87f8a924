"""ResNet as CANet and PMMs build it (models/backbone/resnet_dialated.py of the official codes).

Differences to torchvision's: cut behind the last tap, stride 8 by dilation, a stem pool that rounds up, and the stride
of a bottleneck on its first 1x1 convolution (as in Caffe), although torchvision's weights were trained with it on the
3x3. So all 3x3 convolutions of layer3 are dilated by 2, the first block's too. While training, BatchNorm uses the
statistics of the batch; its affine weights keep those of ImageNet. Tensors keep torchvision's names.
"""

from collections import OrderedDict
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.resnet import Bottleneck

from fsseg.encoders.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    batch_norms,
    check_stride,
    check_taps,
    load_pretrained,
)
from fsseg.encoders.dilation import trade_stride_for_dilation
from fsseg.errors import FssegError

# architecture -> its name in tables, output channels of a block per inner channel (He et al. 2016, table 1)
_ARCHITECTURES = {
    "resnet18": ("ResNet18", 1),
    "resnet34": ("ResNet34", 1),
    "resnet50": ("ResNet50", 4),
    "resnet101": ("ResNet101", 4),
}
# layer -> inner channels of its blocks, stride where nothing is dilated
_LAYERS = {"layer1": (64, 4), "layer2": (128, 8), "layer3": (256, 16), "layer4": (512, 32)}


class ResNet(Encoder):
    """A ResNet of ImageNet with dilation; by default the ResNet50 of PMMs and CANet, 512 + 1024 channels of stride 8.

    With ``batch_norm="batch"`` the images of a pass influence each other while training, never in evaluation.

    Args:
        architecture: ``resnet18``, ``resnet34``, ``resnet50`` or ``resnet101``.
        taps: layers whose outputs are the feature maps, of ``layer1`` to ``layer4`` in this order.
        stride_on: convolution of a bottleneck that has its stride: ``1x1`` (official code) or ``3x3`` (torchvision, as
            the weights were trained). ResNet18 and 34 have no bottlenecks.
        stride: pixels per feature cell; layers that would go beyond it get stride 1, and those behind them dilation.
        ceil_mode: the stem's pool rounds up (official code), so that even images give one cell more; torchvision's
            rounds down.
        batch_norm: statistics while training: ``batch`` (official code; running ones are updated) or ``running``.
            The affine weights are frozen in both.
        frozen: no weight of the encoder is trained, as in CANet; ``batch_norm`` keeps its meaning.
        weights: ``imagenet`` (torchvision's V1, downloaded on first use), ``none``, or the path of a state dict.
            Layers behind the last tap may be missing from it.
        mean: subtracted after division by 255.
        std: divided by after that.

    Raises:
        FssegError: unknown architecture or tap, a stride that is no power of two, weights that don't fit, no network
            for the download.
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        taps: tuple[str, ...] = ("layer2", "layer3"),
        stride_on: Literal["1x1", "3x3"] = "1x1",
        stride: int = 8,
        ceil_mode: bool = True,
        batch_norm: Literal["batch", "running"] = "batch",
        frozen: bool = False,
        weights: str = "imagenet",
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        if architecture not in _ARCHITECTURES:
            raise FssegError(f"ResNet: no architecture {architecture}. Choose one of {', '.join(_ARCHITECTURES)}.")
        layers = list(_LAYERS)
        check_taps("ResNet", taps, layers)
        check_stride("ResNet", stride)
        self.taps, self.weights = taps, weights
        name, expansion = _ARCHITECTURES[architecture]
        self.name = name if type(self) is ResNet else self.name
        self.widths = tuple(_LAYERS[tap][0] * expansion for tap in taps)
        self.stride = min(stride, _LAYERS[taps[0]][1])
        self.network = _cut(architecture, taps[-1], stride_on, ceil_mode)
        unused = [f"{layer}." for layer in layers[layers.index(taps[-1]) + 1 :]]
        load_pretrained(self.network, architecture, weights, optional=(*unused, "fc."))
        trade_stride_for_dilation(self.network, stride, size=256)
        for module in [self.network] if frozen else batch_norms(self.network):
            module.requires_grad_(False)
        self.running_statistics = batch_norm == "running"
        self.train()

    def features(self, images: Float[Tensor, "M 3 H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, one for each tap."""
        outputs = []
        for name, layer in self.network.named_children():
            images = layer(images)
            if name in self.taps:
                outputs.append(images)
        return tuple(outputs)


def _cut(architecture: str, last: str, stride_on: str, ceil_mode: bool) -> nn.Sequential:
    """A ResNet at random up to its last tap, still of stride 32."""
    model = get_model(architecture, weights=None)
    model.maxpool.ceil_mode = ceil_mode
    if stride_on == "1x1":
        for block in model.modules():
            if isinstance(block, Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    children = list(model.named_children())  # in order of execution
    end = [name for name, _ in children].index(last) + 1
    return nn.Sequential(OrderedDict(children[:end]))
