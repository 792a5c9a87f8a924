"""Centre-pivot 4D convolution (Min et al., ICCV 2021), and encoders of it.

A correlation has the axes ``B hq wq hs ws C``. With the channels innermost, both planes are batches of images for 2-D
convolutions in channels-last order: the support plane without a copy, the query plane with a copy of whole vectors.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.ops.hypercorrelation import Correlation, ImagePair, hypercorrelation, per_image, traced

_BLOCK = 2**21  # correlations that are computed and convolved together on a CPU: they stay in its cache
_BLOCK_GPU = 2**27


class CentrePivotConv4d(nn.Module):
    """Sum of a convolution of the query plane and one of the support plane (equation 8), each with its own bias.

    The kernel has weights where one of its two halves is at its centre. Both planes are padded by half a kernel.

    Args:
        inputs: channels of the correlation.
        outputs: channels of the result.
        kernel: odd side of both kernels.
        stride: stride on the support plane. The convolution of the query plane takes place at the support cells
            ``0, stride, 2 stride, ...``.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.query = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.support = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.stride = stride

    def forward(self, correlation: Correlation | ImagePair) -> Float[Tensor, "B hq wq u v O"]:
        """The convolved correlation, or the convolved `hypercorrelation` of two images."""
        if isinstance(correlation, ImagePair):
            return self._of_images(correlation)
        result = self._query_plane(correlation[:, :, :, :: self.stride, :: self.stride])
        result += self._support_plane(correlation)
        return result

    def _of_images(self, pair: ImagePair) -> Float[Tensor, "B hq wq u v O"]:
        # The correlations at the kept support cells are computed a second time, in the memory order that the query
        # plane needs: this takes less time than a copy of the large tensor. Without gradients, the large tensor exists
        # in blocks only.
        query, support = pair
        kept = [one[..., :: self.stride, :: self.stride] for one in support]
        result = self._query_plane(hypercorrelation(kept, query).permute(0, 3, 4, 1, 2, 5))
        if torch.is_grad_enabled() or traced():
            result += self._support_plane(hypercorrelation(query, support))
            return result
        most = _BLOCK if result.device.type == "cpu" else _BLOCK_GPU
        size = support[0].shape[-2:]
        rows = max(1, most // (size.numel() * len(support)))
        for image, products in zip(result.flatten(1, 2), per_image(query, support), strict=True):
            block: Tensor | None = None
            for start in range(0, len(image), rows):
                block = products.rows(start, start + rows, block)
                each = block.unflatten(2, size).permute(0, 2, 3, 1)
                image[start : start + rows] += self._support_plane(each[:, None, None]).flatten(0, 2)
        return result

    def _query_plane(self, kept: Float[Tensor, "B hq wq u v C"]) -> Float[Tensor, "B hq wq u v O"]:
        lead = kept.shape[0], kept.shape[3], kept.shape[4]
        images = kept.permute(0, 3, 4, 1, 2, 5).reshape(-1, kept.shape[1], kept.shape[2], kept.shape[5])
        convolved = self.query(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        found: Tensor = convolved.reshape(*lead, *convolved.shape[1:]).permute(0, 3, 4, 1, 2, 5)
        return found.contiguous()

    def _support_plane(self, full: Correlation) -> Float[Tensor, "B hq wq u v O"]:
        lead, (height, width, channels) = full.shape[:3], full.shape[3:]
        if height * width <= self.support.kernel_size[0] ** 2:
            # On a small grid most of a kernel lies outside: the convolution is a matrix product with less work.
            rows = full.reshape(-1, height * width * channels)
            found = F.linear(rows, *self._matrix(height, width))
            return found.view(*lead, -(-height // self.stride), -(-width // self.stride), -1)
        images = full.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        convolved: Tensor = self.support(images).permute(0, 2, 3, 1)
        return convolved.reshape(*lead, *convolved.shape[1:])

    def _matrix(self, height: int, width: int) -> tuple[Float[Tensor, "uvO hwC"], Float[Tensor, " uvO"]]:
        """Weight and bias of the linear layer that equals the support plane's convolution on a grid."""
        weight = self.support.weight
        rows, columns = (self._taps(side).to(weight.device) for side in (height, width))
        padded = F.pad(weight, (0, 1, 0, 1))  # the tap after the last one is 0
        taps = padded[:, :, rows[:, :, None, None], columns[None, None]]  # O C u h v w
        matrix = taps.permute(2, 4, 0, 3, 5, 1).flatten(3).flatten(0, 2)
        bias = self.support.bias
        return matrix, bias.repeat(len(rows) * len(columns))  # type: ignore[union-attr]

    def _taps(self, side: int) -> Tensor:
        """The tap of the kernel between each output and each input of an axis; outside it is ``kernel``."""
        kernel = self.support.kernel_size[0]
        inputs, outputs = torch.arange(side), torch.arange(0, side, self.stride)
        tap = inputs - outputs[:, None] + kernel // 2
        return tap.where((tap >= 0) & (tap < kernel), kernel)


class ChannelNorm(nn.GroupNorm):
    """GroupNorm of a correlation, whose channels are its last axis."""

    def forward(self, input: Correlation) -> Correlation:
        """The normalised correlation."""
        # torch's GroupNorm in channels-last order sums rows one by one: over 400,000 cells it is off by 1e-4.
        flat = input.to(torch.promote_types(input.dtype, torch.float32)).flatten(1, 4)
        mean = flat.mean(1, keepdim=True)
        centred = flat - mean
        grouped = mean.unflatten(2, (self.num_groups, -1))
        offset = grouped - grouped.mean(3, keepdim=True)
        variance = centred.square().mean(1, keepdim=True).view_as(grouped) + offset.square()
        scale = (variance.mean(3, keepdim=True) + self.eps).rsqrt() * self.weight.view(self.num_groups, -1)
        shift = offset * scale + self.bias.view(self.num_groups, -1)
        normed: Tensor = torch.addcmul(shift.flatten(2), centred, scale.flatten(2))
        return normed.view(input.shape)


class PivotEncoder(nn.Sequential):
    """Centre-pivot convolutions, each with GroupNorm and ReLU.

    Args:
        widths: channels before and after each convolution.
        kernels: kernel of each convolution.
        strides: stride on the support plane of each convolution.
        groups: groups of each GroupNorm.
    """

    def __init__(self, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int], groups: int = 4) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in zip(widths, widths[1:], kernels, strides, strict=False):
            layers += [
                CentrePivotConv4d(inputs, outputs, kernel, stride),
                ChannelNorm(groups, outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


def resize_query_plane(correlation: Correlation, size: tuple[int, int]) -> Float[Tensor, "B u v hs ws C"]:
    """A correlation at another size of the query plane, bilinear with ``align_corners=True``."""
    inner = correlation.shape[3:]
    flat = correlation.flatten(3).permute(0, 3, 1, 2)
    large = F.interpolate(flat, size=size, mode="bilinear", align_corners=True)
    return large.permute(0, 2, 3, 1).reshape(len(large), *size, *inner)
