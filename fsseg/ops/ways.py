"""Several ways from binary segmentations."""

from jaxtyping import Float
from torch import Tensor, cat, float32, promote_types


def merge_ways(logits: Float[Tensor, "*b N 2 h w"]) -> Float[Tensor, "*b L h w"]:
    """Logits of background and ``N`` ways, from one binary segmentation per way.

    A pixel belongs to at most one way. If the binary decisions ``b_n, f_n`` are independent given this constraint, the
    logit of background is ``sum_m b_m`` and that of way n is ``f_n + sum_{m != n} b_m``. So a pixel gets the way with
    the largest margin ``f_n - b_n``, or background if no margin is positive. One way gives ``b, f`` unchanged. This
    rule is ours: no paper of the binary methods describes a merge.

    Args:
        logits: background and foreground of each way.

    Returns:
        Logits of background and ways, in float32 or wider, because sums over ways need more than 16 bits.
    """
    logits = logits.to(promote_types(logits.dtype, float32))
    background, foreground = logits.unbind(-3)
    total = background.sum(-3, keepdim=True)
    return cat([total, foreground + (total - background)], dim=-3)
