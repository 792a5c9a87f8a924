"""SG-One: Zhang et al., "SG-One: Similarity Guidance Network for One-Shot Semantic Segmentation", 2018.

As in the official code, the prototype is pooled at mask resolution, and the cosine similarity to it multiplies the
segmentation branch. The last 1x1 convolution pads by one cell, so that logits are two cells larger than the features
and their border is the bias. Ours: an empty support mask gives the zero prototype and similarity 0 (the code divides 0
by 0); batches; several ways.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, QueryMaps, State, StatePer, named
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.feature_maps import at_finest
from fsseg.ops.pooling import masked_average_pool
from fsseg.ops.precision import full_precision
from fsseg.ops.similarity import cosine_similarity


class SGOne(BinaryMethod):
    """A segmentation branch, weighted by the similarity of a guidance branch to the support's prototype.

    Args:
        encoder: image encoder; the paper uses `DeepLabVGG16` with taps pool3, pool4, pool5 and without the extra
            convolution. The last tap feeds the guidance branch, all taps feed the segmentation branch.
        fusion: several shots: ``mean`` of their prototypes, or ``union`` of their predictions (section III-D).
        guidance: channels of the guidance feature (512 in the code).
        channels: channels of the segmentation branch (128 in the code).
        loss_mean: ``episodes``: a mean per episode, then over episodes. ``pixels``: one mean over all labelled pixels.
            Both are equal for the code's batches of one episode.

    Raises:
        FssegError: guidance or channels are below 1.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"fusion"})
    state_per: ClassVar[StatePer] = "shot"

    def __init__(
        self,
        encoder: Encoder,
        fusion: Literal["mean", "union"] = "mean",
        guidance: int = 512,
        channels: int = 128,
        loss_mean: LossMean = "episodes",
    ) -> None:
        super().__init__(encoder, loss_mean)
        if min(guidance, channels) < 1:
            raise FssegError(f"SGOne: guidance {guidance} and channels {channels}; give at least 1 each.")
        self.name = named(self, SGOne, "SG-One", {"fusion": "union" if fusion == "union" else ""})
        self.fusion = fusion
        self.guidance = nn.Conv2d(encoder.widths[-1], guidance, 3, padding=1)
        self.sides = nn.ModuleList(
            nn.Conv2d(tap + (channels if i else 0), channels, 3, padding=1) for i, tap in enumerate(encoder.widths)
        )
        self.classify = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(channels, 2, 1, padding=1)
        )

    def neck(self, maps: Maps) -> Maps:
        """Guidance feature and segmentation feature."""
        taps = at_finest(maps)
        side = self.sides[0](taps[0])
        for layer, tap in zip(self.sides[1:], taps[1:], strict=True):
            side = layer(torch.cat([side.relu(), tap], dim=1))  # no ReLU after the last, as in the code
        return self.guidance(taps[-1]), side

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The prototype of each shot in the guidance feature, ``M K C``."""
        with full_precision(support[0]):
            return (masked_average_pool(support[0].float(), foreground, eps=1e-12),)

    def stages(self, state: State, query: Maps) -> list[Tensor]:
        """Logits from the mean of the shots' prototypes, two cells larger than the features."""
        guidance, side = query
        with full_precision(guidance):
            similarity = cosine_similarity(guidance.float(), state[0].mean(1, keepdim=True))
        return [self.classify(side * similarity.to(side.dtype))]

    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries. ``union`` merges cells here, and pixels in `segment`."""
        return _union(self._each_shot(state, query)) if self.fusion == "union" else super().predict(state, query)

    def segment(
        self, state: State, query: QueryMaps, size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at pixel resolution."""
        if self.fusion == "mean":
            return super().segment(state, query, size)
        return _union([self.sized(logits, size) for logits in self._each_shot(state, query)])

    def _each_shot(self, state: State, query: QueryMaps) -> list[Tensor]:
        return [super(SGOne, self).predict((prototype,), query) for prototype in state[0].split(1, dim=2)]

    def learns_fast(self, parameter: str) -> bool:
        """Only the guidance layer has the larger learning rate (train_frame.py of the official code)."""
        return parameter.startswith("guidance.")


def _union(each: list[Tensor]) -> Tensor:
    """Logits that predict the union of the shots' predictions: the largest margin of each way over background."""
    return torch.stack([logits - logits[:, :, :1] for logits in each]).amax(0)
