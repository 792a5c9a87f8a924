"""PFENet: Tian et al., "Prior Guided Feature Enrichment Network for Few-Shot Segmentation", TPAMI 2020.

As in the official code. The middle levels of a fixed encoder give prototypes and the query's feature; the high level
gives a prior mask without training. Both meet at several sizes in the feature enrichment.
Several shots: the mean prototype and the mean of the priors.

Where the code departs from the paper, the code is the default:

- The learning rate is ten times the printed one: the schedule multiplies the rates of all groups (experiment files).
- The "fixed" encoder's BatchNorm normalises with statistics of the batch in training, and its running statistics drift:
  queries first, then each shot's supports in a pass of their own. This is the encoder's ``batch_norm`` ``batch``;
  ``running`` is the alternative, which allows cached features.
- The support's middle level is masked before the high level is computed, and the high level again. An encoder that
  cannot start at a middle level (`Encoder.resumes`) has its high level masked only, which tables say.

Other than in the code: maps need not be square (the code takes the prior's width for its height), and several ways are
ours.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, QueryMaps, State, StatePer, named
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.feature_enrichment import FeatureEnrichment, resize
from fsseg.ops.feature_maps import resized
from fsseg.ops.pooling import cell_average_pool, mask_at_cells
from fsseg.ops.precision import full_precision
from fsseg.ops.prior import prior_mask


class PFENet(BinaryMethod):
    """Prior mask, mean prototype and feature enrichment on a fixed encoder.

    Args:
        encoder: image encoder. Its last map is the high level, the others are the middle levels; with one map it is
            both. The paper uses a frozen `ResNet` with ``taps=("layer2", "layer3", "layer4"), deep_stem=True,
            dilate_first=True, stride_on="3x3", ceil_mode=False``, or a frozen `VGG16BN`.
        bins: sizes of the feature enrichment, fine to coarse: numbers of cells (PASCAL-5i), or fractions of the
            grid's sides (COCO-20i: 1, 0.5, 0.25, 0.125).
        channels: C of features (256).
        aux_weight: weight of the mean loss of the bins' predictions (1).
        dropout: probability of dropping a channel after the reduction, in training (0.5 in the code).
        classifier_dropout: the same in classifiers (0.1 in the code).
        loss_mean: see `fsseg.losses.cross_entropy`; the code's is ``pixels``.

    Raises:
        FssegError: bins are not positive, or channels below 1.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"aux_weight", "dropout", "classifier_dropout"})
    state_per: ClassVar[StatePer] = "shot"
    align_corners = True

    def __init__(
        self,
        encoder: Encoder,
        bins: tuple[float, ...] = (60.0, 30.0, 15.0, 8.0),
        channels: int = 256,
        aux_weight: float = 1.0,
        dropout: float = 0.5,
        classifier_dropout: float = 0.1,
        loss_mean: LossMean = "pixels",
    ) -> None:
        super().__init__(encoder, loss_mean)
        if channels < 1:
            raise FssegError(f"PFENet: channels {channels}; at least 1 is needed.")
        self.name = named(self, PFENet, "PFENet", {"encoder": "" if encoder.resumes else "high level masked after"})
        self.aux_weight = aux_weight
        self._levels = max(len(encoder.widths) - 1, 1)  # middle levels
        width = sum(encoder.widths[: self._levels])
        self.down_query, self.down_support = (
            nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.ReLU(inplace=True), nn.Dropout2d(dropout))
            for _ in range(2)
        )
        self.enrich = FeatureEnrichment(channels, bins)
        self.classify_bins = nn.ModuleList(_classifier(channels, classifier_dropout) for _ in bins)
        self.fuse = nn.Sequential(nn.Conv2d(len(bins) * channels, channels, 1, bias=False), nn.ReLU(inplace=True))
        self.refine = nn.Sequential(*(layer for _ in range(2) for layer in _layers(channels)))
        self.classify = _classifier(channels, classifier_dropout)

    def neck(self, maps: Maps) -> Maps:
        """The encoder's maps."""
        return maps

    def passed(
        self, step: Callable[..., Maps], support: tuple[Tensor, ...], query: tuple[Tensor, ...], shots: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Queries after a step, then the supports of each shot, as BatchNorm's statistics need it.

        The high level of supports is left out where `adapt` computes it from masked maps.
        """
        queries = step(*query)
        if step is self.encoder and self.encoder.resumes:
            step = self.encoder.before_last
        if self.encoder.fixed or not self.training:
            return step(*support), queries
        each = [step(*(one.unflatten(0, (-1, shots))[:, k] for one in support)) for k in range(shots)]
        return tuple(torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*each, strict=True)), queries

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The prototype of each support, ``M K C``, and the high level of its foreground, ``M K C h w``."""
        maps, mask = tuple(one.flatten(0, 1) for one in support), foreground.flatten(0, 1)
        feature = self.down_support(self._middle(maps))
        with full_precision(feature):
            prototype = cell_average_pool(feature.float(), mask)
        high = maps[-1]
        if self.encoder.resumes:
            high = self._high(_masked(maps[self._levels - 1], mask), foreground.shape[1])
        return tuple(one.unflatten(0, foreground.shape[:2]) for one in (prototype, _masked(high, mask).detach()))

    def _high(self, masked: Float[Tensor, "MK _ h w"], shots: int) -> Float[Tensor, "MK _ _ _"]:
        """The high level of masked middle levels; with statistics of the batch, each shot in a pass of its own."""
        if self.encoder.fixed or not self.training:
            return self.encoder.last_map(masked)
        each = [self.encoder.last_map(one) for one in masked.unflatten(0, (-1, shots)).unbind(1)]
        return torch.stack(each, dim=1).flatten(0, 1)

    def _middle(self, maps: Maps) -> Float[Tensor, "M _ h w"]:
        """The middle levels at the grid of the coarsest of them, coarse to fine."""
        *finer, coarsest = maps[: self._levels]
        grid = (coarsest.shape[-2], coarsest.shape[-1])
        return torch.cat([coarsest, *(resize(one, grid) for one in reversed(finer))], dim=1)

    def prior(self, state: State, query: Maps) -> Float[Tensor, "M K h w"]:
        """The prior of each support, at the grid of the high level."""
        high = query[-1].detach()
        with full_precision(high):
            return prior_mask(high.float(), state[1].float())

    def _enriched(self, state: State, query: Maps) -> tuple[list[Tensor], Tensor]:
        """Features of the bins, and the logits."""
        feature = self.down_query(self._middle(query))
        grid = (feature.shape[-2], feature.shape[-1])
        prior = resize(self.prior(state, query), grid).mean(1, keepdim=True)
        features, merged = self.enrich(feature, state[0].mean(1).to(feature.dtype), prior.to(feature.dtype))
        fused = self.fuse(merged)
        return features, self.classify(fused + self.refine(fused))

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 _ _"]]:
        """Logits of each bin, then of the prediction."""
        features, logits = self._enriched(state, query)
        return [*(classify(one) for classify, one in zip(self.classify_bins, features, strict=True)), logits]

    def prediction(self, state: State, query: Maps) -> Float[Tensor, "M 2 h w"]:
        """The logits, without those of the bins."""
        return self._enriched(state, query)[1]

    def total(self, losses: list[Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """The loss of the prediction plus the weighted mean loss of the bins."""
        *bins, main = losses
        return main + self.aux_weight * torch.stack(bins).mean()

    def segment_resized(
        self, state: State, query: QueryMaps, encoded: tuple[int, int], size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits at the size of the encoded images, as in training, and then at the wanted size (test.py)."""
        return resized(self.segment(state, query, encoded), size, self.to_pixels)


def _masked(feature: Float[Tensor, "M C h w"], mask: Float[Tensor, "M H W"]) -> Float[Tensor, "M C h w"]:
    return feature * mask_at_cells(mask, (feature.shape[-2], feature.shape[-1])).unsqueeze(1).to(feature.dtype)


def _layers(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU(inplace=True)


def _classifier(channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(*_layers(channels), nn.Dropout2d(dropout), nn.Conv2d(channels, 2, 1))
