"""Guided networks: Rakelly et al., "Few-Shot Segmentation Propagation with Guided Networks", 2018.

As in `cofeat_late_lite_unshared` (the code's script for semantic segmentation) and `cofeat_late_lite` of the authors'
code: query and supports share the encoder. The annotation chooses the cells whose mean is the guide of foreground or
background, so that a few annotated pixels are enough.

Ours: with another encoder than `FCN32`, cells are weighted by the adjoint of bilinear upsampling; batches; several
ways.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, State, named
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.fcn import at_cells
from fsseg.ops.pooling import adjoint_weights

_EPS = 1e-6  # of a guide's divisor, as in the code


class GuidedNetworks(BinaryMethod):
    """A query's map beside the mean maps of annotated foreground and background, classified cell by cell.

    Args:
        encoder: image encoder; the code uses `FCN32` with ``fc6`` 256.
        shared: one classifier scores foreground and background, each with its own guide; otherwise one classifier sees
            both guides.
        dropout: probability of dropping a channel before the classifier, in training (0.5 in the code).
        loss_mean: see `fsseg.losses.cross_entropy`.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"dropout"})

    def __init__(
        self, encoder: Encoder, shared: bool = False, dropout: float = 0.5, loss_mean: LossMean = "episodes"
    ) -> None:
        super().__init__(encoder, loss_mean)
        self.name = named(self, GuidedNetworks, "guided networks", {"shared": "shared" if shared else ""})
        self.shared = shared
        guides = 1 if shared else 2
        width = (1 + guides) * encoder.channels
        self.fuse = nn.Conv2d(width, width, 1)
        self.drop = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, guides, 1)
        for parameter in self.classify.parameters():
            nn.init.zeros_(parameter)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The guides of foreground and background, ``M C`` each: means over the shots that annotate any pixel of it."""
        return self._guide(support[0], foreground), self._guide(support[0], background)

    def _guide(self, feature: Float[Tensor, "M K C h w"], mask: Float[Tensor, "M K H W"]) -> Float[Tensor, "M C"]:
        size = (feature.shape[-2], feature.shape[-1])
        weight = at_cells(mask) if self.encoder.crop is not None else adjoint_weights(mask, size)
        total = torch.einsum("mkchw,mkhw->mkc", feature, weight.to(feature.dtype))
        each = total / (weight.sum((-2, -1)).unsqueeze(-1) + _EPS)
        annotated = mask.flatten(2).any(-1).to(each.dtype)
        return torch.einsum("mkc,mk->mc", each, annotated) / annotated.sum(1, keepdim=True).clamp(min=1)

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits of the classifier."""
        foreground, background = (one[:, :, None, None].expand(-1, -1, *query[0].shape[-2:]) for one in state)
        if not self.shared:
            return [self._scores([query[0], foreground, background])]
        return [torch.cat([self._scores([query[0], guide]) for guide in (background, foreground)], dim=1)]

    def _scores(self, maps: list[Tensor]) -> Tensor:
        scores: Tensor = self.classify(self.drop(self.fuse(torch.cat(maps, dim=1)).relu()))
        return scores
