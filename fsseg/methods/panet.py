"""PANet: Wang et al., "PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment", ICCV 2019.

Where the paper leaves a choice or differs, the official code is followed, because its numbers were published:

- Each shot is pooled separately and the prototypes of the shots are averaged (eq. 1 and 2).
- The alignment loss pools the queries under their argmax *at feature resolution*, over all queries. A way that is
  missing from the prediction is skipped, but the divisor stays shots x ways (eq. 7 has 1 / CKN).
- A support is classified against two prototypes, background and its own way (eq. 6). Pixels of the episode's other
  classes are ignored.
- Nothing is detached: the alignment loss trains the encoder through supports and through the query's prototypes.

Ours: several episodes in one pass, by default with the mean of their losses (the code has one episode per step;
`loss_mean`); exact pooling by the adjoint of the upsampling (`fsseg.ops.pooling`).
"""

from contextlib import suppress
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from fsseg.encoders import Encoder
from fsseg.episode import IGNORE, Batch
from fsseg.errors import FssegError
from fsseg.losses import LossMean, cross_entropy, cross_entropy_per_image, upsample
from fsseg.methods.base import Explanation, Features, Method, QueryMaps, State, StatePer, SupportMaps, named, way_labels
from fsseg.methods.binary import SupportRegions, support_regions
from fsseg.ops.pooling import adjoint_weights, class_prototypes, masked_average_pool
from fsseg.ops.precision import full_precision
from fsseg.ops.similarity import cosine_similarity

EPS = 1e-5  # added to pixel counts, fewshot.py of the official code


class Distance(NamedTuple):
    """Euclidean distance between the support prototype and the query prototype of each way (section 4.3).

    Attributes:
        predicted: query pooled under its prediction; NaN if the prediction lacks the way.
        true: query pooled under its mask; NaN if the mask lacks the way.
    """

    predicted: Float[Tensor, "B N"]
    true: Float[Tensor, "B N"]


class PANet(Method):
    """Masked average pooling, cosine similarity, prototype alignment regularisation (PAR).

    "PANet-init" is this class without training. "PANet w/o PAR" is ``align=False``.

    Args:
        encoder: image encoder; the paper uses `VGG16`.
        scale: factor of the cosine before the softmax (section 3.4: alpha = 20 in eq. 3).
        align: use PAR in training (section 3.5).
        align_weight: weight of the alignment loss (section 3.5: lambda = 1).
        loss_mean: ``episodes``: the segmentation loss is a mean per episode, then over episodes. ``pixels``: one mean
            over all labelled pixels. Both are equal for the paper's batches of one episode (section 4.1).
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"scale"})
    state_per: ClassVar[StatePer] = "shot"

    def __init__(
        self,
        encoder: Encoder,
        scale: float = 20.0,
        align: bool = True,
        align_weight: float = 1.0,
        loss_mean: LossMean = "episodes",
    ) -> None:
        super().__init__(encoder)
        self.loss_mean = loss_mean
        self.scale = scale
        self.align = align
        self.align_weight = align_weight
        self.name = named(self, PANet, "PANet" if align else "PANet w/o PAR", {})

    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """Foreground and background prototype of each support, ``B N K C`` (section 3.3, eq. 1 and 2)."""
        with full_precision(support[0]):
            return tuple(masked_average_pool(support[0].float(), side, EPS) for side in self.regions(mask))

    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L h w"]:
        """Logits at feature resolution in float32; their softmax is eq. 3 (section 3.4)."""
        with full_precision(query[0]):
            return self.scale * cosine_similarity(query[0].float(), self.prototypes(*state).unsqueeze(1))

    def prototypes(
        self, foreground: Float[Tensor, "B N K C"], background: Float[Tensor, "B N K C"]
    ) -> Float[Tensor, "B L C"]:
        """Prototypes of background and ways: means over shots, for the background over all ways too."""
        return class_prototypes(foreground, background)

    def regions(self, support_mask: Integer[Tensor, "B N K H W"]) -> SupportRegions:
        """Foreground and background masks; other classes of the episode and ignored pixels are 0 in both."""
        return support_regions(support_mask)

    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """``segmentation`` (eq. 5), with PAR also ``alignment`` (eq. 7), and their sum ``loss`` (section 3.5)."""
        (support,), (query,) = features
        with full_precision(query):
            support, query = support.float(), query.float()
            logits = self.predict(self.adapt((support,), batch.support_mask), (query,))
            height, width = batch.query_mask.shape[-2:]
            segmentation = cross_entropy(self.to_pixels(logits, (height, width)), batch.query_mask, self.loss_mean)
            if not self.align:
                return {"loss": segmentation, "segmentation": segmentation}
            alignment = self.alignment_loss(query, logits, support, self.regions(batch.support_mask))
            total = segmentation + self.align_weight * alignment
            return {"loss": total, "segmentation": segmentation, "alignment": alignment}

    def alignment_loss(
        self,
        query_feature: Float[Tensor, "B Q C h w"],
        logits: Float[Tensor, "B Q L h w"],
        support_feature: Float[Tensor, "B N K C hs ws"],
        regions: SupportRegions,
    ) -> Float[Tensor, ""]:
        """Loss of segmenting the supports with prototypes of the predicted queries (section 3.5, eq. 6 and 7)."""
        way, shot = support_feature.shape[1:3]
        query_prototypes, cells = self.query_prototypes(query_feature, logits)
        background = query_prototypes[:, :1].expand(-1, way, -1)
        pairs = torch.stack([background, query_prototypes[:, 1:]], dim=2)  # B N 2 C
        support_logits = self.scale * cosine_similarity(support_feature, pairs.unsqueeze(2))
        target = torch.full_like(regions.foreground, IGNORE, dtype=torch.long)
        target[regions.background > 0] = 0
        target[regions.foreground > 0] = 1
        height, width = target.shape[-2:]
        losses = cross_entropy_per_image(upsample(support_logits, (height, width)), target)  # B N K
        present = (cells[:, 1:] > 0).unsqueeze(-1)
        return losses.where(present, 0).sum((1, 2)).mean() / (way * shot)

    def query_prototypes(
        self, query_feature: Float[Tensor, "B Q C h w"], logits: Float[Tensor, "B Q L h w"]
    ) -> tuple[Float[Tensor, "B L C"], Float[Tensor, "B L"]]:
        """Prototypes of the queries under their predictions (section 3.5), and the number of cells of each label."""
        labels = torch.arange(logits.shape[2], device=logits.device)
        predicted = (logits.argmax(2, keepdim=True) == labels.view(-1, 1, 1)).float()  # B Q L h w
        cells = predicted.sum((1, 3, 4))
        return torch.einsum("bqchw,bqlhw->blc", query_feature, predicted) / (cells.unsqueeze(-1) + EPS), cells

    def explain(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"], query: QueryMaps) -> Explanation:
        """Responses of two prototypes per way, the way's and the background's. Regions are the support's mask."""
        probability = self.predict(self.adapt(support, mask), query).softmax(2)  # B Q L h w
        pairs = [torch.stack([probability[:, :, n], probability[:, :, 0]], 2) for n in range(1, probability.shape[2])]
        cells = (support[0].shape[-2], support[0].shape[-1])
        with full_precision(support[0]):
            inside, outside = (adjoint_weights(side, cells) for side in self.regions(mask))
        region = (inside <= outside).long().masked_fill(inside + outside == 0, -1)
        return Explanation(torch.stack(pairs, 1), region, 1)

    def distance(self, batch: Batch) -> Distance:
        """Distance between support and query prototypes, which PAR reduces (section 4.3).

        Raises:
            FssegError: a subclass has several prototypes per class, or none.
        """
        support, (query,) = self.features(batch)
        with full_precision(query):
            query, state = query.float(), self.adapt(support, batch.support_mask)
            own = self._one_each(state, batch.classes)
            predicted, cells = self.query_prototypes(query, self.predict(state, (query,)))
            true, pixels = self._true_prototypes(query, batch)
        found = [(predicted[:, 1:], cells[:, 1:]), (true, pixels)]
        return Distance(*((own - other).norm(dim=-1).where(area > 0, torch.nan) for other, area in found))

    def _one_each(self, state: State, classes: Integer[Tensor, "B N"]) -> Float[Tensor, "B N C"]:
        """The prototype of each way, given the state."""
        own = None
        with suppress(TypeError, ValueError, RuntimeError):  # a subclass may have another state
            own = self.prototypes(*state)[:, 1:]
        if own is None or own.ndim != 3 or own.shape[:2] != classes.shape:
            raise FssegError(f"{type(self).__name__} has no single prototype per class; give a test of PANet.")
        return own

    def _true_prototypes(
        self, query_feature: Float[Tensor, "B Q C h w"], batch: Batch
    ) -> tuple[Float[Tensor, "B N C"], Float[Tensor, "B N"]]:
        """Prototypes of the queries under their masks, pooled like supports, and the number of pixels of each way."""
        ways = way_labels(batch.classes.shape[1], batch.query_mask).view(-1, 1, 1)
        cells = (query_feature.shape[-2], query_feature.shape[-1])
        total = query_feature.new_zeros(*batch.classes.shape, query_feature.shape[2])
        pixels = query_feature.new_zeros(*batch.classes.shape)
        for b, queries in enumerate(batch.query_size.tolist()):
            for q, (height, width) in enumerate(queries):  # without the padding to the largest mask
                mask = (batch.query_mask[b, q, :height, :width] == ways).float()  # N H W
                total[b] += torch.einsum("chw,nhw->nc", query_feature[b, q], adjoint_weights(mask, cells))
                pixels[b] += mask.sum((-2, -1))
        return total / (pixels.unsqueeze(-1) + EPS), pixels
