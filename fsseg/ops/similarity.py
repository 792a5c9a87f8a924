"""Similarity of features and prototypes."""

from jaxtyping import Float
from torch import Tensor, einsum
from torch.nn import functional as F


def cosine_similarity(
    feature: Float[Tensor, "*#b C h w"], prototype: Float[Tensor, "*#b L C"], eps: float = 1e-8
) -> Float[Tensor, "*#b L h w"]:
    """Cosine of every feature cell with every prototype.

    Args:
        feature: feature maps.
        prototype: ``L`` vectors for each map; the zero vector has similarity 0 everywhere.
        eps: smallest norm (torch's default, used by PANet).

    Returns:
        One map per prototype, -1..1.
    """
    # The product is divided by the features' norms, since features of norm 1 would be a copy of them all.
    product = einsum("...chw,...lc->...lhw", feature, F.normalize(prototype, dim=-1, eps=eps))
    similarity: Tensor = product / feature.norm(dim=-3, keepdim=True).clamp(min=eps)
    return similarity
