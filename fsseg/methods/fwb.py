"""FWB: Nguyen and Todorovic, "Feature Weighting and Boosting for Few-Shot Segmentation", ICCV 2019.

As in the author's later code (few_shot_model.py), because the paper leaves much open. A fine map of the query, weighted
by the similarity of its coarse map to the supports' mean feature, is classified by two convolutions. Feature weighting
scales each channel by its relevance: the difference between the means of foreground and background. Boosting optimises
the mean feature on the supports; the features of all steps are experts, which vote on the query's pixels.

Other than in the code:

- An expert's vote is its IoU on the supports, as in the paper. The code scores predictions whose votes are IoUs with
  the query's ground truth (``vote: truth``), and with several shots it takes the last support's fine map in place of
  the query's, which we never do.
- Void pixels of supports count nowhere. A side of a support without cells adds nothing; in the code it gives NaN.
- Experts vote at the resolution that the fine map's stride gives, which is the image's for sides of 4n + 1 pixels (the
  code: at the image's resolution). Several ways are ours.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import Encoder
from fsseg.episode import IGNORE, Batch
from fsseg.errors import FssegError
from fsseg.losses import LossMean, cross_entropy_per_image, upsample
from fsseg.methods.base import Features, Maps, QueryMaps, State, SupportMaps, named
from fsseg.methods.binary import BinaryMethod, WayMaps, binary_targets, per_query, per_way, sides
from fsseg.ops.precision import full_precision
from fsseg.ops.similarity import cosine_similarity

_EPS = 1e-16  # added to a map's maximum, as in the code
_RATE = 1e-2  # of Adam in boosting, as in the code; the paper's step size is unknown
_VOTES = {"sum": "", "majority": "majority", "truth": "votes know the answer"}
_CAUTION = "experts vote by their IoU with the query's ground truth, as in its author's evaluation"
_THRESHOLD = 0.8  # sum of votes above which a pixel is foreground, as in the code


class Shot(NamedTuple):
    """A support of each way, for boosting.

    Attributes:
        low: fine map.
        high: coarse map.
        label: 0 background, 1 the way, 255 ignored.
    """

    low: Float[Tensor, "M _ _ _"]
    high: Float[Tensor, "M _ _ _"]
    label: Int[Tensor, "M H W"]


class FWB(BinaryMethod):
    """A fine map, weighted by the similarity of a coarse map to the supports, with boosting at test time.

    Args:
        encoder: image encoder whose first map is the fine one and whose last map is the coarse one. The code uses
            `VGG16` with ``taps=("pool2", "pool5"), dilations=(2, 4), batch_norm=True``, or `ResNet` with
            ``architecture="resnet101", taps=("layer1", "layer4"), stride_on="3x3", ceil_mode=False,
            batch_norm="trained", last_relu=False``.
        weighting: feature weighting (section 3.2).
        experts: experts of boosting at test time (section 3.3); the code has 11, the first of them without an
            optimisation step. 0: no boosting. Training has no boosting.
        vote: a pixel is foreground where the sum of votes is above 0.8 (``sum``, the code), or where more than half
            of all votes are for it (``majority``, ours). ``truth``, for reproduction only: as ``sum``, but in tests and
            validations an expert votes by its IoU with the query's ground truth, which the test should find.
        channels: channels of the classifier (128 in the code).
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: experts are below 0, or channels below 1.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"experts", "vote"})
    align_corners = True
    support_gradient = False

    def __init__(
        self,
        encoder: Encoder,
        weighting: bool = True,
        experts: int = 11,
        vote: Literal["sum", "majority", "truth"] = "sum",
        channels: int = 128,
        loss_mean: LossMean = "pixels",
    ) -> None:
        super().__init__(encoder, loss_mean)
        if experts < 0 or channels < 1:
            raise FssegError(f"FWB: experts {experts} and channels {channels}; give at least 0 and 1.")
        departures = {
            "weighting": "" if weighting else "no weighting",
            "experts": {0: "no boosting", 11: ""}.get(experts, f"{experts} experts"),
            "vote": _VOTES[vote] if experts else "",
        }
        self.name = named(self, FWB, "FWB", departures)
        self.weighting, self.experts, self.vote = weighting, experts, vote
        self.adapt_gradient = experts > 1
        self.caution = _CAUTION if self.knows_truth else ""
        self.classify = nn.Sequential(
            nn.Conv2d(encoder.widths[0], channels, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(channels, 2, 1)
        )

    @property
    def knows_truth(self) -> bool:
        """Whether the ground truth of a query decides its segmentation."""
        return self.vote == "truth" and self.experts > 0

    def neck(self, maps: Maps) -> Maps:
        """The fine and the coarse map; one map if the encoder has no more."""
        return maps if len(maps) == 1 else (maps[0], maps[-1])

    def passed(
        self, step: Callable[..., Maps], support: tuple[Tensor, ...], query: tuple[Tensor, ...], shots: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Queries after a step, then supports in eval mode, with the running statistics that the queries updated."""
        queries, training = step(*query), self.encoder.training
        self.encoder.eval()
        with torch.no_grad():
            supports = step(*support)
        self.encoder.train(training)
        return supports, queries

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The state without boosting: the feature of one expert ``M E C``, relevance ``M C``, votes ``M E``."""
        with full_precision(support[-1]):
            high = support[-1].float()
            feature, relevance = self.weighted(_cell_sum(high, foreground), _cell_sum(high, background))
        return feature.unsqueeze(1), relevance, torch.ones_like(feature[:, :1])

    def weighted(
        self, foreground: Float[Tensor, "M C"], background: Float[Tensor, "M C"]
    ) -> tuple[Float[Tensor, "M C"], Float[Tensor, "M C"]]:
        """Feature of the first expert, and relevance of each channel.

        Args:
            foreground: mean features of the foreground, summed over shots.
            background: those of the background.
        """
        difference = foreground - background
        relevance = F.normalize(difference, dim=-1) if self.weighting else torch.ones_like(difference)
        return foreground * relevance, relevance

    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """The state with boosting."""
        state = super().adapt(support, mask)
        if not self.experts:
            return state
        foreground, background = sides(mask)
        label = foreground.long().masked_fill(foreground + background == 0, IGNORE)
        maps = [one.flatten(0, 1) for one in support]
        shots = [Shot(maps[0][:, k], maps[-1][:, k], label[:, k]) for k in range(mask.shape[2])]
        feature, relevance = (part.flatten(0, 1) for part in state[:2])
        boosted = self.boosted(feature.squeeze(1), relevance, shots)
        experts, votes = (part.unflatten(0, mask.shape[:2]) for part in boosted)
        return experts, state[1], votes

    def boosted(
        self, feature: Float[Tensor, "M C"], relevance: Float[Tensor, "M C"], shots: list[Shot]
    ) -> tuple[Float[Tensor, "M E C"], Float[Tensor, "M E"]]:
        """Features of all experts, and their votes: the mean IoU on the supports.

        Args:
            feature: feature of the first expert.
            relevance: relevance of each channel.
            shots: supports; those of one way may have several sizes.
        """
        feature = feature.detach().clone().requires_grad_(self.adapt_gradient)
        optimizer = torch.optim.Adam([feature], lr=_RATE)
        experts, votes = [], []
        for number in range(self.experts):
            logits = [self._segment_shot(shot, relevance, feature) for shot in shots]
            experts.append(feature.detach().clone())
            ious = [_iou(one.argmax(1), shot.label) for one, shot in zip(logits, shots, strict=True)]
            votes.append(torch.stack(ious).mean(0))
            if number + 1 < self.experts:
                each = [cross_entropy_per_image(one, shot.label) for one, shot in zip(logits, shots, strict=True)]
                (feature.grad,) = torch.autograd.grad(torch.stack(each).sum(), feature)
                optimizer.step()
        return torch.stack(experts, dim=1), torch.stack(votes, dim=1)

    def _segment_shot(self, shot: Shot, relevance: Tensor, feature: Tensor) -> Float[Tensor, "M 2 H W"]:
        """Logits of a support at pixel resolution."""
        with full_precision(feature):  # Adam divides gradients by their size, and so amplifies rounding
            (logits,) = self.stages((feature.unsqueeze(1), relevance), (shot.low.float(), shot.high.float()))
            return self.to_pixels(logits, (shot.label.shape[-2], shot.label.shape[-1]))

    def similarity(
        self,
        high: Float[Tensor, "M C h w"],
        relevance: Float[Tensor, "M C"],
        feature: Float[Tensor, "M E C"],
        size: tuple[int, int],
    ) -> Float[Tensor, "M E u v"]:
        """Similarity of a coarse map to the experts' features, with the maximum 1, at the size of the fine map."""
        with full_precision(high):
            similarity = cosine_similarity(high.float() * relevance[:, :, None, None], feature).relu()
            similarity = upsample(similarity, size, align_corners=True)
            return similarity / (similarity.amax((-2, -1), keepdim=True) + _EPS)

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits of each expert."""
        low, high = query[0], query[-1]
        feature, relevance = state[:2]
        similarity = self.similarity(high, relevance, feature, (low.shape[-2], low.shape[-1])).to(low.dtype)
        return [self.classify(low * one) for one in similarity.split(1, dim=1)]

    def decide(self, stages: list[Tensor], state: State) -> Float[Tensor, "M 2 u v"]:
        """The logits without boosting; with boosting the sum of votes as foreground, its threshold as background."""
        if not self.experts:
            return stages[0]
        votes = state[-1][:, :, None, None]
        stride = self.encoder.stride
        size = (stride * (stages[0].shape[-2] - 1) + 1, stride * (stages[0].shape[-1] - 1) + 1)
        total = torch.zeros_like(votes[:, 0])
        for number, logits in enumerate(stages):
            total = total + votes[:, number] * self.to_pixels(logits, size).argmax(1)
        threshold = votes.sum(1) / 2 if self.vote == "majority" else torch.full_like(total, _THRESHOLD)
        return torch.stack([threshold.expand_as(total), total], dim=1)

    def segment_batch(self, state: State, query: QueryMaps, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries; where the ground truth votes, of one episode per query, as votes differ."""
        if not self.knows_truth:
            return super().segment_batch(state, query, batch)
        lead, size = query[0].shape[:2], batch.query_size.flatten(0, 1).unsqueeze(1)
        each = tuple(part.repeat_interleave(lead[1], 0) for part in state)
        alone = tuple(one.flatten(0, 1).unsqueeze(1) for one in query)
        truth = binary_targets(batch._replace(query_mask=batch.query_mask.flatten(0, 1).unsqueeze(1)))
        votes = self._ious(each, alone, truth, size)
        found = self.segment_resized((*each[:-1], votes), alone, batch.encoded_size, size)
        by_episode: Tensor = found.squeeze(1).unflatten(0, lead)
        return by_episode

    def _ious(
        self, state: State, query: QueryMaps, truth: Int[Tensor, "M H W"], size: Integer[Tensor, "B 1 2"]
    ) -> Float[Tensor, "B N E"]:
        """IoU of each expert's mask of each way with the ground truth, one query per episode."""
        way, ious = state[0].shape[1], []
        for logits in self.stages(per_query(state, query), per_way(query, way)):
            large = self.sized(logits.unflatten(0, (-1, way)), size.expand(-1, way, -1))
            ious.append(_iou(large.argmax(2).flatten(0, 1), truth).view(-1, way))
        return torch.stack(ious, dim=2)

    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy at pixel resolution without boosting, as the code trains."""
        return self.losses_of(super().adapt(features.support, batch.support_mask), features.query, batch)


def _cell_sum(feature: Float[Tensor, "M K C h w"], mask: Float[Tensor, "M K H W"]) -> Float[Tensor, "M C"]:
    """Means over the cells of each shot's mask, summed over shots. A cell takes its value from its nearest pixel."""
    cells = F.interpolate(mask, size=feature.shape[-2:], mode="nearest")
    total = torch.einsum("mkchw,mkhw->mkc", feature, cells.to(feature.dtype))
    return (total / cells.sum((-2, -1)).clamp(min=1).unsqueeze(-1)).sum(1)


def _iou(predicted: Int[Tensor, "M H W"], label: Int[Tensor, "M H W"]) -> Float[Tensor, " M"]:
    """Foreground IoU of each image over the labelled pixels; 0 without any foreground."""
    found, true = (predicted == 1) & (label != IGNORE), label == 1
    return (found & true).sum((-2, -1)) / (found | true).sum((-2, -1)).clamp(min=1)
