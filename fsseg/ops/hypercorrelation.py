"""Correlations of all cells of two images, in several maps (Min et al., ICCV 2021).

A correlation has six axes, ``B hq wq hs ws C``: the query plane, the support plane, and one channel per pair of maps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fsseg.ops.precision import full_precision

_EPS = 1e-5  # added to each norm, as in the code; the paper has none

Correlation = Float[Tensor, "B hq wq hs ws C"]


class ImagePair(NamedTuple):
    """Unit vectors of two images, whose `hypercorrelation` is to be convolved.

    Attributes:
        query: one map per channel of the correlation.
        support: likewise.
    """

    query: Sequence[Float[Tensor, "B _ hq wq"]]
    support: Sequence[Float[Tensor, "B _ hs ws"]]


def unit_vectors(
    feature: Float[Tensor, "*b C h w"], weight: Float[Tensor, "*b h w"] | None = None
) -> Float[Tensor, "*b C h w"]:
    """Features divided by their norm plus 1e-5, in float32 or wider; zero vectors stay zero.

    Args:
        feature: any features.
        weight: factor of each cell's feature before the division, at least 0; by default 1.
    """
    feature = feature.to(torch.promote_types(feature.dtype, torch.float32))
    norm = (feature.square().sum(-3) + torch.finfo(feature.dtype).tiny).sqrt()  # the root has no gradient at 0
    scale = 1 / (norm + _EPS) if weight is None else weight / (weight * norm + _EPS)
    return feature * scale.unsqueeze(-3)


def hypercorrelation(
    query: Sequence[Float[Tensor, "B _ hq wq"]], support: Sequence[Float[Tensor, "B _ hs ws"]]
) -> Correlation:
    """Inner products of all cells of two images in each map, negative ones set to 0.

    Args:
        query: unit vectors, one map per channel of the correlation.
        support: unit vectors of the other image.

    Returns:
        The correlation; in memory the support plane is innermost.
    """
    rows, columns = query[0].shape[-2:], support[0].shape[-2:]
    left, right = [one.flatten(2).transpose(1, 2) for one in query], [one.flatten(2) for one in support]
    if traced() or any(one.requires_grad for one in (*left, *right)):
        products = F.relu(torch.stack([a @ b for a, b in zip(left, right, strict=True)], dim=2))
    else:
        products = left[0].new_zeros(len(left[0]), rows.numel(), len(left), columns.numel())
        for each, out in zip(per_image(query, support), products, strict=True):
            each.rows(out=out)
    correlation: Tensor = products.unflatten(3, columns).unflatten(1, rows)
    return correlation.permute(0, 1, 2, 4, 5, 3)


class Products:
    """Inner products of the cells of one query and one support, without gradient, for some query cells at a time.

    On a CPU, support cells that are 0 in all maps, i.e. those outside of the mask, are left out.

    Args:
        query: unit vectors of each map.
        support: unit vectors of each map.
    """

    def __init__(self, query: Sequence[Float[Tensor, "n _"]], support: Sequence[Float[Tensor, "_ m"]]) -> None:
        self.query, self.support = query, support
        self.size = support[0].shape[1]
        self.cells: Tensor | None = None
        if support[0].device.type == "cpu":  # a GPU would have to wait for the number of cells
            shown = torch.stack([one.any(0) for one in support]).any(0)
            if not shown.all():
                self.cells = shown.nonzero().flatten()
                self.support = [one[:, self.cells] for one in support]

    def rows(self, start: int = 0, stop: int | None = None, out: Tensor | None = None) -> Float[Tensor, "r C m"]:
        """Products of the query cells from ``start`` to ``stop``, negative ones set to 0.

        Args:
            start: first query cell.
            stop: end of the query cells; by default all.
            out: zeros, or the result of an earlier call, which may have more rows; it is overwritten.
        """
        first = self.query[0][start:stop]
        if out is None:
            out = first.new_zeros(len(first), len(self.query), self.size)
        out = out[: len(first)]
        for channel, (one, other) in enumerate(zip(self.query, self.support, strict=True)):
            with full_precision(one):
                if self.cells is None:
                    torch.mm(one[start:stop], other, out=out[:, channel])
                else:
                    out[:, channel].index_copy_(1, self.cells, torch.mm(one[start:stop], other))
        return out.clamp_(min=0)


def traced() -> bool:
    """Whether the code is being compiled or exported, when sizes may be symbols."""
    return torch.compiler.is_compiling() or torch.compiler.is_exporting()


def per_image(
    query: Sequence[Float[Tensor, "B _ hq wq"]], support: Sequence[Float[Tensor, "B _ hs ws"]]
) -> list[Products]:
    """Products of each query with its support."""
    left, right = [one.flatten(2).transpose(1, 2) for one in query], [one.flatten(2) for one in support]
    return [Products([one[i] for one in left], [one[i] for one in right]) for i in range(len(left[0]))]
