"""A threshold of scores, chosen on supports that were left out.

A score compares a cell with the object and with the background of the supports. Where the two are equally likely
depends on the class and on the photographs. With two or more supports, each is scored by the others, and the threshold
that segments them best is taken. A support that is given twice does not judge itself.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

THRESHOLDS = 61  # candidates, evenly from -LARGEST to LARGEST; our choice
LARGEST = 3.0  # a cell that is e^3 times as likely to be the object; our choice
_SAME = 1e-4  # largest difference of two equal images' features, which rounding leaves


def best_threshold(
    score: Float[Tensor, "M K n"], weight: Float[Tensor, "M K n 2"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """The threshold with the largest mean IoU over supports, and that IoU.

    Args:
        score: logarithm of a ratio for each cell of each support, computed without this support.
        weight: pixels of the object and of the background in each cell.
    """
    candidates = torch.linspace(-LARGEST, LARGEST, THRESHOLDS, device=score.device)
    found = (score.unsqueeze(-1) > candidates).to(weight.dtype)  # M K n T
    inside, outside = torch.einsum("mknt,mkns->smkt", found, weight)
    iou = inside / (weight[..., 0].sum(-1, keepdim=True) + outside).clamp(min=1e-6)
    best, index = iou.mean(1).max(-1)
    return candidates[index], best


def others(sample: Float[Tensor, "M K n C"], shot: int) -> Float[Tensor, "M K"]:
    """1 for each support that differs from one of them, else 0, given their cells on the unit sphere."""
    different: Tensor = (sample - sample[:, shot : shot + 1]).abs().flatten(2).amax(-1) > _SAME
    return different.to(sample.dtype)


def are_several(sample: Float[Tensor, "M K n C"]) -> Bool[Tensor, " M"]:
    """Whether there are at least two different supports, given their cells on the unit sphere."""
    return others(sample, 0).bool().any(1)
