"""Prototype mixture models by expectation maximisation (PMMs, section 3.2, eq. 3 to 5; models/PMMs.py).

Foreground and background of all episodes are one batch of matrix products. As in the official code, and unlike the
paper: samples are weighted by the soft mask instead of selected by it, they are not normalised before the vMF kernel,
means are normalised after each round, and no gradient passes. A component whose inner products are all far below the
others' dies: its mean becomes the zero vector, and stays. Mixing weights are not estimated (paper and code).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fsseg.errors import FssegError
from fsseg.ops.pooling import mask_at_cells
from fsseg.ops.precision import full_precision

EPS = 1e-6  # added to norms and to sums of responsibilities, PMMs.py
Kernel = Literal["vmf", "gaussian"]


class Prototypes(NamedTuple):
    """The means of two mixtures."""

    foreground: Float[Tensor, "M P C"]
    background: Float[Tensor, "M P C"]


class PrototypeMixture(nn.Module):
    """Means of a mixture on the foreground and of one on the background, from the same start.

    Args:
        channels: ``C`` of the features.
        components: prototypes per class; K in the paper.
        rounds: of expectation and maximisation (10 in the code).
        kappa: concentration of the vMF kernel (20 in the code).
        kernel: ``vmf``, exp(kappa mu^T s), or ``gaussian``, exp(-||s - mu||^2) with plain means (table 3; not in the
            code, where the paper leaves kappa out).
        gradient: let it pass through the rounds and through `probability`. The paper trains end to end, the code
            does not.
        normalise_samples: unit samples, so that the vMF kernel is a cosine as in the paper.
        hard_selection: samples are the cells whose mask is at least one half, as in the paper.
        redraw: draw a new start in every training step, from torch's generator, as the code of RPMMs does. Testing
            uses the stored start, so that a checkpoint always gives the same prediction.
        seed: of the stored start. The official code neither seeds nor stores it.

    Raises:
        FssegError: fewer than one component or round, or kappa not positive.
    """

    start: Tensor

    def __init__(
        self,
        channels: int,
        components: int = 3,
        rounds: int = 10,
        kappa: float = 20.0,
        kernel: Kernel = "vmf",
        gradient: bool = False,
        normalise_samples: bool = False,
        hard_selection: bool = False,
        redraw: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if components < 1 or rounds < 1 or not kappa > 0:
            raise FssegError(
                f"--model.method: components {components}, rounds {rounds} and kappa {kappa:g}; at least 1 component "
                "and 1 round are needed, and kappa above 0."
            )
        self.rounds, self.kappa, self.kernel, self.gradient = rounds, kappa, kernel, gradient
        self.normalise_samples, self.hard_selection, self.redraw = normalise_samples, hard_selection, redraw
        generator = torch.Generator().manual_seed(seed)
        # Any direction alike; the standard deviation of sqrt(2 / K) in the code drops out.
        self.register_buffer("start", _unit(torch.randn(components, channels, generator=generator)))

    @property
    def departures(self) -> dict[str, bool]:
        """What may differ from the code's mixture besides its size, in a table's words, and whether it does."""
        return {
            "Gaussian": self.kernel == "gaussian",
            "EM trained": self.gradient,
            "unit samples": self.normalise_samples,
            "hard selection": self.hard_selection,
        }

    def forward(
        self,
        feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
    ) -> Prototypes:
        """Prototypes of the supports, all cells of all shots in one mixture.

        Args:
            feature: of the supports.
            foreground: weight of each pixel for the class, 0..1.
            background: weight of each pixel for the background.

        Returns:
            Means of both mixtures. An empty mask gives zero vectors under the vMF kernel and the Gaussian one alike.
        """
        with full_precision(feature), torch.set_grad_enabled(self.gradient and torch.is_grad_enabled()):
            cells = (feature.shape[-2], feature.shape[-1])
            weight = torch.cat([mask_at_cells(mask, cells) for mask in (foreground, background)]).flatten(1)
            if self.hard_selection:
                weight = (weight >= 0.5).float()
            sample = feature.float().movedim(2, -1).flatten(1, 3)  # M n C
            if self.normalise_samples:
                sample = _unit(sample)
            means = self._fit(sample.repeat(2, 1, 1), weight)
            return Prototypes(*means.chunk(2))

    def _fit(self, sample: Float[Tensor, "M n C"], weight: Float[Tensor, "M n"]) -> Float[Tensor, "M P C"]:
        """Means after all rounds."""
        start = _unit(torch.randn_like(self.start)) if self.redraw and self.training else self.start
        means = start.float().expand(len(sample), -1, -1)
        if self.kernel == "vmf":
            sample = sample * weight.unsqueeze(-1)  # the weight enters the exponent too, as in the code
            for _ in range(self.rounds):
                means = _unit(_weighted_means(sample, self._kernel(sample, means).softmax(-1)))
            return means
        for _ in range(self.rounds):
            means = _weighted_means(sample, self._kernel(sample, means).softmax(-1) * weight.unsqueeze(-1))
        return means

    def regions(
        self,
        feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
        prototypes: Prototypes,
    ) -> Int[Tensor, "M K h w"]:
        """The component that each support cell belongs to, of the mixture on its side of the mask, for pictures.

        Args:
            feature: of the supports.
            foreground: weight of each pixel for the class, 0..1.
            background: weight of each pixel for the background.
            prototypes: see `forward`.

        Returns:
            Place among the components, those of the foreground first; -1 where less than half of a cell is on either
            side. A foreground that half fills no cell keeps the cells that it fills most.
        """
        with full_precision(feature), torch.no_grad():
            cells = (feature.shape[-2], feature.shape[-1])
            inside, outside = mask_at_cells(foreground, cells), mask_at_cells(background, cells)
            sample = feature.float().movedim(2, -1)  # M K h w C
            if self.normalise_samples:
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
        """Logarithm of the kernel, up to what all components share."""
        if self.kernel == "vmf":
            return self.kappa * sample @ means.mT
        return 2 * sample @ means.mT - means.square().sum(-1).unsqueeze(-2)  # -||s - mu||^2 + ||s||^2

    def component_probability(
        self, feature: Float[Tensor, "M C h w"], prototypes: Prototypes
    ) -> Float[Tensor, "M D h w"]:
        """Softmax over the ``D = 2 P`` inner products of a feature with the prototypes, those of the foreground first.

        Features are raw and there is no kappa (P-Conv; discriminative_model in PMMs.py).
        """
        with full_precision(feature), torch.set_grad_enabled(self.gradient and torch.is_grad_enabled()):
            means = torch.cat([prototypes.foreground, prototypes.background], dim=1)
            product: Tensor = torch.einsum("mchw,mdc->mdhw", feature.float(), means)
            return product.softmax(1)

    def probability(self, feature: Float[Tensor, "M C h w"], prototypes: Prototypes) -> Float[Tensor, "M 2 h w"]:
        """Probability of background and foreground (P-Conv, eq. 7): the sum over either mixture's components."""
        foreground, background = self.component_probability(feature, prototypes).chunk(2, dim=1)
        return torch.stack([background.sum(1), foreground.sum(1)], dim=1)


def _unit(vectors: Float[Tensor, "*b C"]) -> Float[Tensor, "*b C"]:
    unit: Tensor = vectors / (EPS + vectors.norm(dim=-1, keepdim=True))
    return unit


def _weighted_means(sample: Float[Tensor, "M n C"], responsibility: Float[Tensor, "M n P"]) -> Float[Tensor, "M P C"]:
    share = responsibility / (EPS + responsibility.sum(1, keepdim=True))
    return share.mT @ sample
