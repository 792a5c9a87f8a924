"""Prototype mixtures as classifiers: no training, any encoder.

The mixtures of PMMs (`fsseg.ops.em`) describe the object and the background of the supports, on features of unit
length. A query cell takes the class whose mixture gives it the largest likelihood; background and all ways share one
softmax. Ours; neither paper uses mixtures without a trained head. FSSDINO (arXiv 2602.07550, February 2026) is close:
five spherical k-means prototypes of each class and of the background, the maximum over them, multiplied by the mean,
and the similarity by the Gram matrix of the supports (``gram``).
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.losses import LossMean, cross_entropy
from fsseg.methods.base import (
    Explanation,
    Features,
    Maps,
    Method,
    QueryMaps,
    State,
    StatePer,
    SupportMaps,
    named,
)
from fsseg.methods.binary import explain_mixture, support_regions
from fsseg.ops.em import Mixture, PrototypeMixture
from fsseg.ops.feature_maps import concatenated
from fsseg.ops.pooling import mask_at_cells
from fsseg.ops.precision import full_precision
from fsseg.ops.similarity import cosine_similarity
from fsseg.ops.support_threshold import best_threshold, left_out, others, trust

_SCALE = 20.0  # factor of FSSDINO's scores before the softmax, as for PANet's cosine
_EPS = 1e-6


class MixtureClassifier(Method):
    """Likelihood of each query cell under a mixture of the background and a mixture of each way.

    Args:
        encoder: image encoder.
        components: prototypes of each mixture.
        kappa: concentration of the vMF kernel, in expectation maximisation and in the likelihood (PMMs, section 3.2:
            20). A large one gives spherical k-means.
        rounds: rounds of expectation and maximisation.
        max_times_mean: score by the largest cosine times the mean cosine instead of the likelihood (FSSDINO).
        gram: one more map for `max_times_mean`, the similarity by the supports' Gram matrix (FSSDINO).
        calibrate: choose the threshold of each way on the supports, if there are two or more
            (`fsseg.ops.support_threshold`).
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: components or rounds are below 1, kappa is not positive, or gram is without max_times_mean.
    """

    training_free: ClassVar[bool] = True
    pools_background: ClassVar[bool] = True
    inference_options: ClassVar[frozenset[str]] = frozenset(
        {"components", "kappa", "rounds", "max_times_mean", "gram", "calibrate"}
    )
    state_per: ClassVar[StatePer] = "class"

    def __init__(
        self,
        encoder: Encoder,
        components: int = 10,
        kappa: float = 20.0,
        rounds: int = 10,
        max_times_mean: bool = False,
        gram: bool = False,
        calibrate: bool = True,
        loss_mean: LossMean = "episodes",
    ) -> None:
        super().__init__(encoder)
        if gram and not max_times_mean:
            raise FssegError("MixtureClassifier: gram is a map of max_times_mean; give max_times_mean too.")
        settings = Mixture(rounds=rounds, kappa=kappa, normalise_samples=True, hard_selection=True, gradient=True)
        self.mixture = PrototypeMixture(encoder.channels, components, settings)
        self.max_times_mean, self.gram, self.calibrate, self.loss_mean = max_times_mean, gram, calibrate, loss_mean
        departures = {
            "components": "" if components == 10 else f"K={components}",
            "max_times_mean": "max times mean" if max_times_mean else "",
            "gram": "Gram" if gram else "",
            "calibrate": "" if calibrate else "not calibrated",
        }
        self.name = named(self, MixtureClassifier, "mixture classifier", departures)

    def neck(self, maps: Maps) -> Maps:
        """One map whose cells have unit length."""
        return (F.normalize(concatenated(maps).float(), dim=1),)

    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """Prototypes of way and background ``B N P C``, threshold ``B N``, with `gram` two matrices ``B N C C``."""
        with full_precision(support[0]):
            flat = support[0].flatten(0, 1)
            inside, outside = (side.flatten(0, 1) for side in support_regions(mask))
            prototypes = self.mixture(flat, inside, outside)
            state = [*prototypes, self._threshold(flat, inside, outside)]
            if self.gram:
                state += [_gram(flat, side) for side in (inside, outside)]
            return tuple(part.unflatten(0, mask.shape[:2]) for part in state)

    @torch.no_grad()
    def _threshold(
        self,
        support: Float[Tensor, "M K C h w"],
        inside: Float[Tensor, "M K H W"],
        outside: Float[Tensor, "M K H W"],
    ) -> Float[Tensor, " M"]:
        """Threshold of the difference of the scores of way and background."""
        if not self.calibrate or support.shape[1] < 2:
            return support.new_zeros(len(support))
        some = left_out(support.shape[1])
        support, inside, outside = support[:, some], inside[:, some], outside[:, some]
        shots = len(some)
        sample = support.movedim(2, -1).flatten(2, 3)  # M K n C
        scores = []
        for shot in range(shots):
            kept = others(sample, shot)[..., None, None]
            masks = inside * kept, outside * kept
            grams = [_gram(support, side) for side in masks] if self.gram else [None, None]
            own, background = (
                self._score(support[:, shot : shot + 1], means, gram)[:, 0]
                for means, gram in zip(self.mixture(support, *masks), grams, strict=True)
            )
            scores.append((own - background).flatten(1))
        weight = self.mixture.weights(inside, outside, (support.shape[-2], support.shape[-1]))
        threshold, _ = best_threshold(torch.stack(scores, 1), weight.unflatten(1, (shots, -1)))
        return threshold * trust(sample)

    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L h w"]:
        """Scores of background and ways, in float32. The mixtures of all ways' backgrounds are one mixture."""
        foreground, background, threshold, *grams = state
        ways: list[Tensor | None] = [*grams[0].unbind(1)] if grams else [None] * foreground.shape[1]
        rest = grams[1].mean(1) if grams else None
        with full_precision(query[0]):
            feature = query[0].float()
            maps = [self._score(feature, background.flatten(1, 2), rest)]
            maps += [self._score(feature, means, gram) for means, gram in zip(foreground.unbind(1), ways, strict=True)]
            return torch.stack(maps, 2) - F.pad(threshold, (1, 0))[:, None, :, None, None]

    def _score(
        self, feature: Float[Tensor, "B Q C h w"], means: Float[Tensor, "B P C"], gram: Tensor | None
    ) -> Float[Tensor, "B Q h w"]:
        """Mean likelihood over prototypes, as a logarithm, or FSSDINO's score."""
        cosine = cosine_similarity(feature, means.unsqueeze(1))
        if not self.max_times_mean:
            kappa = self.mixture.settings.kappa
            return torch.logsumexp(kappa * cosine, 2) - torch.tensor(float(means.shape[1])).log()
        if gram is not None:
            similar = torch.einsum("bqchw,bcd,bqdhw->bqhw", feature, gram, feature)
            low, high = similar.amin((-2, -1), keepdim=True), similar.amax((-2, -1), keepdim=True)
            cosine = torch.cat([cosine, ((similar - low) / (high - low + _EPS)).unsqueeze(2)], 2)
        return _SCALE * cosine.amax(2) * cosine.mean(2)

    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy at pixel resolution, for an encoder that is trained."""
        size = (batch.query_mask.shape[-2], batch.query_mask.shape[-1])
        logits = self.predict(self.state(features.support, batch.support_mask), features.query)
        return {"loss": cross_entropy(self.to_pixels(logits, size), batch.query_mask, self.loss_mean)}

    def explain(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"], query: QueryMaps) -> Explanation:
        """Responses of the mixtures' prototypes."""
        prototypes = self.mixture(support[0].flatten(0, 1), *(side.flatten(0, 1) for side in support_regions(mask)))
        return explain_mixture(self.mixture, prototypes, support[0], mask, query[0])


def _gram(support: Float[Tensor, "M K C h w"], mask: Float[Tensor, "M K H W"]) -> Float[Tensor, "M C C"]:
    """Mean of f f^T over cells of unit length under a mask."""
    weight = mask_at_cells(mask, (support.shape[-2], support.shape[-1]))
    total = torch.einsum("mkchw,mkhw,mkdhw->mcd", support, weight, support)
    return total / weight.sum((1, 2, 3)).clamp(min=_EPS).view(-1, 1, 1)
