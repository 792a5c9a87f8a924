"""Feature cells of the supports' objects, on the unit sphere."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from fsseg.segmenter.support_state import Support, shows

# One tensor ``n C`` of cells of unit length per feature map.
ObjectCells = tuple[Float[Tensor, "_ _"], ...]
ImageMaps = tuple[Float[Tensor, "_ _ _"], ...]  # of an image or of one of its parts

_COVERED = 0.5  # share of a cell that the object covers at least
_MOST = 2000  # cells of a class, a limit of time; our choice


def object_cells(supports: Sequence[Support], label: int, most: int = _MOST) -> list[ObjectCells]:
    """The cells of a class in each support that shows it.

    A cell counts if the object covers half of it. If there is none in a part, its most covered cells count.

    Args:
        supports: supports of the class.
        label: label of the class.
        most: cells of all supports together, of which each gives an equal part at equal steps.
    """
    found: list[ObjectCells] = []
    for support in supports:
        each = [
            tuple(_covered(one[index], support.mask[index] == label) for one in support.feature)
            for index in shows(support, label).nonzero().flatten().tolist()
        ]
        found.append(tuple(_some(torch.cat(cells), most // len(supports)) for cells in zip(*each, strict=True)))
    return found


def _covered(feature: Float[Tensor, "C h w"], region: Bool[Tensor, "H W"]) -> Float[Tensor, "n C"]:
    share = cell_shares(region, feature.shape[-2:]).flatten()
    return unit_cells(feature)[share >= share.max().clamp(max=_COVERED)]


def _some(cells: Float[Tensor, "n C"], most: int) -> Float[Tensor, "m C"]:
    count, most = len(cells), max(1, most)
    return cells if count <= most else cells[torch.arange(most, device=cells.device) * count // most]


def cell_shares(region: Bool[Tensor, "H W"], cells: tuple[int, ...]) -> Float[Tensor, "h w"]:
    """The share of each cell that a region covers."""
    return F.interpolate(region[None, None].float(), size=cells, mode="area")[0, 0]


def unit_cells(feature: Float[Tensor, "C h w"]) -> Float[Tensor, "n C"]:
    """Cells of a feature map on the unit sphere."""
    return F.normalize(feature.float().flatten(1).T, dim=-1)


def joined_cells(each: Sequence[ObjectCells]) -> ObjectCells:
    """Cells of several supports together."""
    return tuple(torch.cat(cells) for cells in zip(*each, strict=True))
