"""A small encoder for the built-in data and for tests, trained from nothing in minutes."""

from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder
from fsseg.errors import FssegError


class ConvNet(Encoder):
    """Stages of 3x3 convolutions with GroupNorm; the last convolution has no ReLU, as PANet's VGG16.

    GroupNorm instead of BatchNorm: each image is encoded on its own, so no statistic of the batch enters.

    Args:
        widths: channels of each stage.
        strides: stride of each stage's first convolution.
        convolutions: convolutions per stage.
        groups: of GroupNorm.

    Raises:
        FssegError: numbers that don't fit each other.
    """

    name = "ConvNet"

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (2, 2, 1),
        convolutions: int = 2,
        groups: int = 8,
    ) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        if len(widths) != len(strides) or not widths or min(*widths, *strides, convolutions, groups) < 1:
            raise FssegError(f"ConvNet: widths {widths} and strides {strides} need one positive number for each stage.")
        if any(width % groups for width in widths):
            raise FssegError(f"ConvNet: groups {groups} must divide each of widths {widths}.")
        layers: list[nn.Module] = []
        width, self.stride = 3, 1
        for channels, stride in zip(widths, strides, strict=True):
            for i in range(convolutions):
                step = stride if i == 0 else 1
                layers += [
                    nn.Conv2d(width, channels, 3, stride=step, padding=1, bias=False),
                    nn.GroupNorm(groups, channels),
                    nn.ReLU(inplace=True),
                ]
                width = channels
            self.stride *= stride
        self.widths = (width,)
        self.network = nn.Sequential(*layers[:-1])

    def features(self, images: Float[Tensor, "M 3 H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, one."""
        return (self.network(images),)
