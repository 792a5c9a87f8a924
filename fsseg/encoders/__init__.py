"""Encoders: images to feature maps."""

from fsseg.encoders.base import Encoder
from fsseg.encoders.convnet import ConvNet
from fsseg.encoders.fcn import FCN32
from fsseg.encoders.names import NAMES, build
from fsseg.encoders.resnet import ResNet
from fsseg.encoders.timm import Timm
from fsseg.encoders.torchvision import Torchvision
from fsseg.encoders.vgg import VGG16, DeepLabVGG16
from fsseg.encoders.vgg_bn import VGG16BN
from fsseg.encoders.weights import without_pretrained_weights

__all__ = [
    "FCN32",
    "NAMES",
    "VGG16",
    "VGG16BN",
    "ConvNet",
    "DeepLabVGG16",
    "Encoder",
    "ResNet",
    "Timm",
    "Torchvision",
    "build",
    "without_pretrained_weights",
]
