"""Correlations of all cells of two images, in several maps (Min et al., ICCV 2021, section 3.1).

A correlation has six axes, ``B hq wq hs ws C``: the query plane, the support plane, and one channel per pair of maps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_EPS = 1e-5  # added to each norm, as in the code; the paper has none

Correlation = Float[Tensor, "B hq wq hs ws C"]


class Correlations(NamedTuple):
    """Correlations for a centre-pivot convolution with a stride on the support plane.

    Attributes:
        full: correlations with all support cells. In memory the support plane is innermost.
        kept: correlations with the support cells ``0, stride, 2 stride, ...`` of both axes. In memory the query plane
            is innermost.
    """

    full: Correlation
    kept: Float[Tensor, "B hq wq u v C"]


def unit_vectors(feature: Float[Tensor, "*b C h w"]) -> Float[Tensor, "*b C h w"]:
    """Features divided by their norm plus 1e-5, in float32 or wider; zero vectors stay zero."""
    feature = feature.to(torch.promote_types(feature.dtype, torch.float32))
    norm: Tensor = torch.linalg.vector_norm(feature, dim=-3, keepdim=True)
    return feature / (norm + _EPS)


def hypercorrelation(
    query: Sequence[Float[Tensor, "B _ hq wq"]], support: Sequence[Float[Tensor, "B _ hs ws"]], stride: int
) -> Correlations:
    """Inner products of all cells of two images in each map, negative ones set to 0.

    The few correlations that a strided convolution needs in the other memory order are computed a second time. This
    takes less time than to copy the large tensor into that order.

    Args:
        query: unit vectors, one map per channel of the correlation.
        support: unit vectors of the other image.
        stride: stride of the convolution on the support plane.
    """
    rows, columns = query[0].shape[-2:], support[0].shape[-2:]
    kept = [one[..., ::stride, ::stride] for one in support]
    full = _products([q.flatten(2).transpose(1, 2) for q in query], [s.flatten(2) for s in support])
    few = _products([s.flatten(2).transpose(1, 2) for s in kept], [q.flatten(2) for q in query])
    return Correlations(
        full.unflatten(3, columns).unflatten(1, rows).permute(0, 1, 2, 4, 5, 3),
        few.unflatten(3, rows).unflatten(1, kept[0].shape[-2:]).permute(0, 4, 5, 1, 2, 3),
    )


def _products(
    left: Sequence[Float[Tensor, "B n _"]], right: Sequence[Float[Tensor, "B _ m"]]
) -> Float[Tensor, "B n C m"]:
    """Matrix products of each pair, without negative values."""
    tracked = torch.is_grad_enabled() and any(one.requires_grad for one in (*left, *right))
    if tracked or torch.compiler.is_compiling():
        return F.relu(torch.stack([one @ other for one, other in zip(left, right, strict=True)], dim=2))
    episodes, rows = left[0].shape[:2]
    products = left[0].new_empty(episodes, rows, len(left), right[0].shape[2])
    for channel, (one, other) in enumerate(zip(left, right, strict=True)):
        for episode in range(episodes):  # mm writes rows with a gap, bmm would copy
            torch.mm(one[episode], other[episode], out=products[episode, :, channel])
    return products.clamp_(min=0)
