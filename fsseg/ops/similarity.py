"""Cosine similarity of features and prototypes, and of features among each other."""

from jaxtyping import Float
from torch import Tensor, einsum
from torch.nn import functional as F

_SAMPLE = 512  # cells whose distances are measured, a limit of time
_LEAST = 1e-3  # smallest median distance


def cosine_similarity(
    feature: Float[Tensor, "*#b C h w"], prototype: Float[Tensor, "*#b L C"], eps: float = 1e-8
) -> Float[Tensor, "*#b L h w"]:
    """Cosine similarity of every feature cell and every prototype.

    Args:
        feature: feature maps.
        prototype: ``L`` vectors per map; a zero vector has similarity 0 everywhere.
        eps: smallest norm (torch's default, which PANet's code uses).

    Returns:
        One map per prototype, in -1..1.
    """
    # Dividing the product by the features' norms avoids a normalised copy of the features.
    product = einsum("...chw,...lc->...lhw", feature, F.normalize(prototype, dim=-1, eps=eps))
    similarity: Tensor = product / feature.norm(dim=-3, keepdim=True).clamp(min=eps)
    return similarity


def median_distance(sample: Float[Tensor, "M n C"]) -> Float[Tensor, " M"]:
    """Median of ``1 - cos`` over pairs of cells of unit length, of at most 512 cells at equal steps."""
    some = sample[:, :: max(1, -(-sample.shape[1] // _SAMPLE))]
    distance = (1 - some @ some.mT).flatten(1)
    return distance.sort(dim=1).values[:, distance.shape[1] // 2].clamp(min=_LEAST)
