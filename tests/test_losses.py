from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch.nn import functional as F

from fsseg.encoders import ConvNet
from fsseg.episode import Batch
from fsseg.losses import LossMean, cross_entropy, cross_entropy_per_image, upsample
from fsseg.methods import CANet, PANet, PMMs, RPMMs, SGOne


def example() -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    mask = torch.randint(0, 4, (2, 3, 5, 6))
    mask[torch.rand(mask.shape) < 0.3] = 255
    return logits, mask


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_cross_entropy_is_torchs_of_each_episode(dtype: torch.dtype) -> None:
    logits, mask = example()
    each = [F.cross_entropy(maps, labels, ignore_index=255) for maps, labels in zip(logits, mask, strict=True)]
    expected = torch.stack(each).mean()
    loss = cross_entropy(logits, mask.to(dtype))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    ours, theirs = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_a_mean_over_pixels_is_torchs_of_the_whole_batch() -> None:
    logits, mask = example()
    mask[0, :, :3] = 255  # one episode has fewer labels, so that the two means differ
    expected = F.cross_entropy(logits.flatten(0, 1), mask.flatten(0, 1), ignore_index=255)
    loss = cross_entropy(logits, mask, "pixels")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert cross_entropy(logits, mask).item() != pytest.approx(expected.item(), rel=1e-4)
    ours, theirs = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("mean", get_args(LossMean))
def test_without_ignored_pixels_cross_entropy_is_the_mean_over_all(mean: LossMean) -> None:
    logits, mask = example()
    mask[mask == 255] = 0
    expected = F.cross_entropy(logits.flatten(0, 1), mask.flatten(0, 1))
    assert cross_entropy(logits, mask, mean).item() == pytest.approx(expected.item(), rel=1e-6)


def test_methods_whose_papers_train_on_batches_take_the_mean_over_pixels(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(episodes=2)
    batch.query_mask[0, :, :20] = 255
    for method in (PMMs, RPMMs, CANet):
        made = method(ConvNet(), channels=8, dropout=0.0).eval()
        logits, labels = made(batch).flatten(0, 1), batch.query_mask.flatten(0, 1).long()
        losses = made.loss(batch)
        expected = F.cross_entropy(logits, labels, ignore_index=255).item()
        assert list(losses.values())[-1].item() == pytest.approx(expected, rel=1e-5), method  # of the last stage
    assert {PANet(ConvNet()).loss_mean, SGOne(ConvNet(), guidance=8, channels=8).loss_mean} == {"episodes"}


def test_cross_entropy_per_image_is_torchs_of_each_image() -> None:
    logits, mask = example()
    losses = cross_entropy_per_image(logits, mask)
    for b in range(2):
        for q in range(3):
            expected = F.cross_entropy(logits[b, q].unsqueeze(0), mask[b, q].unsqueeze(0), ignore_index=255)
            assert losses[b, q].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [cross_entropy, lambda *pair: cross_entropy(*pair, "pixels"), lambda *pair: cross_entropy_per_image(*pair).sum()],
)
def test_where_everything_is_ignored_loss_and_gradient_are_zero(loss) -> None:
    logits, mask = example()
    value = loss(logits, torch.full_like(mask, 255))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


def test_upsampling_is_bilinear_without_aligned_corners() -> None:
    logits = torch.randn(2, 3, 4, 5, 6)
    large = upsample(logits, (11, 17))
    assert large.shape == (2, 3, 4, 11, 17)
    for b in range(2):
        expected = F.interpolate(logits[b], size=(11, 17), mode="bilinear", align_corners=False)
        torch.testing.assert_close(large[b], expected)


def test_upsampling_with_aligned_corners_keeps_the_corners() -> None:
    logits = torch.randn(2, 3, 4, 5, 6)
    large = upsample(logits, (9, 21), align_corners=True)
    assert large.shape == (2, 3, 4, 9, 21)
    # Aligned, every second row and fourth column is one of the small map's.
    torch.testing.assert_close(large[..., ::2, ::4], logits)
    torch.testing.assert_close(large[..., 1, 0], (logits[..., 0, 0] + logits[..., 1, 0]) / 2)
    for b in range(2):
        expected = F.interpolate(logits[b], size=(9, 21), mode="bilinear", align_corners=True)
        torch.testing.assert_close(large[b], expected)
