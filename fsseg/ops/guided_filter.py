"""Guided filter: values of coarse cells follow the borders of an image.

He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, with a colour guide, and its fast
form (He and Sun, "Fast Guided Filter", 2015): coefficients are computed on a smaller image.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def guided_filter(
    guide: Float[Tensor, "3 H W"], values: Float[Tensor, "L H W"], radius: int, eps: float, subsample: int = 1
) -> Float[Tensor, "L H W"]:
    """Values that are linear in the guide's colours within each window.

    Args:
        guide: image in 0..1.
        values: maps to filter.
        radius: pixels from the centre of a window to its border; 0 is one pixel.
        eps: variance of the guide below which a window is smoothed.
        subsample: factor by which coefficients are computed on a smaller image.
    """
    full = (guide.shape[-2], guide.shape[-1])
    small, low = guide[None], values[None]
    if subsample > 1:
        size = (max(1, full[0] // subsample), max(1, full[1] // subsample))
        small, low = (F.interpolate(one, size, mode="area") for one in (small, low))
        radius = max(1, round(radius / subsample))
    slope, offset = _coefficients(small[0], low[0], radius, eps)
    if subsample > 1:
        flat = F.interpolate(torch.cat([slope.flatten(0, 1), offset])[None], full, mode="bilinear")[0]
        slope, offset = flat[: -len(offset)].unflatten(0, slope.shape[:2]), flat[-len(offset) :]
    return (slope * guide).sum(1) + offset


def _coefficients(
    guide: Float[Tensor, "3 h w"], values: Float[Tensor, "L h w"], radius: int, eps: float
) -> tuple[Float[Tensor, "L 3 h w"], Float[Tensor, "L h w"]]:
    """Mean slope and mean offset of all windows that cover a pixel."""
    colour, mean = _box(guide, radius), _box(values, radius)
    square = _box((guide.unsqueeze(1) * guide.unsqueeze(0)).flatten(0, 1), radius).unflatten(0, (3, 3))
    variance = square - colour.unsqueeze(1) * colour.unsqueeze(0)
    variance = variance.permute(2, 3, 0, 1) + eps * torch.eye(3, device=guide.device)
    product = _box((values.unsqueeze(1) * guide.unsqueeze(0)).flatten(0, 1), radius).unflatten(0, (len(values), 3))
    covariance = product - mean.unsqueeze(1) * colour.unsqueeze(0)
    slope = torch.linalg.solve(variance, covariance.permute(2, 3, 1, 0)).permute(3, 2, 0, 1)
    offset = mean - (slope * colour).sum(1)
    return _box(slope.flatten(0, 1), radius).unflatten(0, slope.shape[:2]), _box(offset, radius)


def _box(maps: Float[Tensor, "c h w"], radius: int) -> Float[Tensor, "c h w"]:
    """Mean of each pixel's window within the map."""
    for dimension in (1, 2):
        length = maps.shape[dimension]
        ends = torch.arange(length, device=maps.device)
        first, last = (ends - radius).clamp(min=0), (ends + radius + 1).clamp(max=length)
        total = F.pad(maps.cumsum(dimension), (0, 0, 1, 0) if dimension == 1 else (1, 0))
        window = total.index_select(dimension, last) - total.index_select(dimension, first)
        maps = window / (last - first).view(-1, *[1] * (2 - dimension))
    return maps
