"""co-FCN: Rakelly et al., "Conditional Networks for Few-Shot Semantic Segmentation", ICLR 2018 workshop.

The workshop paper's code was never published; this is `cofeat_early` of the authors' later code. A second encoder sees
a support and its annotation in five channels. The mean over all cells of all supports guides the query: it is joined to
each of its cells, and two 1x1 convolutions classify them. The tables of PANet and SG-One count 34.2 M parameters, which
no published network has; this one has 42.4 M with `FCN32`.

Ours: the planes of the annotation have the range of normalised images of any mean and deviation (the code: -128 and
128, for images of 0..255 minus their mean); batches; several ways.
"""

import copy
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import Encoder
from fsseg.episode import BACKGROUND
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, State, named
from fsseg.methods.binary import BinaryMethod, WayMaps

_GROWTH = 11  # pixels of a side to which each annotated pixel grows (the code's maximum filter)
_HALF = 128 / 255  # a plane is -128 where it is not annotated, 128 where it is, of images in 0..255


class CoFCN(BinaryMethod):
    """A query's map beside the mean map of the annotated supports, classified cell by cell.

    Args:
        encoder: image encoder; the code uses `FCN32` with ``fc6`` 256. The supports have a copy of it, whose first
            convolution has two more channels, which start as the mean over the pretrained ones. This convolution is
            trained in any case: with a frozen encoder too, the network must learn to see annotations.
        dropout: probability of dropping a channel before the classifier, in training (0.5 in the code).
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: the encoder has no convolution of three channels.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"dropout"})

    def __init__(self, encoder: Encoder, dropout: float = 0.5, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder, loss_mean)
        self.name = named(self, CoFCN, "co-FCN", {})
        self.support_encoder = _with_planes(encoder, 2)
        self.fuse = nn.Conv2d(2 * encoder.channels, encoder.channels, 1)
        self.drop = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(encoder.channels, 2, 1)
        for parameter in self.classify.parameters():
            nn.init.zeros_(parameter)

    def encode_support(self, images: UInt8[Tensor, "M 3 H W"], masks: UInt8[Tensor, "M H W"]) -> Maps:
        """Feature maps of supports with their annotation."""
        planes = torch.stack([masks == BACKGROUND, masks == 1], dim=1).float()
        grown = F.max_pool2d(planes, _GROWTH, stride=1, padding=_GROWTH // 2)
        scale = _HALF / self.encoder.std.mean()
        together = torch.cat([self.encoder.normalise(images), scale * (2 * grown - 1)], dim=1)
        return self.neck(self.support_encoder.features(together))

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The guide of each way, ``M C``: the mean over all cells of its supports."""
        return (support[0].mean((1, 3, 4)),)

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits of the classifier."""
        guide = state[0][:, :, None, None].expand(-1, -1, *query[0].shape[-2:])
        return [self.classify(self.drop(self.fuse(torch.cat([guide, query[0]], dim=1)).relu()))]

    def learns_fast(self, parameter: str) -> bool:
        """Both encoders start from pretrained weights."""
        return not parameter.startswith(("encoder.", "support_encoder."))


def _with_planes(encoder: Encoder, planes: int) -> Encoder:
    """A copy of an encoder whose images have more channels.

    Raises:
        FssegError: no convolution has three channels.
    """
    copied = copy.deepcopy(encoder)
    for _, layer in copied.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            break
    else:
        raise FssegError(
            f"CoFCN: {encoder.name} has no convolution of three channels, which the supports' copy widens."
        )
    weight = layer.weight.detach()
    more = weight.mean(1, keepdim=True).expand(-1, planes, -1, -1)
    layer.in_channels += planes
    layer.weight = nn.Parameter(torch.cat([weight, more], dim=1))
    return copied
