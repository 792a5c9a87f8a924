"""A small encoder for the built-in data and for tests; it trains from a random start in minutes."""

from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, Frozen
from fsseg.errors import FssegError


class ConvNet(Encoder):
    """Stages of 3x3 convolutions with GroupNorm. The last convolution has no ReLU, as in PANet's VGG16.

    GroupNorm replaces BatchNorm, so that features of an image do not depend on the batch.

    Args:
        widths: channels of each stage.
        strides: stride of each stage's first convolution.
        convolutions: convolutions per stage.
        groups: groups of each GroupNorm.
        frozen: train nothing, or not these layers, such as ``0`` and ``1``; see `Encoder.freeze`.

    Raises:
        FssegError: numbers are not positive, differ in length, or groups do not divide widths; unknown layers.
    """

    name = "ConvNet"

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (2, 2, 1),
        convolutions: int = 2,
        groups: int = 8,
        frozen: Frozen = False,
    ) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        if len(widths) != len(strides) or not widths or min(*widths, *strides, convolutions, groups) < 1:
            raise FssegError(
                f"ConvNet: widths {widths} and strides {strides}; give one positive number per stage to each."
            )
        if any(width % groups for width in widths):
            raise FssegError(f"ConvNet: groups {groups}, widths {widths}; give groups that divide each width.")
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
        self.freeze(frozen)

    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """One feature map of normalised images."""
        return (self.network(images),)
