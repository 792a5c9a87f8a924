"""Masked average pooling, at mask resolution (PANet) and at feature resolution (CANet).

PANet (section 3.3, eq. 1; fewshot.py) upsamples features bilinearly to the mask's size and averages them under the
mask. Upsampling is a linear map ``U``, so ``sum_p m_p (U f)_p = sum_c (U^T m)_c f_c``: the adjoint of the upsampling,
applied to the *mask*, gives cell weights with the same average, without upsampled features (512 x 417 x 417 floats per
image). Downsampling the mask is a different function (prototypes differ by 3 to 11 %).
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def _upsampling(cells: int, pixels: int, device: torch.device) -> Tensor:
    """Matrix ``pixels x cells`` of linear interpolation (align_corners=False)."""
    unit = torch.eye(cells, device=device, dtype=torch.float32).unsqueeze(0)
    return F.interpolate(unit, size=pixels, mode="linear", align_corners=False)[0].T.contiguous()


@lru_cache(maxsize=64)
def _cached_upsampling(cells: int, pixels: int, device: torch.device) -> Tensor:
    """`_upsampling`, computed once per size and device."""
    with torch.inference_mode(False), torch.no_grad():
        return _upsampling(cells, pixels, device)


def adjoint_weights(mask: Float[Tensor, "*b H W"], size: tuple[int, int]) -> Float[Tensor, "*b h w"]:
    """Cell weights whose weighted sum of features equals the masked sum of upsampled features.

    Args:
        mask: weight of each pixel.
        size: ``(h, w)`` of the feature map.

    Returns:
        The adjoint of bilinear upsampling (align_corners=False), applied to ``mask``. It preserves the sum.
    """
    # In an export sizes are symbols, which must not enter the cache.
    matrix = _upsampling if torch.compiler.is_exporting() else _cached_upsampling
    rows = matrix(size[0], mask.shape[-2], mask.device)
    columns = matrix(size[1], mask.shape[-1], mask.device)
    return rows.T @ mask @ columns


def masked_average_pool(
    feature: Float[Tensor, "*b C h w"], mask: Float[Tensor, "*b H W"], eps: float = 1e-5
) -> Float[Tensor, "*b C"]:
    """Mean feature under a mask, at mask resolution (PANet, eq. 1).

    Args:
        feature: feature maps.
        mask: weight of each pixel.
        eps: added to the mask's sum (1e-5 in PANet's code); an empty mask gives the zero vector.

    Returns:
        One prototype per map.
    """
    weight = adjoint_weights(mask, (feature.shape[-2], feature.shape[-1]))
    total = torch.einsum("...chw,...hw->...c", feature, weight)
    return total / (mask.sum((-2, -1)).unsqueeze(-1) + eps)


def mask_at_cells(mask: Float[Tensor, "*b H W"], size: tuple[int, int]) -> Float[Tensor, "*b h w"]:
    """A mask at feature resolution with soft borders: bilinear, align_corners=True (codes of PMMs and CANet).

    Args:
        mask: weight of each pixel.
        size: ``(h, w)`` of the feature map.
    """
    flat = mask.reshape(-1, 1, *mask.shape[-2:])
    small = F.interpolate(flat, size=size, mode="bilinear", align_corners=True)
    return small.reshape(*mask.shape[:-2], *size)


def cell_average_pool(
    feature: Float[Tensor, "*b C h w"], mask: Float[Tensor, "*b H W"], eps: float = 5e-4
) -> Float[Tensor, "*b C"]:
    """Mean feature under a mask, at feature resolution (CANet, one_shot_network.py).

    Args:
        feature: feature maps.
        mask: weight of each pixel.
        eps: added to the area (5e-4 in CANet's code); an empty mask gives the zero vector.
    """
    weight = mask_at_cells(mask, (feature.shape[-2], feature.shape[-1]))
    total = torch.einsum("...chw,...hw->...c", feature, weight)
    return total / (weight.sum((-2, -1)).unsqueeze(-1) + eps)


def class_prototypes(
    foreground: Float[Tensor, "B N K C"], background: Float[Tensor, "B N K C"]
) -> Float[Tensor, "B L C"]:
    """Prototypes of background and ways: means over shots, for the background over all ways too."""
    return torch.cat([background.mean((1, 2)).unsqueeze(1), foreground.mean(2)], dim=1)
