import pytest
import torch

from fsseg.ops.guided_filter import guided_filter


def window_by_window(guide, values, radius, eps):
    """The filter of the paper, one window at a time."""
    height, width = guide.shape[1:]
    slope, offset = torch.zeros(len(values), 3, height, width), torch.zeros(len(values), height, width)

    def window(y, x):
        return slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)

    for y in range(height):
        for x in range(width):
            colours, inside = guide[:, *window(y, x)].flatten(1), values[:, *window(y, x)].flatten(1)
            apart = colours - colours.mean(1, keepdim=True)
            variance = apart @ apart.T / colours.shape[1] + eps * torch.eye(3)
            slope[:, :, y, x] = torch.linalg.solve(variance, apart @ inside.T / colours.shape[1]).T
            offset[:, y, x] = inside.mean(1) - slope[:, :, y, x] @ colours.mean(1)
    found = torch.zeros_like(values)
    for y in range(height):
        for x in range(width):
            own = window(y, x)
            found[:, y, x] = slope[:, :, *own].mean((2, 3)) @ guide[:, y, x] + offset[:, *own].mean((1, 2))
    return found


@pytest.mark.parametrize("radius", [0, 1, 4, 40])
def test_is_the_papers_filter(radius):
    guide, values = torch.rand(3, 13, 17), torch.randn(2, 13, 17)
    expected = window_by_window(guide, values, radius, 1e-2)
    torch.testing.assert_close(guided_filter(guide, values, radius, 1e-2), expected, atol=2e-5, rtol=1e-4)


def test_values_move_to_the_borders_of_the_image():
    guide = torch.zeros(3, 64, 64)
    guide[:, :, 30:] = 1
    coarse = torch.full((1, 64, 64), -1.0)
    coarse[:, :, 36:] = 1  # six pixels beside the border
    for step in (1, 2):
        found = guided_filter(guide, coarse, 16, 1e-3, step) > 0
        assert (found[0, 16:48] == (guide[0, 16:48] > 0)).float().mean() > 0.97


def test_any_size_is_subsampled():
    for size in ((5, 7), (1, 30), (33, 64)):
        assert guided_filter(torch.rand(3, *size), torch.randn(1, *size), 6, 1e-3, 3).isfinite().all()
