"""A-MCG, ours: after Hu et al., "Attention-based Multi-Context Guiding for Few-Shot Semantic Segmentation", AAAI 2019.

The authors' code was never published, so this is a reconstruction from what others report: a support and a query
branch; a fusion branch joins their maps at several scales by 1x1 convolutions, and goes to the next scale by 3x3
convolutions; residual attention ``(1 + A) F``; masks enter before the network (PANet, section 3.3); a convolutional
LSTM over the supports.

Chosen by us: all widths; the branches are two copies of one encoder; coarser maps add up; attention is spatial, after
the last scale; the LSTM sees the deepest maps only, of the support with the smallest object first; maps of other scales
are means over supports; the decoder.
"""

import copy

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import Encoder
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, State, named
from fsseg.methods.binary import BinaryMethod, WayMaps


class AMCG(BinaryMethod):
    """Maps of query and support, fused from fine to coarse, with attention.

    Args:
        encoder: image encoder of the queries, with one map per scale, fine to coarse. The supports have a copy of it.
        channels: channels of the fusion branch.
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: channels are below 1.
    """

    reconstructed = "its code was never published"

    def __init__(self, encoder: Encoder, channels: int = 256, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder, loss_mean)
        if channels < 1:
            raise FssegError(f"AMCG: channels {channels}; at least 1 is needed.")
        self.name = named(self, AMCG, "A-MCG", {})
        self.support_encoder = copy.deepcopy(encoder)
        *fine, deepest = encoder.widths
        self.narrow = nn.Conv2d(deepest, channels, 1)
        self.memory = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)
        widths = [*(2 * width for width in fine), deepest + channels]
        self.units = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in fine)
        self.attention = nn.Sequential(_three(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, 1, 1))
        self.classify = nn.Sequential(_three(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, 2, 1))

    def neck(self, maps: Maps) -> Maps:
        """The maps of all scales."""
        return maps

    def encode_support(self, images: UInt8[Tensor, "M 3 H W"], masks: UInt8[Tensor, "M H W"]) -> Maps:
        """Feature maps of supports whose pixels out of the way have the mean colour."""
        return self.support_encoder.features(self.encoder.normalise(images) * (masks == 1).unsqueeze(1))

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """One map per scale and way."""
        *fine, deepest = support
        order = foreground.sum((-2, -1)).argsort(dim=1, stable=True)[:, :, None, None, None]
        narrow = self.narrow(deepest.flatten(0, 1)).relu().unflatten(0, deepest.shape[:2])
        return (*(one.mean(1) for one in fine), self._remembered(torch.take_along_dim(narrow, order, dim=1)))

    def _remembered(self, maps: Float[Tensor, "M K D h w"]) -> Float[Tensor, "M D h w"]:
        """The last hidden state of a convolutional LSTM over the shots (Shi et al., NeurIPS 2015; no peepholes)."""
        shape = (len(maps), self.memory.out_channels // 4, *maps.shape[-2:])
        hidden, cell = maps.new_zeros(shape), maps.new_zeros(shape)
        for one in maps.unbind(1):
            gates = self.memory(torch.cat([one, hidden], dim=1))
            enter, keep, leave = gates[:, : 3 * shape[1]].sigmoid().chunk(3, dim=1)
            cell = keep * cell + enter * gates[:, 3 * shape[1] :].tanh()
            hidden = leave * cell.tanh()
        return hidden

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits at the coarsest scale."""
        fused: Tensor | None = None
        for scale, (own, support) in enumerate(zip(query, state, strict=True)):
            joined = self.units[scale](torch.cat([own, _as(support, own)], dim=1)).relu()
            fused = joined if fused is None else joined + self._next(fused, scale - 1, joined)
        assert fused is not None
        return [self.classify((1 + self.attention(fused).sigmoid()) * fused)]

    def _next(self, fused: Tensor, number: int, like: Tensor) -> Tensor:
        """The fusion at the next scale."""
        weight, bias = (self.down[number].get_parameter(name) for name in ("weight", "bias"))
        stride = max(1, round(fused.shape[-1] / like.shape[-1]))
        return _as(F.conv2d(fused, weight, bias, stride, padding=1), like)

    def learns_fast(self, parameter: str) -> bool:
        """Both encoders start from pretrained weights."""
        return not parameter.startswith(("encoder.", "support_encoder."))


def _three(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1)


def _as(maps: Tensor, like: Tensor) -> Tensor:
    """Maps at the size of others, bilinear."""
    size = like.shape[-2:]
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size=size, mode="bilinear")
