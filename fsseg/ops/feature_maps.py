"""Resizing and concatenation of an encoder's feature maps."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def at_finest(maps: Sequence[Float[Tensor, "M _ _ _"]]) -> tuple[Float[Tensor, "M _ h w"], ...]:
    """All maps at the resolution of the finest map, bilinear (align_corners=False)."""
    size = max((one.shape[-2:] for one in maps), key=lambda s: s[0] * s[1])
    return tuple(one if one.shape[-2:] == size else F.interpolate(one, size=size, mode="bilinear") for one in maps)


def concatenated(maps: Sequence[Float[Tensor, "M _ _ _"]]) -> Float[Tensor, "M C h w"]:
    """All maps at the resolution of the finest map, concatenated over channels."""
    return maps[0] if len(maps) == 1 else torch.cat(at_finest(maps), dim=1)
