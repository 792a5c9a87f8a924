"""Whether a picture shows a class at all: a score, calibrated on the supports.

A method answers for each pixel, and finds the class that it is to look for in nearly any picture. What was found is
compared with what was shown: the cosine of the mean feature under the prediction and the mean feature under the
supports' masks, near 1 where both are the same thing (PANet's section 4.3 compares the two by their distance). What is
near depends on encoder and class, so it is measured on the supports: each is segmented by the others, which gives
similarities of pictures that show the class; the background of each that looks most like the class, and pictures that
were said not to show it, give similarities of what is not it.
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

_TOP = 20  # the likeliest of the background is a twentieth of the picture
_STEEP = 4.0  # logits between the means of both, so that they score 0.88 and 0.12
_NEAR = 0.02  # in cosines: nearer means are taken for so far apart

ImageMaps = tuple[Float[Tensor, "_ _ _"], ...]  # of one image, or of one of its parts
# Logits ``L H W`` of a query, from its feature maps: background and one class that some supports show.
Segmenting = Callable[[Sequence[Support], ImageMaps, tuple[int, int]], Tensor]


class Calibration(NamedTuple):
    """What a class's score is measured on.

    Attributes:
        middle: similarity at which it is as likely there as not.
        apart: how fast that changes.
        shown: mean feature of the class.
    """

    middle: float
    apart: float
    shown: Float[Tensor, " C"]

    def score(self, similarity: float) -> float:
        """Of a similarity: 0..1, 0.5 in the middle."""
        return 1 / (1 + exp(-_STEEP * (similarity - self.middle) / self.apart))


def mean_feature(maps: ImageMaps, region: Bool[Tensor, "H W"]) -> Float[Tensor, " C"]:
    """Mean features under a region, each cell weighted by the share of it that the region fills; maps concatenated."""
    means = []
    for one in maps:
        weight = F.interpolate(region[None, None].float(), size=one.shape[-2:], mode="area")[0, 0]
        means.append((one.float() * weight).sum((1, 2)) / weight.sum().clamp(min=1e-6))
    return torch.cat(means)


def parts_of(support: Support) -> list[ImageMaps]:
    """Feature maps of each part of a support."""
    return list(zip(*support.feature, strict=True))


def prototype(supports: Sequence[Support], label: int) -> Float[Tensor, " C"]:
    """Mean feature of a class, each support that shows it counted alike."""
    each = [
        mean_feature(feature, mask == label)
        for support in supports
        for feature, mask, shown in zip(parts_of(support), support.mask, shows(support, label), strict=True)
        if shown
    ]
    return torch.stack(each).mean(0)


def similarity(feature: ImageMaps, region: Bool[Tensor, "H W"], shown: Float[Tensor, " C"]) -> float:
    """Cosine of what was found and what was shown; -1 where nothing was found."""
    if not region.any():
        return -1.0
    return float(torch.cosine_similarity(mean_feature(feature, region), shown, 0))


def calibrated(
    supports: Sequence[Support], label: int, segmenting: Segmenting, without: Sequence[ImageMaps] = ()
) -> Calibration | None:
    """Of a class; None where it has one support only, which no other one can be held against.

    Args:
        supports: that show the class.
        label: of the class.
        segmenting: the method.
        without: features of pictures that do not show it.
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
    """The part of the background that the class was found in most nearly."""
    count = min(int(background.sum()), background.numel() // _TOP)
    region = torch.zeros(background.numel(), dtype=torch.bool, device=background.device)
    region[margin.masked_fill(~background, -torch.inf).flatten().topk(count).indices] = True
    return region.view(background.shape)
