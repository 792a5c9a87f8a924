"""A score of whether an image shows a class, calibrated on the supports.

A method predicts a class in nearly every image. The score uses the cosine similarity of the mean feature under the
prediction and the mean feature under the supports' masks (PANet, section 4.3, measures their distance). The scale of
this similarity depends on encoder and class, so it is calibrated on the supports. Each support is segmented by the
other ones, which gives similarities of images with the class. The part of each background that looks most like the
class, and rejected images, give similarities without the class.
"""

from collections.abc import Callable, Sequence
from math import exp
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from fsseg.episode import BACKGROUND
from fsseg.segmenter.support_state import Support, shows

_TOP = 20  # the likeliest part of the background is at most a twentieth of the image; our choice
_STEEP = 4.0  # logits between the two means, so that they score 0.88 and 0.12; our choice
_NEAR = 0.02  # smallest difference of the two means, in cosines; our choice

ImageMaps = tuple[Float[Tensor, "_ _ _"], ...]  # of an image or of one of its parts
# Logits ``L H W`` of background and one class, given supports of the class, a query's feature maps and a size.
Segmenting = Callable[[Sequence[Support], ImageMaps, tuple[int, int]], Tensor]


class Calibration(NamedTuple):
    """Scale of a class's score.

    Attributes:
        middle: similarity with the score 0.5.
        apart: difference between the mean similarities with and without the class.
        shown: mean feature of the class.
    """

    middle: float
    apart: float
    shown: Float[Tensor, " C"]

    def score(self, similarity: float) -> float:
        """Score of a similarity, 0..1."""
        return 1 / (1 + exp(-_STEEP * (similarity - self.middle) / self.apart))


def mean_feature(maps: ImageMaps, region: Bool[Tensor, "H W"]) -> Float[Tensor, " C"]:
    """Mean feature under a region, concatenated over maps. A cell's weight is the share that the region covers."""
    means = []
    for one in maps:
        weight = F.interpolate(region[None, None].float(), size=one.shape[-2:], mode="area")[0, 0]
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


def similarity(feature: ImageMaps, region: Bool[Tensor, "H W"], shown: Float[Tensor, " C"]) -> float:
    """Cosine similarity of the mean feature under a predicted region and that of the class; -1 for no region."""
    if not region.any():
        return -1.0
    return float(torch.cosine_similarity(mean_feature(feature, region), shown, 0))


def calibrated(
    supports: Sequence[Support], label: int, segmenting: Segmenting, without: Sequence[ImageMaps] = ()
) -> Calibration | None:
    """The calibration of a class; None if there are fewer than two supports, or no similarities on one side.

    Args:
        supports: supports that show the class.
        label: label of the class.
        segmenting: gives logits.
        without: feature maps of images without the class.
    """
    if len(supports) < 2:
        return None
    there, not_there = [], []
    for i, support in enumerate(supports):
        others = [*supports[:i], *supports[i + 1 :]]
        shown = prototype(others, label)
        for feature, mask in zip(parts_of(support), support.mask, strict=True):
            size = (mask.shape[-2], mask.shape[-1])
            found = segmenting(others, feature, size)
            margin = found[1] - found[0]
            if (mask == label).any():
                there.append(similarity(feature, margin > 0, shown))
            not_there.append(similarity(feature, _likeliest(margin, mask == BACKGROUND), shown))
    shown = prototype(supports, label)
    for feature in without:
        found = segmenting(supports, feature, (feature[0].shape[-2], feature[0].shape[-1]))
        not_there.append(similarity(feature, found[1] > found[0], shown))
    known = [[value for value in values if value > -1] for values in (there, not_there)]
    if not all(known):
        return None
    high, low = (sum(values) / len(values) for values in known)
    return Calibration((high + low) / 2, max(high - low, _NEAR), shown)


def _likeliest(margin: Float[Tensor, "H W"], background: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The part of the background with the largest margin of the class."""
    count = min(int(background.sum()), background.numel() // _TOP)
    region = torch.zeros(background.numel(), dtype=torch.bool, device=background.device)
    region[margin.masked_fill(~background, -torch.inf).flatten().topk(count).indices] = True
    return region.view(background.shape)
