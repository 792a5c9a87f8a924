"""Which class a region of a query shows, for classes that look alike.

A method that compares cell by cell makes an animal a patchwork of cats, dogs and horses: the eye of one is like that of
another. So a pixel gets the class that is likeliest in the predicted region around it. The density of a class at a cell
is that of the supports' object cells, as in `fsseg.methods.KernelDensityRatio`. A class whose supports are varied is
likelier everywhere than one whose supports are alike. A bias takes this away, half way between the mean logarithm on
the class's own supports, each left out, and that on the other classes' supports. The rules are ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from fsseg.ops.similarity import median_distance
from fsseg.segmenter.object_cells import ImageMaps, ObjectCells, cell_shares, joined_cells, unit_cells

CELLS = 4000  # of all classes on a map, a limit of time; our choice
_AROUND = 0.13  # standard deviation of the neighbourhood, times the longer side; measured (benchmarks/look_alikes.py)
_SHARP = 40.0  # concentration of the kernel, times the median distance of cells; measured likewise
_LEAST = 1e-6  # smallest weight of a neighbourhood
_NONE = 1e-30  # smallest density, relative to that at the nearest cell


class Appearance(NamedTuple):
    """How the classes look on one feature map.

    Attributes:
        cells: object cells of all supports.
        owner: number of the class of each cell, from 0.
        concentration: concentration of the kernel.
        bias: added to the logarithm of each class's density.
    """

    cells: Float[Tensor, "n C"]
    owner: Int[Tensor, " n"]
    concentration: float
    bias: Float[Tensor, " N"]

    def log_density(
        self, query: Float[Tensor, "q C"], left_out: Bool[Tensor, "q n"] | None = None
    ) -> Float[Tensor, "q N"]:
        """Logarithm of each class's density at query cells, up to a common constant, without the bias.

        Args:
            query: cells of unit length.
            left_out: cells that do not count.
        """
        cosine = query @ self.cells.T
        if left_out is not None:
            cosine = cosine.masked_fill(left_out, -torch.inf)
        weight = (self.concentration * (cosine - cosine.amax(1, keepdim=True))).exp()
        classes = F.one_hot(self.owner, len(self.bias)).to(weight.dtype)
        counted = classes.sum(0) if left_out is None else (~left_out).to(weight.dtype) @ classes
        return (weight @ classes / counted.clamp(min=1)).clamp(min=_NONE).log()


def appearances(supports: Sequence[Sequence[ObjectCells]]) -> list[Appearance]:
    """How the classes look on each map.

    Args:
        supports: cells of each support of each class. With one support in some class, there is no bias.
    """
    every = [cells for each in supports for cells in each]
    of_class = [number for number, each in enumerate(supports) for _ in each]
    found = []
    for place, cells in enumerate(joined_cells(every)):
        counts = torch.tensor([len(each[place]) for each in every], device=cells.device)
        owner = torch.tensor(of_class, device=cells.device).repeat_interleave(counts)
        concentration = _SHARP / float(median_distance(cells[None]))
        one = Appearance(cells, owner, concentration, torch.zeros(len(supports), device=cells.device))
        if min(map(len, supports)) > 1:
            support = torch.arange(len(every), device=cells.device).repeat_interleave(counts)
            one = one._replace(bias=_bias(one, support))
        found.append(one)
    return found


def _bias(look: Appearance, support: Int[Tensor, " n"]) -> Float[Tensor, " N"]:
    density = look.log_density(look.cells, support[:, None] == support)
    own = F.one_hot(look.owner, len(look.bias)).to(density.dtype)
    inside, outside = ((density * side).sum(0) / side.sum(0) for side in (own, 1 - own))
    return -(inside + outside) / 2


def by_region(
    logits: Float[Tensor, "L H W"], labels: Sequence[int], feature: ImageMaps, looks: Sequence[Appearance]
) -> Float[Tensor, "L H W"]:
    """Logits in which each predicted pixel has the class of its surroundings. What is background stays so.

    Args:
        logits: of background, classes and rejected images.
        labels: labels of the classes.
        feature: feature maps of the query.
        looks: how the classes look on each map.
    """
    size, known = logits.shape[-2:], torch.tensor(labels, device=logits.device)
    rest = torch.tensor([label for label in range(len(logits)) if label not in labels], device=logits.device)
    other, best = logits[rest].amax(0), logits[known].amax(0)
    grid = feature[0].shape[-2:]
    density = torch.stack([_map_of(look, one, grid) for look, one in zip(looks, feature, strict=True)]).mean(0)
    weight, around = cell_shares(best > other, grid), _AROUND * max(grid)
    total = _blurred(weight, around).clamp(min=_LEAST)
    mean = torch.stack([_blurred(one * weight, around) / total for one in density])
    likely = F.interpolate(mean[None], size=size, mode="bilinear")[0]
    changed = logits.clone()
    changed[known] = best + likely - likely.amax(0)
    return changed


def _map_of(look: Appearance, feature: Float[Tensor, "C h w"], grid: tuple[int, ...]) -> Float[Tensor, "N _ _"]:
    """Logarithm of each class's density, with the bias, on a grid."""
    density = look.log_density(unit_cells(feature)) + look.bias
    return F.interpolate(density.T.unflatten(1, feature.shape[-2:])[None], size=grid, mode="bilinear")[0]


def _blurred(values: Float[Tensor, "h w"], deviation: float) -> Float[Tensor, "h w"]:
    found = ndimage.gaussian_filter(values.cpu().numpy(), deviation, mode="constant")
    return torch.from_numpy(found).to(values.device)
