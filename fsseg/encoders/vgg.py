"""VGG16 as PANet builds it (section 3.2; models/vgg.py of the official code).

Differences to torchvision's ``vgg16().features``: max pools of 3x3 with padding 1, the fourth with stride 1, the fifth
left out, the last block dilated by 2, and no ReLU after the last convolution, so that features are signed. Overall
stride 8: 417 -> 209 -> 105 -> 53. Tensors keep torchvision's names, so its weights load.
"""

from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, load_pretrained

# (channels, convolutions, dilation, stride of the pool behind them)
_BLOCKS = ((64, 2, 1, 2), (128, 2, 1, 2), (256, 3, 1, 2), (512, 3, 1, 1), (512, 3, 2, None))


class VGG16(Encoder):
    """VGG16 of stride 8 and 512 channels; every layer is trained, as in PANet.

    Args:
        weights: ``imagenet`` (torchvision's, downloaded on first use), ``none``, or the path of a state dict.
        mean: subtracted after division by 255.
        std: divided by after that.
    """

    name = "VGG16"
    channels = 512
    stride = 8

    def __init__(
        self,
        weights: str = "imagenet",
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        self.weights = weights
        layers: list[nn.Module] = []
        width = 3
        for channels, convolutions, dilation, pool in _BLOCKS:
            for _ in range(convolutions):
                convolution = nn.Conv2d(width, channels, 3, padding=dilation, dilation=dilation)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                layers += [convolution, nn.ReLU(inplace=True)]
                width = channels
            if pool is not None:
                layers.append(nn.MaxPool2d(3, stride=pool, padding=1))
        self.network = nn.ModuleDict({"features": nn.Sequential(*layers[:-1])})  # without the last ReLU
        load_pretrained(self.network, "vgg16", weights, optional=("classifier.",))

    def features(self, images: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Feature maps of normalised images."""
        feature: Tensor = self.network["features"](images)
        return feature
