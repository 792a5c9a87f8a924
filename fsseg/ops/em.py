"""Prototype mixture models by expectation maximisation (PMMs, section 3.2, eq. 3 to 5; models/PMMs.py).

All episodes, both sides of the mask and all mixtures of a method share the matrix products of a round, so that a round
reads the samples twice. As in the official code and unlike the paper, samples are weighted by the soft mask instead of
selected, samples are not normalised before the vMF kernel, means are normalised after each round, and no gradient
passes. A component whose inner products are all far below the others' dies: its mean becomes and stays the zero vector.
Mixing weights are not estimated (section 3.2 and code).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fsseg.errors import FssegError
from fsseg.ops.pooling import mask_at_cells
from fsseg.ops.precision import full_precision

EPS = 1e-6  # added to norms and to sums of responsibilities (PMMs.py)
Kernel = Literal["vmf", "gaussian"]


class Prototypes(NamedTuple):
    """Means of the foreground mixture and of the background mixture."""

    foreground: Float[Tensor, "M P C"]
    background: Float[Tensor, "M P C"]


@dataclass(frozen=True)
class Mixture:
    """Settings of expectation maximisation.

    Attributes:
        rounds: rounds of expectation and maximisation (section 4.1: 10).
        kappa: concentration of the vMF kernel (section 3.2: 20).
        kernel: ``vmf``, exp(kappa mu^T s) (eq. 3), or ``gaussian``, exp(-||s - mu||^2) without normalised means
            (section 3.2, table 3; not in the code).
        gradient: train through the rounds and through P-Conv. The paper trains end to end (section 3.3), the code does
            not.
        normalise_samples: normalise samples, so that the vMF kernel is a cosine (section 3.2).
        hard_selection: select cells whose mask is at least one half (section 3.2: samples inside or outside the mask)
            instead of weighting all cells by the mask.
        redraw: draw a new start in every training step from torch's generator, like the code of RPMMs. A test uses the
            stored start, so that a checkpoint always gives the same prediction.
        seed: seed of the stored start. The official code neither seeds nor stores the start.

    Raises:
        FssegError: rounds are below 1, or kappa is not positive.
    """

    rounds: int = 10
    kappa: float = 20.0
    kernel: Kernel = "vmf"
    gradient: bool = False
    normalise_samples: bool = False
    hard_selection: bool = False
    redraw: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 1 or not self.kappa > 0:
            raise FssegError(
                f"mixture: rounds {self.rounds} and kappa {self.kappa:g}; give at least 1 round and a kappa above 0."
            )

    @property
    def departures(self) -> dict[str, str]:
        """Departures from the code's mixture, as words by option; empty if the option is as in the code."""
        return {
            "kernel": "Gaussian" if self.kernel == "gaussian" else "",
            "gradient": "EM trained" if self.gradient else "",
            "normalise_samples": "unit samples" if self.normalise_samples else "",
            "hard_selection": "hard selection" if self.hard_selection else "",
        }


# Arguments of a method that may differ between training and test.
INFERENCE_OPTIONS = frozenset({"mixture.rounds", "mixture.kappa", "mixture.seed", "mixture.redraw"})


class PrototypeMixture(nn.Module):
    """A foreground mixture and a background mixture with the same start.

    Args:
        channels: ``C`` of the features.
        components: prototypes of each mixture; K in the paper.
        settings: settings of expectation maximisation.
        stage: number of the mixture in its method; it is added to the seed.

    Raises:
        FssegError: components are below 1.
    """

    start: Tensor

    def __init__(self, channels: int, components: int = 3, settings: Mixture = Mixture(), stage: int = 0) -> None:
        super().__init__()
        if components < 1:
            raise FssegError(f"components {components}; at least 1 is needed.")
        self.settings = settings
        generator = torch.Generator().manual_seed(settings.seed + stage)
        # Uniform directions; the normalisation cancels the code's standard deviation sqrt(2 / K).
        self.register_buffer("start", _unit(torch.randn(components, channels, generator=generator)))

    def forward(
        self,
        feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
    ) -> Prototypes:
        """Prototypes of the supports. One mixture takes all cells of all shots.

        Args:
            feature: feature maps of the supports.
            foreground: weight of each pixel for the class, 0..1.
            background: weight of each pixel for the background.

        Returns:
            Means of both mixtures. An empty mask gives zero vectors with either kernel.
        """
        return fit([self], feature, foreground, background)[0]

    def beginning(self) -> Float[Tensor, "P C"]:
        """Means before the first round."""
        return _unit(torch.randn_like(self.start)) if self.settings.redraw and self.training else self.start

    def samples(self, feature: Float[Tensor, "M K C h w"]) -> Float[Tensor, "M n C"]:
        """The cells of all shots, as vectors."""
        sample = feature.float().movedim(2, -1).flatten(1, 3)
        return _unit(sample) if self.settings.normalise_samples else sample

    def weights(
        self, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"], cells: tuple[int, int]
    ) -> Float[Tensor, "M n 2"]:
        """Weight of each cell for the foreground and for the background."""
        weight = torch.stack([mask_at_cells(mask, cells).flatten(1) for mask in (foreground, background)], dim=-1)
        return (weight >= 0.5).float() if self.settings.hard_selection else weight

    def update(
        self,
        sample: Float[Tensor, "M n C"],
        weight: Float[Tensor, "M n 2"],
        means: Float[Tensor, "M 2 P C"],
        sizes: list[int],
    ) -> Float[Tensor, "M 2 P C"]:
        """Means after one round of expectation and maximisation (eq. 4 and 5), for both sides of the mask.

        Args:
            sample: from `samples`.
            weight: from `weights`.
            means: means before the round, of several mixtures side by side.
            sizes: components of each mixture; their sum is ``P``.
        """
        score = self._kernel(sample, means.flatten(1, 2)).unflatten(-1, means.shape[1:3])  # M n 2 P
        weight = weight.unsqueeze(-1)
        if self.settings.kernel == "vmf":
            score = score * weight  # the code weights samples, so that the weight enters the exponent
        share = torch.cat([part.softmax(-1) for part in score.split(sizes, dim=-1)], dim=-1)
        if self.settings.kernel == "vmf":
            share = share / (EPS + share.sum(1, keepdim=True)) * weight
        else:
            share = share * weight
            share = share / (EPS + share.sum(1, keepdim=True))
        found = (share.flatten(2).mT @ sample).unflatten(1, means.shape[1:3])
        return _unit(found) if self.settings.kernel == "vmf" else found

    def regions(
        self,
        feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
        prototypes: Prototypes,
    ) -> Int[Tensor, "M K h w"]:
        """The component that each support cell is assigned to, on its side of the mask, for figures.

        Args:
            feature: feature maps of the supports.
            foreground: weight of each pixel for the class, 0..1.
            background: weight of each pixel for the background.
            prototypes: from `forward`.

        Returns:
            Index of the component, foreground first; -1 if neither side covers half of the cell. If the foreground
            covers half of no cell, the cells that it covers most are its region.
        """
        with full_precision(feature), torch.no_grad():
            cells = (feature.shape[-2], feature.shape[-1])
            inside, outside = mask_at_cells(foreground, cells), mask_at_cells(background, cells)
            sample = feature.float().movedim(2, -1)  # M K h w C
            if self.settings.normalise_samples:
                sample = _unit(sample)
            region = torch.full_like(inside, -1, dtype=torch.long)
            least = inside.flatten(1).amax(1).clamp(max=0.5).view(-1, 1, 1, 1)
            first = 0
            for means, chosen in zip(prototypes, (inside >= least, (outside >= 0.5) & (inside < least)), strict=True):
                nearest = first + self._kernel(sample, means.view(len(means), 1, 1, *means.shape[1:])).argmax(-1)
                region = nearest.where(chosen & (inside + outside > 0), region)
                first += means.shape[1]
            return region

    def _kernel(self, sample: Float[Tensor, "*b n C"], means: Float[Tensor, "*#b P C"]) -> Float[Tensor, "*b n P"]:
        """Logarithm of the kernel, without terms that are equal for all components."""
        if self.settings.kernel == "vmf":
            return self.settings.kappa * sample @ means.mT
        return 2 * sample @ means.mT - means.square().sum(-1).unsqueeze(-2)  # -||s - mu||^2 + ||s||^2

    def component_probability(
        self, feature: Float[Tensor, "M C h w"], prototypes: Prototypes
    ) -> Float[Tensor, "M D h w"]:
        """Softmax over the ``D = 2 P`` inner products of features and prototypes, foreground first.

        Features are not normalised and there is no kappa (P-Conv; discriminative_model in PMMs.py).
        """
        with full_precision(feature), torch.set_grad_enabled(self.settings.gradient and torch.is_grad_enabled()):
            means = torch.cat([prototypes.foreground, prototypes.background], dim=1)
            product: Tensor = torch.einsum("mchw,mdc->mdhw", feature.float(), means)
            return product.softmax(1)

    def probability(self, feature: Float[Tensor, "M C h w"], prototypes: Prototypes) -> Float[Tensor, "M 2 h w"]:
        """Probability of background and foreground, summed over components (P-Conv, eq. 7 and 8)."""
        foreground, background = self.component_probability(feature, prototypes).chunk(2, dim=1)
        return torch.stack([background.sum(1), foreground.sum(1)], dim=1)


def fit(
    mixtures: Sequence[PrototypeMixture],
    feature: Float[Tensor, "M K C h w"],
    foreground: Float[Tensor, "M K H W"],
    background: Float[Tensor, "M K H W"],
) -> list[Prototypes]:
    """Prototypes of several mixtures on the same supports, with shared matrix products.

    Args:
        mixtures: mixtures with the same settings.
        feature: feature maps of the supports.
        foreground: weight of each pixel for the class, 0..1.
        background: weight of each pixel for the background.
    """
    first = mixtures[0]
    sizes = [len(mixture.start) for mixture in mixtures]
    with full_precision(feature), torch.set_grad_enabled(first.settings.gradient and torch.is_grad_enabled()):
        sample = first.samples(feature)
        weight = first.weights(foreground, background, (feature.shape[-2], feature.shape[-1]))
        # shape[0], because len() would fix the number of supports in an exported graph
        means = torch.cat([mixture.beginning().float() for mixture in mixtures]).expand(sample.shape[0], 2, -1, -1)
        for _ in range(first.settings.rounds):
            means = first.update(sample, weight, means, sizes)
        return [Prototypes(*part.unbind(1)) for part in means.split(sizes, dim=2)]


def _unit(vectors: Float[Tensor, "*b C"]) -> Float[Tensor, "*b C"]:
    unit: Tensor = vectors / (EPS + vectors.norm(dim=-1, keepdim=True))
    return unit
