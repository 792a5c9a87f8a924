"""ResNet as CANet and PMMs build it (models/backbone/resnet_dialated.py of the official codes).

Differences from torchvision's ResNet: layers after the last tap are removed, the output stride is 8 by dilation, the
stem's pool rounds up, and a bottleneck has its stride in the first 1x1 convolution (as in Caffe), although torchvision
trained the weights with the stride in the 3x3 convolution. So all 3x3 convolutions of layer3 are dilated by 2,
including those of its first block. In training, BatchNorm uses statistics of the batch, and its affine weights stay
those of ImageNet. Tensors have torchvision's names.

PFENet's ResNet (model/resnet.py) is ``deep_stem=True, dilate_first=True, stride_on="3x3", ceil_mode=False``; see
`fsseg.encoders.deep_stem` for its weights.
"""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, Bottleneck

from fsseg.encoders.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Frozen,
    batch_norms,
    check_stride,
    check_taps,
)
from fsseg.encoders.deep_stem import add_deep_stem, load_deep
from fsseg.encoders.dilation import trade_stride_for_dilation
from fsseg.encoders.layered import Layered
from fsseg.encoders.weights import load_pretrained
from fsseg.errors import FssegError

# architecture -> name in tables, output channels per inner channel of a block (He et al. 2016, table 1)
_ARCHITECTURES = {
    "resnet18": ("ResNet18", 1),
    "resnet34": ("ResNet34", 1),
    "resnet50": ("ResNet50", 4),
    "resnet101": ("ResNet101", 4),
}
# layer -> inner channels of its blocks, stride without dilation (He et al. 2016, table 1)
_LAYERS = {"layer1": (64, 4), "layer2": (128, 8), "layer3": (256, 16), "layer4": (512, 32)}

_MOMENTUM = 0.05  # of running statistics in FWB's code


class ResNet(Layered):
    """A dilated ResNet; by default the ResNet50 of PMMs and CANet with maps of 512 and 1024 channels and stride 8.

    With ``batch_norm`` ``batch`` or ``trained``, features depend on the other images of a pass in training, but not in
    evaluation.

    Args:
        architecture: ``resnet18``, ``resnet34``, ``resnet50`` or ``resnet101``.
        taps: layers whose outputs are the feature maps, from ``layer1`` to ``layer4`` in this order.
        stride_on: the convolution of a bottleneck that has the stride: ``1x1`` (official code) or ``3x3`` (torchvision,
            as the weights were trained). ResNet18 and 34 have no bottlenecks.
        stride: largest stride in pixels per feature cell; deeper layers get dilation instead.
        ceil_mode: whether the stem's pool rounds up (official code), so that images of even size give one more cell.
            torchvision's pool rounds down.
        batch_norm: statistics in training: ``batch`` (official code; running statistics are updated) or ``running``.
            The affine weights are frozen in both cases. ``trained`` is FWB's code (few_shot_model.py): ``batch`` with
            trained affine weights, and running statistics with momentum 0.05.
        deep_stem: three 3x3 convolutions of 64, 64 and 128 channels in place of the 7x7 convolution, as in PFENet's and
            PSPNet's codes; only with 50 or 101 layers.
        dilate_first: dilate the 3x3 convolution that lost its stride too (PFENet's and PSPNet's codes), so that all
            3x3 convolutions of a layer have one dilation. With ``stride_on`` ``1x1`` they have it anyway.
        last_relu: whether the last tap has its last ReLU; without it, features are signed, as in MLC's baseline
            (Yang et al., ICCV 2021, "Mining Latent Classes").
        frozen: train nothing, or not these layers, such as ``conv1`` and ``layer1``; see `Encoder.freeze`. BatchNorm
            follows ``batch_norm`` ``batch`` all the same: CANet's code trains no weight and uses statistics of the
            batch. With ``running`` or ``trained``, features of a frozen encoder depend on the image only.
        weights: ``pretrained`` (torchvision's V1 for ImageNet, downloaded on first use; with ``deep_stem`` timm's,
            which are not those of PFENet's authors), ``none``, or the path of a state dict, which may lack layers
            after the last tap.
        mean: mean of images in 0..1, per channel.
        std: standard deviation of images in 0..1, per channel.

    Raises:
        FssegError: unknown architecture, tap or frozen layer, a stride that is not a power of two, a deep stem with
            another architecture, weights that do not fit, or a failed download.
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        taps: tuple[str, ...] = ("layer2", "layer3"),
        stride_on: Literal["1x1", "3x3"] = "1x1",
        stride: int = 8,
        ceil_mode: bool = True,
        batch_norm: Literal["batch", "running", "trained"] = "batch",
        deep_stem: bool = False,
        dilate_first: bool = False,
        last_relu: bool = True,
        frozen: Frozen = False,
        weights: str = "pretrained",
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
        self.strides = tuple(min(stride, _LAYERS[tap][1]) for tap in taps)
        self.stride = self.strides[0]
        if deep_stem and expansion != 4:
            raise FssegError(f"ResNet: deep_stem with {architecture}; give resnet50 or resnet101.")
        self.network = _cut(architecture, taps[-1], stride_on, ceil_mode, deep_stem)
        unused = [f"{layer}." for layer in layers[layers.index(taps[-1]) + 1 :]]
        load = load_deep if deep_stem else load_pretrained
        load(self.network, architecture, weights, optional=(*unused, "fc."))
        trade_stride_for_dilation(self.network, stride, size=256)
        if dilate_first:
            _dilate_first(self.network)
        if not last_relu:
            _without_last_relu(self.network.get_submodule(taps[-1])[-1])  # type: ignore[index]
        for module in batch_norms(self.network):
            module.requires_grad_(batch_norm == "trained")
            if batch_norm == "trained" and isinstance(module, nn.BatchNorm2d):
                module.momentum = _MOMENTUM
        self.running_statistics = batch_norm == "running"
        self.resumes = len(taps) > 1
        self.freeze(frozen, batch_statistics=batch_norm == "batch")

    def outputs(self, x: Tensor, taps: tuple[str, ...], after: str | None = None) -> tuple[Tensor, ...]:
        """Outputs of some taps, from the input of the layer after another tap, or of the first layer."""
        names = [name for name, _ in self.network.named_children()]
        outputs = []
        for name in names[names.index(after) + 1 if after else 0 : names.index(taps[-1]) + 1]:
            x = self.network.get_submodule(name)(x)
            if name in taps:
                outputs.append(x)
        return tuple(outputs)


def _cut(architecture: str, last: str, stride_on: str, ceil_mode: bool, deep_stem: bool) -> nn.Sequential:
    """The layers of a random ResNet up to its last tap, without dilation."""
    model = get_model(architecture, weights=None)
    if deep_stem:
        add_deep_stem(model)
    model.maxpool.ceil_mode = ceil_mode
    if stride_on == "1x1":
        for block in model.modules():
            if isinstance(block, Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    children = list(model.named_children())  # in order of execution
    end = [name for name, _ in children].index(last) + 1
    return nn.Sequential(OrderedDict(children[:end]))


def _dilate_first(network: nn.Module) -> None:
    """Dilate the 3x3 convolutions of each layer's first block like those of its second block."""
    for layer in network.children():
        blocks = [block for block in layer.children() if isinstance(block, BasicBlock | Bottleneck)]
        for block in blocks[:1]:
            block.conv2.dilation, block.conv2.padding = blocks[1].conv2.dilation, blocks[1].conv2.padding
            if isinstance(block, BasicBlock) and block.conv1.stride == (1, 1):
                block.conv1.dilation, block.conv1.padding = blocks[1].conv1.dilation, blocks[1].conv1.padding


class _SignedBasicBlock(BasicBlock):
    """A block without its last ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        signed: Tensor = self.bn2(self.conv2(inner)) + (x if self.downsample is None else self.downsample(x))
        return signed


class _SignedBottleneck(Bottleneck):
    """A block without its last ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        signed: Tensor = self.bn3(self.conv3(inner)) + (x if self.downsample is None else self.downsample(x))
        return signed


def _without_last_relu(block: nn.Module) -> None:
    """Remove a block's last ReLU in place; its ReLUs are one module, so that it cannot be removed as a layer."""
    block.__class__ = _SignedBottleneck if isinstance(block, Bottleneck) else _SignedBasicBlock
