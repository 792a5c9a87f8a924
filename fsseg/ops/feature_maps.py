"""Resizing and concatenation of an encoder's feature maps."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F


def at_finest(maps: Sequence[Float[Tensor, "M _ _ _"]]) -> tuple[Float[Tensor, "M _ h w"], ...]:
    """All maps at the resolution of the finest map, bilinear (align_corners=False)."""
    size = max((one.shape[-2:] for one in maps), key=lambda s: s[0] * s[1])
    return tuple(one if one.shape[-2:] == size else F.interpolate(one, size=size, mode="bilinear") for one in maps)


def concatenated(maps: Sequence[Float[Tensor, "M _ _ _"]]) -> Float[Tensor, "M C h w"]:
    """All maps at the resolution of the finest map, concatenated over channels."""
    return maps[0] if len(maps) == 1 else torch.cat(at_finest(maps), dim=1)


def resized(
    logits: Float[Tensor, "B Q L _ _"],
    size: tuple[int, int] | Integer[Tensor, "B Q 2"],
    resize: Callable[[Tensor, tuple[int, int]], Tensor],
) -> Float[Tensor, "B Q L H W"]:
    """Logits of queries at one size, or at one size per query.

    Args:
        logits: one map per label.
        size: height and width, common or one pair per query. Logits of smaller queries lie in the upper left corner;
            the rest is zero.
        resize: gives logits ``... H W`` of logits and a size.
    """
    if isinstance(size, tuple):
        return resize(logits, size)
    sizes = [[(height, width) for height, width in queries] for queries in size.tolist()]
    each = {one for queries in sizes for one in queries}
    height, width = max(h for h, _ in each), max(w for _, w in each)
    if len(each) == 1:
        return resize(logits, (height, width))
    canvas = logits.new_zeros((*logits.shape[:3], height, width), dtype=torch.float32)
    for b, queries in enumerate(sizes):
        for q, one in enumerate(queries):
            canvas[b, q, :, : one[0], : one[1]] = resize(logits[b, q], one)
    return canvas
