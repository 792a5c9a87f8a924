"""Kernel density ratio: no training, any encoder. After FROST (arXiv 2606.31136, June 2026).

FROST compares each query cell with the densities of the supports' object cells and background cells on the unit sphere;
the bandwidth comes from the supports, and the threshold of the ratio is 1. No code was published, so the kernel (von
Mises-Fisher), the rule of the bandwidth and the treatment of borders are ours:

- A cell counts for the object by its number of pixels of the object, so that borders count for both sides.
- The concentration is a multiple of the inverse of the median distance of the supports' cells, since encoders differ in
  how far cells are apart. With two or more supports, the multiple and the threshold are those that segment each support
  best by the others (`fsseg.ops.support_threshold`). Both can be switched off (``calibrate``).
- Of many supports, cells at equal steps are compared, so that a query costs at most as much as with `_CELLS` of them.
- Several ways are merged as in `fsseg.ops.ways`.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fsseg.encoders import Encoder
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, State, named
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.pooling import adjoint_weights
from fsseg.ops.precision import full_precision
from fsseg.ops.similarity import median_distance
from fsseg.ops.support_threshold import best_threshold, left_out, others, trust

_SAMPLE = 512  # cells whose distances are measured, a limit of time
_CELLS = 2**15  # cells of the supports with which a query is compared, a limit of time and memory; 36 supports of 30x30
_LEAST = 1e-3  # smallest median distance
_EMPTY = 1e-30  # density of a side without cells


class KernelDensityRatio(BinaryMethod):
    """Ratio of the densities of the supports' object cells and background cells at each query cell.

    Args:
        encoder: image encoder; FROST uses DINOv3.
        multiples: concentrations of the kernel, as multiples of the inverse median distance ``1 - cos`` of the
            supports' cells. Without `calibrate`, or with one support, the first is used.
        calibrate: choose the multiple and the threshold on the supports, if there are two or more.
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: there is no multiple, or one is not positive.
    """

    exportable: ClassVar[bool] = False
    training_free: ClassVar[bool] = True
    pools_background: ClassVar[bool] = True
    inference_options: ClassVar[frozenset[str]] = frozenset({"multiples", "calibrate"})

    def __init__(
        self,
        encoder: Encoder,
        multiples: Sequence[float] = (10.0, 20.0, 40.0),
        calibrate: bool = True,
        loss_mean: LossMean = "episodes",
    ) -> None:
        super().__init__(encoder, loss_mean)
        if not multiples or not all(multiple > 0 for multiple in multiples):
            given = ", ".join(f"{multiple:g}" for multiple in multiples) or "none"
            raise FssegError(f"KernelDensityRatio: multiples {given}; give at least one, each above 0.")
        self.multiples, self.calibrate = tuple(multiples), calibrate
        departures = {"calibrate": "" if calibrate else "not calibrated"}
        self.name = named(self, KernelDensityRatio, "kernel density ratio", departures)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """Cells on the unit sphere ``M n C``, their pixels ``M n 2``, concentration ``M`` and threshold ``M``."""
        with full_precision(support[0]):
            cells = (support[0].shape[-2], support[0].shape[-1])
            sample = F.normalize(support[0].float().flatten(-2).mT, dim=-1)  # M K n C
            sides = [adjoint_weights(mask, cells).flatten(-2) for mask in (foreground, background)]
            weight = torch.stack(sides, -1)
            concentration, threshold = self._settings(sample, weight)
        return _some(sample.flatten(1, 2)), _some(weight.flatten(1, 2)), concentration, threshold

    @torch.no_grad()
    def _settings(
        self, sample: Float[Tensor, "M K n C"], weight: Float[Tensor, "M K n 2"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        """Concentration and threshold of each way."""
        cells = _some(sample.flatten(1, 2))
        inverse = 1 / median_distance(cells)
        concentrations = [multiple * inverse for multiple in self.multiples]
        if not self.calibrate or sample.shape[1] < 2:
            return concentrations[0], torch.zeros_like(inverse)
        scores: list[list[Tensor]] = [[] for _ in concentrations]
        some = left_out(sample.shape[1])
        for shot in some:
            kept = _some((weight * others(sample, shot)[..., None, None]).flatten(1, 2))
            cosine = sample[:, shot] @ cells.mT
            for into, concentration in zip(scores, concentrations, strict=True):
                into.append(_log_ratio(cosine, kept, concentration))
        found = [best_threshold(torch.stack(each, 1), weight[:, some]) for each in scores]
        factor = trust(sample)
        best = torch.stack([iou for _, iou in found]).argmax(0).where(factor > 0, 0)[None]
        concentration = torch.stack(concentrations).gather(0, best)[0]
        threshold = torch.stack([each for each, _ in found]).gather(0, best)[0]
        return concentration, threshold * factor

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Zero for the background; for the object the logarithm of the ratio, less the threshold."""
        sample, weight, concentration, threshold = state
        with full_precision(query[0]):
            cell = F.normalize(query[0].float().flatten(-2).mT, dim=-1)
            ratio = _log_ratio(cell @ sample.mT, weight, concentration) - threshold.unsqueeze(-1)
            ratio = ratio.unflatten(-1, query[0].shape[-2:])
            return [torch.stack([torch.zeros_like(ratio), ratio], 1)]


def _log_ratio(
    cosine: Float[Tensor, "M q n"], weight: Float[Tensor, "M n 2"], concentration: Float[Tensor, " M"]
) -> Float[Tensor, "M q"]:
    """Logarithm of the ratio of object density and background density at each query cell."""
    # exp(kappa (cos - 1)) is at most 1. It cannot underflow to 0 everywhere, because the largest cosine is subtracted.
    scaled = concentration.view(-1, 1, 1) * (cosine - cosine.detach().amax(-1, keepdim=True))
    share = weight / weight.sum(1, keepdim=True).clamp(min=_EMPTY)
    density = (scaled.exp() @ share).clamp(min=_EMPTY).log()
    return density[..., 0] - density[..., 1]


def _some(cells: Float[Tensor, "M n c"]) -> Float[Tensor, "M k c"]:
    """At most `_CELLS` cells, at equal steps over all supports."""
    count = cells.shape[1]
    if count <= _CELLS:
        return cells
    # Fractional steps, so that a column of cells is not taken again and again.
    return cells[:, torch.linspace(0, count - 1, _CELLS, dtype=torch.float64, device=cells.device).long()]
