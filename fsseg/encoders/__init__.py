"""Encoders: images to feature maps."""

from fsseg.encoders.base import Encoder, without_pretrained_weights
from fsseg.encoders.convnet import ConvNet
from fsseg.encoders.resnet import ResNet
from fsseg.encoders.torchvision import Torchvision
from fsseg.encoders.vgg import VGG16, DeepLabVGG16

__all__ = ["VGG16", "ConvNet", "DeepLabVGG16", "Encoder", "ResNet", "Torchvision", "without_pretrained_weights"]
