"""Sizes of images and masks of an episode, and the meaning of void pixels."""

from typing import NamedTuple

import numpy as np

from fsseg.episode import IGNORE, Image, Mask
from fsseg.episodes.transforms import opencv_image, opencv_mask, resize_image, resize_mask, resize_mask_by_corners
from fsseg.protocols.protocol import Nearest, Resize, Truth, Void

_CELL = 8  # sides of resized images are multiples of 8 before padding, as in PFENet's transform.py


class View(NamedTuple):
    """Resizes images and masks for a method, and true masks for the evaluation.

    Attributes:
        size: side of the square that images are resized to; None for the images' own sizes.
        resize: see `Protocol`.
        truth: size of the true masks, see `Protocol.evaluate_at`.
        support_void: meaning of pixels labelled 255 in supports.
        query_void: meaning of pixels labelled 255 in queries.
        foreground: class ids whose pixels all are label 1, in place of each episode's classes; empty for these.
        nearest: see `Protocol.mask_nearest`.
    """

    size: int | None
    resize: Resize = "stretch"
    truth: Truth = "input"
    support_void: Void = "ignore"
    query_void: Void = "ignore"
    foreground: tuple[int, ...] = ()
    nearest: Nearest = "centre"

    def void(self, mask: Mask, role: str) -> Mask:
        """A mask with void pixels relabelled for the role ``support`` or ``query``."""
        policy = self.support_void if role == "support" else self.query_void
        return mask * (mask != IGNORE) if policy == "background" else mask  # background is 0

    def image(self, image: Image) -> Image:
        """The image at the size that the method gets."""
        if self.size is None:
            return image
        if self.resize == "stretch":
            return resize_image(image, (self.size, self.size))
        return _padded(opencv_image(image, fitted(image.shape[:2], self.size)), self.size, fill=0)

    def no_channel(self, image: Image) -> Image:
        """An array ``H W 0`` of the size that `image` gives."""
        return np.empty((*((self.size, self.size) if self.size else image.shape[:2]), 0), dtype=np.uint8)

    def mask(self, mask: Mask) -> Mask:
        """The mask, resized like its image; padding is IGNORE (255)."""
        if self.size is None:
            return mask
        if self.resize == "stretch":
            stretch = resize_mask if self.nearest == "centre" else resize_mask_by_corners
            return stretch(mask, (self.size, self.size))
        return _padded(opencv_mask(mask, fitted(mask.shape, self.size)), self.size, fill=IGNORE)

    def true_mask(self, mask: Mask) -> Mask:
        """The mask that a prediction is compared with.

        If images are padded to a square, so is the mask, with IGNORE (PFENet's test.py).
        """
        if self.truth == "input":
            return self.mask(mask)
        if self.truth == "resampled":
            mask = resampled(mask, self.mask(mask))
        return _padded(mask, max(mask.shape), fill=IGNORE) if self.size and self.resize == "pad" else mask

    def true_image(self, image: Image) -> Image:
        """The image at the size of its true mask; what is padded is black."""
        if self.truth == "input" or not self.size:
            return self.image(image)
        return _padded(image, max(image.shape[:2]), fill=0) if self.resize == "pad" else image


def fitted(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """``(height, width)`` of an image resized to a longer side of ``size``, rounded down to multiples of 8 (PFENet)."""
    height, width = shape[:2]
    scale = size / max(height, width)
    long = size // _CELL * _CELL
    short = [max(_CELL, int(side * scale) // _CELL * _CELL) for side in (height, width)]
    return (long, short[1]) if height >= width else (short[0], long)


def resampled(mask: Mask, resized: Mask) -> Mask:
    """Resize a resized mask back to its own size by torch's ``nearest``, as PMMs' test.py does with the true mask.

    This changes 0.3 to 0.4 % of the pixels of VOC's masks.
    """
    rows, columns = (np.arange(side) * small // side for side, small in zip(mask.shape, resized.shape, strict=True))
    back: Mask = resized[rows[:, None], columns]
    return back


def _padded(array: Image | Mask, size: int, fill: int) -> Image | Mask:
    """Pad an image or a mask to a square, right and bottom."""
    square = np.full((size, size, *array.shape[2:]), fill, dtype=np.uint8)
    square[: array.shape[0], : array.shape[1]] = array
    return square
