"""How an episode is shown: the sizes of images and masks, what void is, and what supports are annotated with."""

from typing import NamedTuple

import numpy as np

from fsseg.datasets.base import Image, Mask
from fsseg.episode import IGNORE
from fsseg.episodes.transforms import resize_image, resize_mask
from fsseg.protocols.protocol import Resize, Truth, Void

_CELL = 8  # sides of padded images are multiples of it, as in PFENet's transform.py


class View(NamedTuple):
    """How images and masks become what a method sees, and what its predictions are compared with.

    Attributes:
        size: side of the square that images are resized to; None for the images' own sizes.
        resize: see `Protocol`.
        truth: what predictions are compared with, `Protocol.evaluate_at`.
        support_void: what pixels labelled 255 are in supports.
        query_void: what they are in queries.
    """

    size: int | None
    resize: Resize = "stretch"
    truth: Truth = "input"
    support_void: Void = "ignore"
    query_void: Void = "ignore"

    def void(self, mask: Mask, role: str) -> Mask:
        """A mask whose pixels labelled 255 are what this view says of a ``support`` or ``query``."""
        policy = self.support_void if role == "support" else self.query_void
        return mask * (mask != IGNORE) if policy == "background" else mask  # background is 0

    def image(self, image: Image) -> Image:
        """An image as the network sees it."""
        if self.size is None:
            return image
        if self.resize == "stretch":
            return resize_image(image, (self.size, self.size))
        return _padded(resize_image(image, fitted(image.shape[:2], self.size)), self.size, fill=0)

    def mask(self, mask: Mask) -> Mask:
        """A mask at the size of `image`'s result."""
        if self.size is None:
            return mask
        if self.resize == "stretch":
            return resize_mask(mask, (self.size, self.size))
        return _padded(resize_mask(mask, fitted(mask.shape, self.size)), self.size, fill=IGNORE)

    def true_mask(self, mask: Mask) -> Mask:
        """The mask that a prediction is compared with.

        Where images are padded to a square, so is the truth, with ignored pixels (PFENet's test.py).
        """
        if self.truth == "input":
            return self.mask(mask)
        if self.truth == "resampled":
            mask = resampled(mask, self.mask(mask))
        return _padded(mask, max(mask.shape), fill=IGNORE) if self.size and self.resize == "pad" else mask


def fitted(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """``(height, width)`` of an image whose longer side becomes ``size``, down to multiples of 8 (PFENet)."""
    height, width = shape[:2]
    scale = size / max(height, width)
    long = size // _CELL * _CELL
    short = [max(_CELL, int(side * scale) // _CELL * _CELL) for side in (height, width)]
    return (long, short[1]) if height >= width else (short[0], long)


def resampled(mask: Mask, resized: Mask) -> Mask:
    """A resized mask back at the mask's own size, by torch's ``nearest``: PMMs' ground truth (test.py).

    0.3 to 0.4 % of the pixels of VOC's masks change on the way.
    """
    rows, columns = (np.arange(side) * small // side for side, small in zip(mask.shape, resized.shape, strict=True))
    back: Mask = resized[rows[:, None], columns]
    return back


def _padded(picture: Image | Mask, size: int, fill: int) -> Image | Mask:
    """A picture in the upper left corner of a square."""
    square = np.full((size, size, *picture.shape[2:]), fill, dtype=np.uint8)
    square[: picture.shape[0], : picture.shape[1]] = picture
    return square
