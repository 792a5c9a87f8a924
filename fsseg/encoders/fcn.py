"""The body of FCN-32s on VGG16, as in the codes of co-FCN and OSLSM.

The first convolution pads images by 81 pixels (OSLSM: 121), max pools of 2x2 round sizes up, and VGG16's fully
connected layers are convolutions without padding: an image of H pixels has ``ceil(H / 32) - 1`` cells. The decoder of
`fsseg.ops.fcn` belongs to these cells.

The codes start from Caffe's VGG16, whose images are ``BGR - mean`` in 0..255. With such a file, whose first
convolution is in RGB order, give ``mean`` (0.48109378, 0.45752457, 0.40787054) and ``std`` 1/255.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from fsseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, Frozen
from fsseg.encoders.weights import load_pretrained
from fsseg.errors import FssegError

_CHANNELS, _SIDE = 512, 7  # of the map that the first fully connected layer sees
_CROPS = {81: 0, 121: 40}  # first pixel of the decoder's cut, by the padding
_FILE = 4096  # width of the fully connected layers of pretrained weights


class FCN32(Encoder):
    """VGG16 with its fully connected layers as convolutions: stride 32, and one cell less than ``ceil(H / 32)``.

    Args:
        fc6: channels of the first fully connected layer; 4096 starts from the pretrained layer, others at random
            (co-FCN: 256).
        fc7: add the second fully connected layer, of 4096 channels (FG-BG, OSLSM).
        padding: of the first convolution: 81 (co-FCN) or 121 (OSLSM).
        dropout: probability of dropping a channel after each fully connected layer, in training.
        weights: ``pretrained`` (torchvision's, downloaded on first use), ``none``, or the path of a state dict. A file
            without fully connected layers fits ``fc6`` below 4096 and no ``fc7``.
        frozen: see `fsseg.encoders.VGG16`.
        mean: mean of images in 0..1, per channel.
        std: standard deviation of images in 0..1, per channel.

    Raises:
        FssegError: another padding, or weights that do not fit.
    """

    name = "VGG16"
    stride = 32

    def __init__(
        self,
        fc6: int = _FILE,
        fc7: bool = False,
        padding: Literal[81, 121] = 81,
        dropout: float = 0.5,
        weights: str = "pretrained",
        frozen: Frozen = False,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        if padding not in _CROPS:
            raise FssegError(f"FCN32: padding {padding}; 81 (co-FCN) or 121 (OSLSM) is needed.")
        self.weights, self.widths = weights, (_FILE if fc7 else fc6,)
        body = make_layers(cfgs["D"])
        body[0].padding = (padding, padding)
        for layer in body:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        layers = {"0": nn.Linear(_CHANNELS * _SIDE**2, fc6)} | ({"3": nn.Linear(fc6, _FILE)} if fc7 else {})
        # Tensors have the names and shapes of torchvision's VGG16, so that its weights fit.
        self.network = nn.ModuleDict({"features": body, "classifier": nn.ModuleDict(layers)})
        self.crop = _CROPS[padding]
        self.drop = nn.Dropout2d(dropout)
        optional = (
            "classifier.6.",
            *(() if fc7 else ("classifier.3.",)),
            *(() if fc6 == _FILE else ("classifier.0.",)),
        )
        load_pretrained(self.network, "vgg16", weights, optional)
        self.freeze(frozen)

    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """One feature map of normalised images.

        Raises:
            FssegError: the images have no cell.
        """
        if min(images.shape[-2:]) <= self.stride:
            raise FssegError(f"FCN32: images of {images.shape[-1]}x{images.shape[-2]}; more than 32x32 is needed.")
        maps = self.network["features"](images)
        for layer in self.network["classifier"].children():
            side = _SIDE if layer.in_features == _CHANNELS * _SIDE**2 else 1
            kernel = layer.get_parameter("weight").unflatten(1, (-1, side, side))
            maps = self.drop(F.conv2d(maps, kernel, layer.get_parameter("bias")).relu())
        return (maps,)
