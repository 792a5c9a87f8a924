"""A threshold of scores, chosen on supports that were left out.

A score compares a cell with the object and with the background of the supports. Where the two are equally likely
depends on the class and on the photographs. With two or more supports, each is scored by the others, and the threshold
that segments them best is taken, times ``1 - 1/K``, since a threshold from few supports is uncertain: on photographs,
2 supports gave 45.9 without this factor, 48.3 without a threshold and 48.9 with both; 5 gave 55.7, 52.5 and 56.0. A
support that is given twice counts once and does not judge itself.
"""

import torch
from jaxtyping import Float
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


def trust(sample: Float[Tensor, "M K n C"]) -> Float[Tensor, " M"]:
    """Factor ``1 - 1/K`` of a threshold, with ``K`` different supports; 0 for one. Cells are on the unit sphere."""
    shots = sample.shape[1]
    equal = [shots - others(sample, shot).sum(1) for shot in range(shots)]
    return 1 - 1 / torch.stack([1 / count for count in equal]).sum(0)
