"""The decoder of FCN-32s, and annotations at its cells (Long et al., "Fully Convolutional Networks", CVPR 2015).

FCN-32s pads its images, so that cell i of a map has its centre at pixel ``32 i + 31.5`` minus an offset. Its decoder is
a transposed convolution with a bilinear kernel, from which the image's size is cut out. This is not bilinear
interpolation to the image's size: logits fall to 0 within the first 32 pixels, and within the last ones.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

STRIDE = 32


def bilinear_kernel(device: torch.device | None = None) -> Float[Tensor, "W W"]:
    """Kernel of bilinear upsampling by 32, 64 x 64; its largest value is nearly 1."""
    side = 1 - (torch.arange(2 * STRIDE, dtype=torch.float32, device=device) - STRIDE + 0.5).abs() / STRIDE
    return side[:, None] * side


def upscore(logits: Float[Tensor, "*b L h w"], size: tuple[int, int], offset: int = 0) -> Float[Tensor, "*b L H W"]:
    """Logits at pixel resolution.

    Args:
        logits: maps of FCN-32s, one per label.
        size: ``(H, W)`` of the image.
        offset: first row and column that are cut out.
    """
    flat = logits.reshape(-1, 1, *logits.shape[-2:])
    kernel = bilinear_kernel(logits.device).to(logits.dtype)[None, None]
    large = F.conv_transpose2d(flat, kernel, stride=STRIDE)
    cut = large[:, :, offset : offset + size[0], offset : offset + size[1]]
    return cut.reshape(*logits.shape[:-2], *size)


def at_cells(mask: Float[Tensor, "*b H W"]) -> Float[Tensor, "*b h w"]:
    """A mask at the cells of FCN-32s without offset: a weighted mean with the decoder's kernel (guided networks)."""
    flat = F.pad(mask.reshape(-1, 1, *mask.shape[-2:]), (0, STRIDE - 1, 0, STRIDE - 1))
    kernel = bilinear_kernel(mask.device)
    small = F.conv2d(flat, (kernel / kernel.sum())[None, None], stride=STRIDE)
    return small.reshape(*mask.shape[:-2], *small.shape[-2:])
