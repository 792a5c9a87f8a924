"""Resizing or tiling of images of any size for a method."""

from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np
from torch import Tensor

from fsseg import limits
from fsseg.episode import IGNORE, Image, Mask
from fsseg.episodes.transforms import resize_image, resize_mask
from fsseg.errors import FssegError

_LEAST = 32  # pixels of a side, at least one feature cell of a network with stride 32
_OVERLAP = 8  # the margin of a tile that its neighbours predict is an eighth of its side; our choice
VIEWS = ((1.0, True), (1.4, False), (1.4, True))  # further views of a query: scale, and whether mirrored; our choice

Fit = Literal["square", "long_side", "tile"]


class Canvas(NamedTuple):
    """Size and shape of images for a method.

    Attributes:
        size: pixels of a side.
        fit: ``square``: resize both sides to ``size``, as in training and tests. ``long_side``: resize the longer side
            to ``size`` and preserve proportions. ``tile``: do not resize, but cut into overlapping squares.
    """

    size: int
    fit: Fit = "square"

    def checked(self) -> "Canvas":
        """The canvas itself.

        Raises:
            FssegError: the size is too small or no integer, or the fit is unknown.
        """
        if not isinstance(self.size, int):
            raise FssegError(f"size {self.size}: an integer number of pixels is needed.")
        limits.check({"size": self.size}, {"size": limits.SIDE._replace(least=_LEAST)}, "{}")
        if self.fit not in get_args(Fit):
            raise FssegError(f"fit {self.fit!s:.20}: one of {', '.join(get_args(Fit))} is needed.")
        return self

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a resized image; for ``tile`` the image's own size."""
        if self.fit == "square":
            return self.size, self.size
        if self.fit == "tile":
            return height, width
        scale = self.size / max(height, width)
        return max(_LEAST, round(scale * height)), max(_LEAST, round(scale * width))

    def scaled(self, factor: float) -> "Canvas":
        """The canvas with another size; the same one for ``tile``, which does not resize."""
        return self if self.fit == "tile" else self._replace(size=round(factor * self.size))

    def windows(self, height: int, width: int) -> list["Window"]:
        """The parts of an image; one part, unless the image is cut into tiles."""
        if self.fit != "tile":
            return [Window(slice(0, height), slice(0, width), slice(0, height), slice(0, width))]
        rows, columns = _cuts(height, self.size), _cuts(width, self.size)
        return [Window(row, column, own, other) for row, own in rows for column, other in columns]


class Window(NamedTuple):
    """A part of an image, and the region whose prediction is taken from this part.

    Attributes:
        rows: rows of the part.
        columns: columns of the part.
        own_rows: rows whose prediction is taken from this part; the others are nearer to the centre of another part.
        own_columns: columns whose prediction is taken from this part.
    """

    rows: slice
    columns: slice
    own_rows: slice
    own_columns: slice

    def own(self, prediction: Tensor) -> Tensor:
        """The own region ``... h w`` of a prediction ``... H W`` of the part."""
        top, left = self.own_rows.start - self.rows.start, self.own_columns.start - self.columns.start
        height, width = self.own_rows.stop - self.own_rows.start, self.own_columns.stop - self.own_columns.start
        return prediction[..., top : top + height, left : left + width]


def show(image: Image, canvas: Canvas) -> Image:
    """An image or a part of one, resized for a query, without padding."""
    size = canvas.shown(*image.shape[:2])
    return image if size == image.shape[:2] else resize_image(image, size)


def fill(image: Image, canvas: Canvas, colour: Image) -> Image:
    """An image or a part of one, resized for a support and padded to a square.

    All supports need one size. The encoder's mean as ``colour`` becomes zeros, the padding value of convolutions.
    """
    shown = show(image, canvas)
    if shown.shape[:2] == (canvas.size, canvas.size):
        return shown
    filled = np.empty((canvas.size, canvas.size, 3), dtype=np.uint8)
    filled[:] = colour
    filled[: shown.shape[0], : shown.shape[1]] = shown
    return filled


def fill_mask(mask: Mask, canvas: Canvas) -> Mask:
    """Resize and pad a mask like its image in `fill`; padding is 255."""
    size = canvas.shown(*mask.shape)
    shown = mask if size == mask.shape else resize_mask(mask, size)
    filled = np.full((canvas.size, canvas.size), IGNORE, dtype=np.uint8)
    filled[: shown.shape[0], : shown.shape[1]] = shown
    return filled


def _cuts(length: int, side: int) -> list[tuple[slice, slice]]:
    """Overlapping parts of a length, and the own range of each part."""
    if length <= side:
        return [(slice(0, length), slice(0, length))]
    margin = side // _OVERLAP
    count = -(-(length - 2 * margin) // (side - 2 * margin))
    starts = [round(i * (length - side) / (count - 1)) for i in range(count)]
    borders = [0, *((a + side + b) // 2 for a, b in pairwise(starts)), length]
    return [(slice(s, s + side), slice(a, b)) for s, (a, b) in zip(starts, pairwise(borders), strict=True)]
