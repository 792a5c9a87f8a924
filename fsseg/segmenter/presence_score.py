"""A score of whether an image shows a class, calibrated on the supports.

A method predicts a class in nearly every image. The score uses two statistics of the predicted region: the cosine
similarity of its mean feature and that of the supports' masks (PANet, section 4.3, measures their distance), and the
mean similarity of its cells and the nearest cell of the supports' objects. The scale of both depends on encoder and
class, so it is calibrated on the supports. Each support is segmented by the other ones, which gives values of images
with the class. The part of each background that looks most like the class, and rejected images, give values without it.

How far a value counts was fitted once, by a logistic regression on photographs of ten classes, as many with the class
as without. The numbers fitted on five of them (1.14, 0.47, 0.08) and on the others (1.14, 0.35, 0.19) agree. Few
supports calibrate badly: with 2 and 3, a quarter and half of the weights fitted best.
"""

from collections.abc import Callable, Sequence
from math import exp
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fsseg.episode import BACKGROUND
from fsseg.segmenter.object_cells import ImageMaps, ObjectCells, cell_shares, joined_cells, object_cells, unit_cells
from fsseg.segmenter.support_state import Support, shows

_TOP = 20  # the likeliest part of the background is at most a twentieth of the image; our choice
_WEIGHTS = (1.1, 0.4)  # of both statistics, in differences of the means with and without the class
_LOWEST, _HIGHEST = -3.0, 2.0  # of such differences, so that no score comes near 0 or 1; our choice
_ENOUGH = 5  # supports that calibrate with full weight
_BIAS = 0.15  # fitted likewise, since a support is segmented by fewer supports than a query
_NEAR = 0.02  # smallest difference of the two means, in cosines; our choice

# Logits ``L H W`` of background and one class, given supports of the class, a query's feature maps and a size.
Segmenting = Callable[[Sequence[Support], ImageMaps, tuple[int, int]], Tensor]
Values = tuple[float, ...]  # of both statistics


class Calibration(NamedTuple):
    """Scale of a class's score.

    Attributes:
        mean: mean values with the class.
        apart: differences between the mean values with and without the class.
        supports: number of supports.
        shown: mean feature of the class.
        cells: cells of the class.
        least: smallest score of a support that is segmented by the others.
    """

    mean: Values
    apart: Values
    supports: int
    shown: Float[Tensor, " C"]
    cells: ObjectCells
    least: float = 0.0

    def score(self, values: Values) -> float:
        """Score of a region's values, 0..1."""
        apart = [(value - mean) / d for value, mean, d in zip(values, self.mean, self.apart, strict=True)]
        known = min(self.supports, _ENOUGH)
        total = sum(w * min(max(u, _LOWEST), _HIGHEST) for w, u in zip(_WEIGHTS, apart, strict=True))
        return 1 / (1 + exp(-(known - 1) / (_ENOUGH - 1) * total - _BIAS))

    def score_of(self, feature: ImageMaps, region: Bool[Tensor, "H W"]) -> float:
        """Score of a predicted region that is not empty."""
        return self.score(_values(feature, region, self.shown, self.cells))


def mean_feature(maps: ImageMaps, region: Bool[Tensor, "H W"]) -> Float[Tensor, " C"]:
    """Mean feature under a region, concatenated over maps. A cell's weight is the share that the region covers."""
    means = []
    for one in maps:
        weight = cell_shares(region, one.shape[-2:])
        means.append((one.float() * weight).sum((1, 2)) / weight.sum().clamp(min=1e-6))
    return torch.cat(means)


def parts_of(support: Support) -> list[ImageMaps]:
    """Feature maps of each part of a support."""
    return list(zip(*support.feature, strict=True))


def prototype(supports: Sequence[Support], label: int) -> Float[Tensor, " C"]:
    """Mean feature of a class over all parts of supports that show it."""
    each = [
        mean_feature(feature, mask == label)
        for support in supports
        for feature, mask, shown in zip(parts_of(support), support.mask, shows(support, label), strict=True)
        if shown
    ]
    return torch.stack(each).mean(0)


def _values(feature: ImageMaps, region: Bool[Tensor, "H W"], shown: Float[Tensor, " C"], cells: ObjectCells) -> Values:
    alike = float(torch.cosine_similarity(mean_feature(feature, region), shown, 0))
    return alike, nearness(feature, region, cells)


def nearness(feature: ImageMaps, region: Bool[Tensor, "H W"], cells: ObjectCells) -> float:
    """Mean cosine of the cells in a predicted region and the nearest cell of the class; the mean over maps."""
    found = []
    for one, known in zip(feature, cells, strict=True):
        nearest = (unit_cells(one) @ known.T).amax(1)
        share = cell_shares(region, one.shape[-2:]).flatten()
        found.append(float((nearest * share).sum() / share.sum().clamp(min=1e-6)))
    return sum(found) / len(found)


def calibrated(
    supports: Sequence[Support], label: int, segmenting: Segmenting, without: Sequence[ImageMaps] = ()
) -> Calibration | None:
    """The calibration of a class; None if there are fewer than two supports, or no values on one side.

    Args:
        supports: supports that show the class.
        label: label of the class.
        segmenting: gives logits.
        without: feature maps of images without the class.
    """
    if len(supports) < 2:
        return None
    there: list[Values] = []
    not_there: list[Values] = []

    def measured(into: list[Values], feature: ImageMaps, region: Tensor, known: tuple[Tensor, ObjectCells]) -> None:
        if region.any():
            into.append(_values(feature, region, *known))

    for i, support in enumerate(supports):
        others = [*supports[:i], *supports[i + 1 :]]
        known = prototype(others, label), joined_cells(object_cells(others, label))
        for feature, mask in zip(parts_of(support), support.mask, strict=True):
            found = segmenting(others, feature, (mask.shape[-2], mask.shape[-1]))
            margin = found[1] - found[0]
            if (mask == label).any():
                measured(there, feature, margin > 0, known)
            measured(not_there, feature, _likeliest(margin, mask == BACKGROUND), known)
    known = prototype(supports, label), joined_cells(object_cells(supports, label))
    for feature in without:
        found = segmenting(supports, feature, (feature[0].shape[-2], feature[0].shape[-1]))
        measured(not_there, feature, found[1] > found[0], known)
    if not there or not not_there:
        return None
    mean, low = (tuple(sum(each) / len(each) for each in zip(*values, strict=True)) for values in (there, not_there))
    apart = tuple(max(high - less, _NEAR) for high, less in zip(mean, low, strict=True))
    scale = Calibration(mean, apart, len(supports), *known)
    return scale._replace(least=min(map(scale.score, there)))


def _likeliest(margin: Float[Tensor, "H W"], background: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The part of the background with the largest margin of the class."""
    count = min(int(background.sum()), background.numel() // _TOP)
    region = torch.zeros(background.numel(), dtype=torch.bool, device=background.device)
    region[margin.masked_fill(~background, -torch.inf).flatten().topk(count).indices] = True
    return region.view(background.shape)
