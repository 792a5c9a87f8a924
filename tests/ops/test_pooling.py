import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fsseg.ops.pooling import adjoint_weights, cell_average_pool, mask_at_cells, masked_average_pool

# (h, w) of features, (H, W) of the mask; 53 <-> 417 is PANet's own size.
SIZES = [((7, 7), (49, 49)), ((14, 14), (105, 105)), ((5, 9), (33, 70)), ((8, 8), (8, 8)), ((9, 9), (4, 6)),
         ((1, 1), (12, 12)), ((53, 53), (417, 417))]  # fmt: skip


@pytest.mark.parametrize(("cells", "pixels"), SIZES)
def test_equals_the_average_of_upsampled_features(cells: tuple[int, int], pixels: tuple[int, int]) -> None:
    feature, mask = torch.randn(2, 3, *cells), (torch.rand(2, *pixels) < 0.3).float()
    large = F.interpolate(feature, size=pixels, mode="bilinear", align_corners=False)
    expected = (large * mask.unsqueeze(1)).sum((2, 3)) / (mask.sum((1, 2)).unsqueeze(1) + 1e-5)
    torch.testing.assert_close(masked_average_pool(feature, mask), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("cells", "pixels"), SIZES)
def test_weights_sum_to_the_masks_pixels(cells: tuple[int, int], pixels: tuple[int, int]) -> None:
    mask = (torch.rand(pixels) < 0.5).float()
    assert adjoint_weights(mask, cells).sum().item() == pytest.approx(mask.sum().item(), rel=1e-5)


def test_gradients_equal_those_of_upsampled_features() -> None:
    feature, mask = torch.randn(1, 4, 6, 6, dtype=torch.float32, requires_grad=True), torch.zeros(1, 41, 41)
    mask[:, 5:20, 11:30] = 1
    direction = torch.randn(1, 4)
    large = F.interpolate(feature, size=(41, 41), mode="bilinear", align_corners=False)
    expected = ((large * mask).sum((2, 3)) / (mask.sum() + 1e-5) * direction).sum()
    ours = (masked_average_pool(feature, mask) * direction).sum()
    first, second = (torch.autograd.grad(value, feature)[0] for value in (ours, expected))
    torch.testing.assert_close(first, second)


def test_an_empty_mask_gives_the_zero_vector() -> None:
    feature = torch.randn(2, 3, 5, 5, requires_grad=True)
    mask = torch.zeros(2, 20, 20)
    mask[1, 3, 3] = 1
    pooled = masked_average_pool(feature, mask)
    assert pooled[0].tolist() == [0, 0, 0]
    assert pooled[1].abs().min() > 0
    pooled.sum().backward()
    assert feature.grad.isfinite().all()


def test_leading_dimensions_are_maps_of_their_own() -> None:
    feature, mask = torch.randn(2, 3, 4, 5, 6, 6), (torch.rand(2, 3, 4, 30, 30) < 0.5).float()
    pooled = masked_average_pool(feature, mask)
    torch.testing.assert_close(pooled[1, 2, 3], masked_average_pool(feature[1, 2, 3], mask[1, 2, 3]))


def test_works_after_a_first_use_under_inference_mode() -> None:
    with torch.inference_mode():
        masked_average_pool(torch.randn(1, 2, 3, 3), torch.ones(1, 19, 19))
    feature = torch.randn(1, 2, 3, 3, requires_grad=True)
    masked_average_pool(feature, torch.ones(1, 19, 19)).sum().backward()
    assert feature.grad is not None


@pytest.mark.parametrize(("cells", "pixels"), SIZES)
def test_a_mask_at_cells_is_linear_between_aligned_corners(cells: tuple[int, int], pixels: tuple[int, int]) -> None:
    mask = torch.rand(2, 3, *pixels)
    small = mask_at_cells(mask, cells)
    assert small.shape == (2, 3, *cells)
    # np.interp along either axis, corner on corner; one cell alone lies on the first pixel.
    rows, columns = (np.linspace(0, n - 1, m) if m > 1 else np.zeros(1) for m, n in zip(cells, pixels, strict=True))
    whole = mask[1, 2].double().numpy()
    by_rows = np.stack([np.interp(rows, np.arange(pixels[0]), column) for column in whole.T], axis=1)
    expected = np.stack([np.interp(columns, np.arange(pixels[1]), row) for row in by_rows])
    np.testing.assert_allclose(small[1, 2].numpy(), expected, atol=1e-4 if pixels[0] > 400 else 1e-5)


def test_a_mask_of_the_features_size_is_left_as_it_is() -> None:
    mask = torch.rand(2, 5, 7)
    torch.testing.assert_close(mask_at_cells(mask, (5, 7)), mask, rtol=0, atol=1e-7)


def test_cell_average_is_a_weighted_mean_over_cells() -> None:
    feature, mask = torch.randn(2, 3, 4, 5), torch.rand(2, 25, 33)
    pooled, small = cell_average_pool(feature, mask), mask_at_cells(mask, (4, 5))
    for b in range(2):
        total, area = np.zeros(3), 0.0
        for y, x in np.ndindex(4, 5):
            weight = small[b, y, x].item()
            total, area = total + weight * feature[b, :, y, x].double().numpy(), area + weight
        np.testing.assert_allclose(pooled[b].numpy(), total / (area + 5e-4), rtol=1e-5, atol=1e-6)


def test_cell_average_of_an_empty_mask_is_the_zero_vector() -> None:
    feature = torch.randn(1, 3, 5, 5, requires_grad=True)
    pooled = cell_average_pool(feature, torch.zeros(1, 20, 20))
    assert pooled.tolist() == [[0, 0, 0]]
    pooled.sum().backward()
    assert feature.grad.isfinite().all()
