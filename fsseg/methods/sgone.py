"""SG-One: Zhang et al., "SG-One: Similarity Guidance Network for One-Shot Semantic Segmentation", 2018.

As the official code: the prototype is pooled at mask resolution, cosine similarity to it multiplies the segmentation
branch, and the last 1x1 convolution pads by one cell, so that logits are two cells larger than the features, with the
bias as border. Ours: an empty support mask gives the zero prototype, hence similarity 0 (the code divides 0 by 0);
batches; several ways.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import BinaryMethod, Teaching, named
from fsseg.ops.pooling import masked_average_pool
from fsseg.ops.precision import full_precision
from fsseg.ops.similarity import cosine_similarity


class SGOne(BinaryMethod):
    """A guidance branch says where the query resembles the support, a segmentation branch decides.

    Args:
        encoder: image encoder; the paper's is `DeepLabVGG16` with taps pool3, pool4, pool5 and without the extra
            convolution. The last tap feeds the guidance branch, all feed the segmentation branch.
        fusion: of several shots: ``mean`` of the prototypes, or ``union`` of the predictions (paper, section III-D).
        guidance: channels of the guidance feature (512).
        channels: of the segmentation branch (128).
        loss_mean: what the loss of a batch is a mean over: pixels, then ``episodes``, or all ``pixels``; the code's
            batches are of one episode, for which both are the same.

    Raises:
        FssegError: no channels.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"fusion"})
    teaching: ClassVar[Teaching] = "alone"

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
            raise FssegError(f"SGOne: guidance {guidance} and channels {channels}; at least 1 is needed.")
        self.name = named(self, SGOne, "SG-One", {"union": fusion == "union"})
        self.fusion = fusion
        self.guidance = nn.Conv2d(encoder.widths[-1], guidance, 3, padding=1)
        self.sides = nn.ModuleList(
            nn.Conv2d(tap + (channels if i else 0), channels, 3, padding=1) for i, tap in enumerate(encoder.widths)
        )
        self.classify = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(channels, 2, 1, padding=1)
        )

    def encode(self, images: Tensor) -> Float[Tensor, "M C h w"]:
        """Guidance feature and segmentation feature of images, concatenated."""
        taps = self.encoder(images).split(self.encoder.widths, dim=1)
        side = self.sides[0](taps[0])
        for layer, tap in zip(self.sides[1:], taps[1:], strict=True):
            side = layer(torch.cat([side.relu(), tap], dim=1))  # no ReLU behind the last
        return torch.cat([self.guidance(taps[-1]), side], dim=1)

    def learn(
        self,
        support_feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
    ) -> tuple[Tensor, ...]:
        """The prototype of each shot, ``M K C``."""
        with full_precision(support_feature):
            guidance = support_feature[:, :, : self.guidance.out_channels].float()
            return (masked_average_pool(guidance, foreground, eps=1e-12),)

    def stages(self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "M C h w"]) -> list[Tensor]:
        """Logits two cells larger than the features, from the mean of the shots' prototypes."""
        split = self.guidance.out_channels
        with full_precision(query_feature):
            similarity = cosine_similarity(query_feature[:, :split].float(), learnt[0].mean(1, keepdim=True))
        return [self.classify(query_feature[:, split:] * similarity.to(query_feature.dtype))]

    def segment_by(
        self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "B Q C h w"], shot: int
    ) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries; the union is taken of the cells here, of the pixels in `decode`."""
        if self.fusion == "mean":
            return super().segment_by(learnt, query_feature, shot)
        return _union(self._each_shot(learnt, query_feature))

    def decode(
        self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "B Q C h w"], batch: Batch
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks."""
        if self.fusion == "mean":
            return super().decode(learnt, query_feature, batch)
        return _union([self.at_masks(logits, batch) for logits in self._each_shot(learnt, query_feature)])

    def _each_shot(self, learnt: tuple[Tensor, ...], query_feature: Tensor) -> list[Tensor]:
        return [
            super(SGOne, self).segment_by((prototype,), query_feature, 1) for prototype in learnt[0].split(1, dim=2)
        ]

    def learns_fast(self, parameter: str) -> bool:
        """The guidance layer alone (train_frame.py of the official code)."""
        return parameter.startswith("guidance.")


def _union(each: list[Tensor]) -> Tensor:
    """Logits whose prediction is the union of the shots': each way keeps its largest margin over background."""
    return torch.stack([logits - logits[:, :, :1] for logits in each]).amax(0)
