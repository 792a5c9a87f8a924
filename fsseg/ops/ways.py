"""Several ways from a method that tells one class from background."""

from jaxtyping import Float
from torch import Tensor, cat, float32, promote_types


def merge_ways(logits: Float[Tensor, "*b N 2 h w"]) -> Float[Tensor, "*b L h w"]:
    """Logits of background and ``N`` ways, from one binary segmentation per way.

    A pixel is of one way or of none. Taking the binary decisions as independent given that, and writing ``b_n, f_n``
    for the logits of way n's run: background has ``sum_m b_m``, way n has ``f_n + sum_{m != n} b_m``. So a pixel goes
    to the way with the largest margin ``f_n - b_n``, or to background where no margin is positive. One way gives
    ``b, f`` unchanged. No paper of the binary methods says how to merge; this rule is ours.

    Args:
        logits: background and foreground of each way's run.

    Returns:
        Logits of background and ways, in float32 or wider: sums of several ways lose too much in 16 bits.
    """
    logits = logits.to(promote_types(logits.dtype, float32))
    background, foreground = logits.unbind(-3)
    total = background.sum(-3, keepdim=True)
    return cat([total, foreground + (total - background)], dim=-3)
