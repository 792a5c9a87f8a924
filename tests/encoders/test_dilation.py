import torch
from torch import nn

from fsseg.encoders.dilation import trade_stride_for_dilation


def test_pools_are_dilated_too() -> None:
    """A pool behind a traded stride must look at the cells it looked at before."""
    layers = [nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)]
    plain = nn.Sequential(*layers, nn.MaxPool2d(3, stride=1, padding=1))
    images = torch.randn(1, 3, 64, 64)
    coarse = plain(images)
    # An even window with stride 1 is widened by one cell, so only odd ones stay exact.
    layers[1].kernel_size, layers[1].padding = 3, 1
    exact = plain(images)
    trade_stride_for_dilation(plain, 2, size=64)
    fine = plain(images)
    assert fine.shape[-1] == 2 * coarse.shape[-1]
    torch.testing.assert_close(fine[..., 2:-2:2, 2:-2:2], exact[..., 1:-1, 1:-1])
