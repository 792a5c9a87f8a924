"""Feature enrichment of PFENet: query, prototype and prior meet at several sizes, from fine to coarse."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.errors import FssegError


class FeatureEnrichment(nn.Module):
    """Merges the query with prototype and prior at each bin, and passes the result on to the next bin.

    A bin is a size: the query is averaged to ``n x n`` cells. As in the official code, the next bin takes the feature
    of the bin before it after this was resized to the query's grid.

    Args:
        channels: C of query and prototype.
        bins: number of cells n of each bin; entries up to 1 are fractions of the grid's height and width.
    """

    def __init__(self, channels: int, bins: Sequence[float]) -> None:
        super().__init__()
        if not bins or min(bins) <= 0 or any(size > 1 and size != int(size) for size in bins):
            raise FssegError(f"bins {list(bins)}; give whole numbers of cells, or fractions of the grid up to 1.")
        self.bins = tuple(bins)
        self.merge = nn.ModuleList(_convolution(2 * channels + 1, channels, 1) for _ in bins)
        self.alpha = nn.ModuleList(_convolution(2 * channels, channels, 1) for _ in bins[1:])
        self.beta = nn.ModuleList(
            nn.Sequential(*_convolution(channels, channels, 3), *_convolution(channels, channels, 3)) for _ in bins
        )

    def forward(
        self, query: Float[Tensor, "M C h w"], prototype: Float[Tensor, "M C"], prior: Float[Tensor, "M 1 h w"]
    ) -> tuple[list[Float[Tensor, "M C _ _"]], Float[Tensor, "M D h w"]]:
        """The feature of each bin, and all of them at the query's grid, concatenated."""
        grid = (query.shape[-2], query.shape[-1])
        features: list[Tensor] = []
        resized: list[Tensor] = []
        for i, size in enumerate(self.bins):
            cells = (_cells(size, grid[0]), _cells(size, grid[1]))
            pooled = _pooled(query, cells)
            tiled = prototype[:, :, None, None].expand_as(pooled)
            x = self.merge[i](torch.cat([pooled, tiled, resize(prior, cells)], dim=1))
            if i:
                x = x + self.alpha[i - 1](torch.cat([x, resize(resized[-1], cells)], dim=1))
            x = x + self.beta[i](x)
            features.append(x)
            resized.append(resize(x, grid))
        return features, torch.cat(resized, dim=1)


def _pooled(feature: Float[Tensor, "M C h w"], cells: tuple[int, int]) -> Float[Tensor, "M C _ _"]:
    """Adaptive average pooling; in an export by matrices, because torch's would fix the size of the map."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(feature, cells)
    rows, columns = (_means(*pair, feature) for pair in zip(cells, feature.shape[-2:], strict=True))
    return rows @ feature @ columns.T


def _means(cells: int, side: int, like: Tensor) -> Float[Tensor, "n side"]:
    """Weights of the means of adaptive pooling along one axis: cell i has the places i s / n up to (i + 1) s / n."""
    number, place = torch.arange(cells, device=like.device)[:, None], torch.arange(side, device=like.device)
    first, end = number * side // cells, -((-(number + 1) * side) // cells)
    inside = ((place >= first) & (place < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def resize(feature: Float[Tensor, "M C _ _"], size: tuple[int, int]) -> Float[Tensor, "M C _ _"]:
    """Bilinear resizing, align_corners=True, as everywhere in PFENet's code."""
    if not torch.compiler.is_exporting() and (feature.shape[-2], feature.shape[-1]) == size:
        return feature  # an export would fix the size by the comparison
    return F.interpolate(feature, size, mode="bilinear", align_corners=True)


def _cells(size: float, side: int) -> int:
    return max(int(side * size), 1) if size <= 1 else int(size)


def _convolution(width: int, channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, channels, kernel, padding=kernel // 2, bias=False), nn.ReLU(inplace=True))
