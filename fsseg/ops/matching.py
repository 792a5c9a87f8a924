"""Dense comparison of a query with support vectors (CANet; P-Match of PMMs, section 3.3, eq. 6).

The papers tile a vector over the query's map, concatenate both and convolve. A convolution is linear, so the result is
the convolution of the query plus the convolution of a constant map. The latter is one matrix product per vector, since
it only varies where the kernel crosses the border. So one convolution serves any number of vectors.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.ops.blocks import DROPOUT, Ending, ending

DILATION = 2  # of the 3x3 convolution in the codes of CANet, PMMs and RPMMs


class DenseComparison(nn.Module):
    """Dilated 3x3 convolution of ``[query, tiled vector]``, 2C -> C, with an ending; shared by all vectors.

    Args:
        channels: ``C`` of query, vectors and result.
        kind: layers after the convolution.
        dropout: probability of dropping a channel.
    """

    def __init__(self, channels: int, kind: Ending, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.channels = channels
        self.convolution = nn.Conv2d(2 * channels, channels, 3, padding=DILATION, dilation=DILATION)
        self.ending = ending(kind, channels, dropout)

    def forward(
        self, query: Float[Tensor, "M C h w"], vectors: Float[Tensor, "M P C"]
    ) -> list[Float[Tensor, "M C h w"]]:
        """One comparison per vector. BatchNorm and dropout run once per vector, as in the codes."""
        weight_query, weight_vector = self.convolution.weight.split(self.channels, dim=1)
        compared = F.conv2d(query, weight_query, self.convolution.bias, padding=DILATION, dilation=DILATION)
        taps = torch.einsum("mpc,ocij->mpoij", vectors, weight_vector)
        rows, columns = (_inside(n, query) for n in query.shape[-2:])
        constant = torch.einsum("mpoij,iy,jx->pmoyx", taps, rows, columns)
        return [self.ending(compared + tile) for tile in constant]


def _inside(cells: int, like: Tensor) -> Float[Tensor, "3 n"]:
    """1 if a tap of the kernel, centred on a cell, is inside the map, else 0; taps x cells along one axis."""
    place = torch.arange(cells, device=like.device)
    reached = place + DILATION * torch.arange(-1, 2, device=like.device).unsqueeze(1)
    return ((reached >= 0) & (reached < cells)).to(like.dtype)
