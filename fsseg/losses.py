"""Losses: pure functions of logits and episode labels."""

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F

from fsseg.episode import IGNORE


def upsample(
    logits: Float[Tensor, "*b L h w"], size: tuple[int, int], align_corners: bool = False
) -> Float[Tensor, "*b L H W"]:
    """Logits at pixel resolution, bilinear.

    Args:
        logits: one map per episode label.
        size: ``(H, W)``.
        align_corners: False in PANet, PMMs and SG-One, True in CANet, for losses and predictions alike.
    """
    flat = logits.reshape(-1, *logits.shape[-3:])
    large = F.interpolate(flat, size=size, mode="bilinear", align_corners=align_corners)
    return large.reshape(*logits.shape[:-2], *size)


def cross_entropy(logits: Float[Tensor, "B *b L H W"], mask: Integer[Tensor, "B *b H W"]) -> Float[Tensor, ""]:
    """Mean cross-entropy over the pixels of an episode that are not ignored, averaged over episodes.

    So a batch trains as its episodes one by one would on average (the code of PANet has batches of one), whatever
    processes they are dealt out to. Where no pixel is ignored, that is the mean over all pixels.

    Args:
        logits: one map per episode label, in float32 or wider.
        mask: episode labels; 255 is ignored. Of an episode where everything is ignored the loss is 0, not NaN.
    """
    losses, valid = _pixel_losses(logits, mask)
    return (losses.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)).mean()


def cross_entropy_per_image(logits: Float[Tensor, "*b L H W"], mask: Integer[Tensor, "*b H W"]) -> Float[Tensor, "*b"]:
    """Like `cross_entropy`, but one mean per image."""
    losses, valid = _pixel_losses(logits, mask)
    return losses.sum((-2, -1)) / valid.sum((-2, -1)).clamp(min=1)


def _pixel_losses(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    flat = logits.reshape(-1, *logits.shape[-3:])
    labels = mask.reshape(-1, *mask.shape[-2:]).long()
    losses = F.cross_entropy(flat, labels, ignore_index=IGNORE, reduction="none")
    return losses.reshape(mask.shape), (mask != IGNORE).to(torch.int64)
