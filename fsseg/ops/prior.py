"""Prior masks of PFENet: where a query resembles the foreground of a support, without training."""

import torch
from jaxtyping import Float
from torch import Tensor

_EPS = 1e-7  # added to the product of norms, and to the range (PFENet.py)


def prior_mask(query: Float[Tensor, "M C h w"], support: Float[Tensor, "M K C u v"]) -> Float[Tensor, "M K h w"]:
    """Largest cosine similarity of each query cell to the cells of a support, scaled to 0..1 in each map.

    Args:
        query: high-level features.
        support: high-level features of the foreground, 0 elsewhere. Cells of 0 have similarity 0 and take part in the
            maximum. A support of zeros gives a prior of zeros.
    """
    cells, others = query.flatten(2), support.flatten(3)
    if query.device.type != "cpu" or torch.compiler.is_exporting():
        best = _cosine(cells.unsqueeze(1), others).amax(-1)
    else:
        each = [torch.stack([_largest(one, shot) for shot in shots]) for one, shots in zip(cells, others, strict=True)]
        best = torch.stack(each)
    least, most = best.amin(-1, keepdim=True), best.amax(-1, keepdim=True)
    scaled: Tensor = ((best - least) / (most - least + _EPS)).unflatten(-1, query.shape[-2:])
    return scaled


def _largest(query: Float[Tensor, "C n"], support: Float[Tensor, "C m"]) -> Float[Tensor, " n"]:
    """Largest cosine, without products with cells of 0: the object is a small part of most supports."""
    shown = support.any(0)
    cosine = _cosine(query, support[:, shown])
    zero = cosine.new_zeros(len(cosine), 0 if shown.all() else 1)
    return torch.cat([cosine, zero], dim=-1).amax(-1)


def _cosine(query: Float[Tensor, "*#b C n"], support: Float[Tensor, "*#b C m"]) -> Float[Tensor, "*#b n m"]:
    norms: Tensor = query.norm(dim=-2).unsqueeze(-1) * support.norm(dim=-2).unsqueeze(-2)
    return query.transpose(-2, -1) @ support / (norms + _EPS)
