"""Losses of logits and episode labels. A mean over pixels counts the pixels of all processes."""

from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F

from fsseg.episode import IGNORE
from fsseg.processes import rank_and_count

LossMean = Literal["episodes", "pixels"]


def upsample(
    logits: Float[Tensor, "*b L h w"], size: tuple[int, int], align_corners: bool = False
) -> Float[Tensor, "*b L H W"]:
    """Logits at pixel resolution, bilinear.

    Args:
        logits: one map per episode label.
        size: ``(H, W)``.
        align_corners: False in the codes of PANet, PMMs and SG-One, True in that of CANet.
    """
    flat = logits.reshape(-1, *logits.shape[-3:])
    large = F.interpolate(flat, size=size, mode="bilinear", align_corners=align_corners)
    return large.reshape(*logits.shape[:-2], *size)


def cross_entropy(
    logits: Float[Tensor, "B *b L H W"], mask: Integer[Tensor, "B *b H W"], mean: LossMean = "episodes"
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the pixels that are not ignored.

    ``episodes``: a mean per episode, then over episodes, so that every episode has the same weight. ``pixels``: one
    mean over all labelled pixels of the batch (the codes of PMMs and CANet, and PANet's for larger batches), so that
    an episode with few labelled pixels has less weight. Both are equal if no pixel is ignored.

    With several processes, both equal the loss of one process that has all episodes of the step.

    Args:
        logits: one map per episode label, in float32 or wider.
        mask: episode labels; 255 is ignored. If all pixels are ignored, the loss is 0, not NaN.
        mean: ``episodes`` or ``pixels``.
    """
    losses, valid = _pixel_losses(logits, mask)
    if mean == "pixels":
        return losses.sum() / _mean_over_processes(valid.sum()).clamp(min=1 / rank_and_count()[1])
    return (losses.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)).mean()


def cross_entropy_per_image(logits: Float[Tensor, "*b L H W"], mask: Integer[Tensor, "*b H W"]) -> Float[Tensor, "*b"]:
    """Cross-entropy like `cross_entropy`, with one mean per image."""
    losses, valid = _pixel_losses(logits, mask)
    return losses.sum((-2, -1)) / valid.sum((-2, -1)).clamp(min=1)


def _pixel_losses(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    flat = logits.reshape(-1, *logits.shape[-3:])
    labels = mask.reshape(-1, *mask.shape[-2:]).long()
    losses = F.cross_entropy(flat, labels, ignore_index=IGNORE, reduction="none")
    return losses.reshape(mask.shape), (mask != IGNORE).to(torch.int64)


def _mean_over_processes(pixels: Tensor) -> Tensor:
    """Mean number of labelled pixels per process. Gradients averaged over processes then have one common divisor."""
    _, processes = rank_and_count()
    if processes == 1:
        return pixels
    total = pixels.clone()
    dist.all_reduce(total)
    return total / processes
