"""Encoders by name: ``model.method.encoder`` dinov2_s as an option, or ``encoder: dinov2_s`` in YAML.

A name stands for a class and its arguments; arguments that are given beside the name override these. The table of
docs/encoders.md is made from this file.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fsseg import class_paths
from fsseg.encoders.base import Encoder, listed, nearest
from fsseg.encoders.resnet import ResNet
from fsseg.encoders.timm import Timm
from fsseg.encoders.torchvision import Torchvision
from fsseg.encoders.vgg import VGG16
from fsseg.errors import FssegError


class Named(NamedTuple):
    """What a name stands for.

    Attributes:
        kind: class of the encoder.
        arguments: arguments that differ from the defaults of the class.
        parameters: millions of parameters up to the tap.
        channels: channels of the feature maps, in sum.
        stride: pixels per cell of the finest map.
        multiple: number of pixels that sides of images are multiples of; other sizes are resized.
        licence: licence of the pretrained weights.
        use: what the encoder is good for.
    """

    kind: type[Encoder]
    arguments: Mapping[str, Any]
    parameters: float
    channels: int
    stride: int
    multiple: int
    licence: str
    use: str


def _resnet(layers: int, parameters: float, channels: int, use: str) -> Named:
    # torchvision's own network, for which its weights were trained, with dilation
    options = {"architecture": f"resnet{layers}", "taps": ("layer3",), "stride_on": "3x3", "ceil_mode": False,
               "batch_norm": "running"}  # fmt: skip
    return Named(ResNet, options, parameters, channels, 8, 1, _BSD, use)


def _every_block(layers: int, blocks: tuple[int, int, int], parameters: float) -> Named:
    # the sums of all blocks of layer2 to layer4, before the last ReLU; no dilation
    taps = tuple(f"layer{2 + i}.{block}.add" for i, count in enumerate(blocks) for block in range(count))
    options = {"architecture": f"resnet{layers}", "taps": taps, "stride": 32, "frozen": True}
    channels = sum(count * 512 * 2**i for i, count in enumerate(blocks))
    return Named(Torchvision, options, parameters, channels, 8, 1, _BSD, f"HSNet; {sum(blocks)} maps")


def _timm(architecture: str, facts: tuple[float, int, int, int], licence: str, use: str) -> Named:
    return Named(Timm, {"architecture": architecture}, *facts, licence, use)


_BSD, _APACHE, _MIT, _DINOV3 = "BSD-3-Clause", "Apache-2.0", "MIT", "DINOv3 License"

NAMES: Mapping[str, Named] = {
    "resnet18": _resnet(18, 2.8, 256, "trials on a CPU"),
    "resnet34": _resnet(34, 8.2, 256, "between resnet18 and resnet50"),
    "resnet50": _resnet(50, 8.5, 1024, "comparison with most papers since CANet"),
    "resnet101": _resnet(101, 27.5, 1024, "comparison with papers' largest ResNet"),
    "vgg16": Named(VGG16, {}, 14.7, 512, 8, 1, _BSD, "PANet as in its paper"),
    "resnet50_blocks": _every_block(50, (4, 6, 3), 23.5),
    "resnet101_blocks": _every_block(101, (4, 23, 3), 42.5),
    "vgg16_layers": Named(
        # the convolutions of the last two blocks, before the ReLU, and the last pool
        Torchvision, {"architecture": "vgg16", "taps": tuple(f"features.{i}" for i in (17, 19, 21, 24, 26, 28, 30)),
                      "stride": 32, "frozen": True}, 14.7, 3584, 8, 1, _BSD, "HSNet; 7 maps",
    ),
    "mobilenet_v2": Named(
        Torchvision, {"architecture": "mobilenet_v2", "taps": ("features.17",), "stride": 16}, 1.8, 320, 16, 1, _BSD,
        "small devices",
    ),
    "squeezenet1_0": Named(
        Torchvision, {"architecture": "squeezenet1_0", "taps": ("features.12",)}, 0.7, 512, 8, 1, _BSD,
        "the smallest one; training on a CPU",
    ),
    "efficientnet_lite0": _timm("tf_efficientnet_lite0.in1k", (0.7, 112, 16, 1), _APACHE, "trials on a CPU"),
    "efficientnet_lite0_levels": Named(
        Timm, {"architecture": "tf_efficientnet_lite0.in1k", "taps": (3, 4)}, 3.0, 432, 16, 1, _APACHE,
        "your own pictures on a CPU; 2 maps",
    ),
    "convnext_t": _timm("convnext_tiny.fb_in22k", (12.3, 384, 16, 1), _APACHE, "a convolutional network of today"),
    "swin_t": _timm("swin_tiny_patch4_window7_224.ms_in22k", (12.2, 384, 16, 4), _MIT, "a hierarchical transformer"),
    "eva02_s": _timm("eva02_small_patch14_224.mim_in22k", (21.6, 384, 14, 14), _MIT, "a ViT trained on masked images"),
    "dinov2_s": _timm("vit_small_patch14_dinov2.lvd142m", (22.1, 384, 14, 14), _APACHE, "prototypes without training"),
    "dinov2_b": _timm("vit_base_patch14_dinov2.lvd142m", (86.6, 768, 14, 14), _APACHE, "prototypes without training"),
    "dinov2_l": _timm("vit_large_patch14_dinov2.lvd142m", (304.4, 1024, 14, 14), _APACHE, "as in Matcher and GF-SAM"),
    "dinov3_s": _timm("vit_small_patch16_dinov3.lvd1689m", (21.6, 384, 16, 16), _DINOV3, "dense features"),
    "dinov3_b": _timm("vit_base_patch16_dinov3.lvd1689m", (85.6, 768, 16, 16), _DINOV3, "dense features"),
    "dinov3_l": _timm("vit_large_patch16_dinov3.lvd1689m", (303.1, 1024, 16, 16), _DINOV3, "dense features"),
    "dinov3_convnext_t": _timm("convnext_tiny.dinov3_lvd1689m", (12.3, 384, 16, 1), _DINOV3, "the smallest DINOv3"),
    "dinov3_convnext_s": _timm("convnext_small.dinov3_lvd1689m", (34.0, 384, 16, 1), _DINOV3, "DINOv3 without tokens"),
    "dinov3_convnext_b": _timm("convnext_base.dinov3_lvd1689m", (60.1, 512, 16, 1), _DINOV3, "DINOv3 without tokens"),
}  # fmt: skip


def stands_for(name: str, class_path: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a name stands for a class and arguments, which may have more arguments."""
    kind, own = NAMES[name].kind.__name__, NAMES[name].arguments
    return class_paths.last_name(class_path) == kind and all(arguments.get(key) == value for key, value in own.items())


def build(name: str, **arguments: Any) -> Encoder:
    """The encoder of a name.

    Args:
        name: name of the table.
        arguments: further arguments of its class, such as ``weights``, and others than the table's.

    Raises:
        FssegError: the name is unknown, or the class refuses an argument.
    """
    if name not in NAMES:
        raise FssegError(f"no encoder {name}.{nearest(name, list(NAMES))} Names: {listed(list(NAMES))}.")
    return NAMES[name].kind(**{**NAMES[name].arguments, **arguments})
