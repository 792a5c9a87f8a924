"""How an image of any size comes before a method, and how its answer gets back to that size."""

from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np
from torch import Tensor

from fsseg import limits
from fsseg.datasets.base import Image, Mask
from fsseg.episode import IGNORE
from fsseg.episodes.transforms import resize_image, resize_mask
from fsseg.errors import FssegError

_LEAST = 32  # pixels that a network is shown
_OVERLAP = 8  # the margin of a tile that its neighbours answer is an eighth of it


Fit = Literal["square", "long_side", "tile"]


class Canvas(NamedTuple):
    """The form in which images are shown to a method.

    Attributes:
        size: pixels of a side.
        fit: ``square``: resized to that, whatever its proportions, as methods are trained and tested.
            ``long_side``: its longer side is resized to that, and proportions are kept.
            ``tile``: not resized, but cut into overlapping squares of that side.
    """

    size: int
    fit: Fit = "square"

    def checked(self) -> "Canvas":
        """Itself.

        Raises:
            FssegError: a size that is too small, or an unknown form.
        """
        if not isinstance(self.size, int):
            raise FssegError(f"size {self.size}: a whole number of pixels is needed.")
        limits.check({"size": self.size}, {"size": limits.SIDE._replace(least=_LEAST)}, "")
        if self.fit not in get_args(Fit):
            raise FssegError(f"fit {self.fit!s:.20}: one of {', '.join(get_args(Fit))} is needed.")
        return self

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which an image of a size is shown; of a tile, that of the whole image."""
        if self.fit == "square":
            return self.size, self.size
        if self.fit == "tile":
            return height, width
        scale = self.size / max(height, width)
        return max(_LEAST, round(scale * height)), max(_LEAST, round(scale * width))

    def windows(self, height: int, width: int) -> list["Window"]:
        """The parts that an image is shown in; one, the whole, where it is not cut into tiles."""
        if self.fit != "tile":
            return [Window(slice(0, height), slice(0, width), slice(0, height), slice(0, width))]
        rows, columns = _cuts(height, self.size), _cuts(width, self.size)
        return [Window(row, column, own, other) for row, own in rows for column, other in columns]


class Window(NamedTuple):
    """A part of an image, and what of it is the part's own to answer.

    Attributes:
        rows: of the part.
        columns: likewise.
        own_rows: those whose answer is taken from this part; the other ones are nearer to the middle of another.
        own_columns: likewise.
    """

    rows: slice
    columns: slice
    own_rows: slice
    own_columns: slice

    def own(self, answer: Tensor) -> Tensor:
        """The own part ``... h w`` of an answer ``... H W`` on the whole part."""
        top, left = self.own_rows.start - self.rows.start, self.own_columns.start - self.columns.start
        height, width = self.own_rows.stop - self.own_rows.start, self.own_columns.stop - self.own_columns.start
        return answer[..., top : top + height, left : left + width]


def show(image: Image, canvas: Canvas) -> Image:
    """An image, or a part of one, as a query is shown: resized, not filled up."""
    size = canvas.shown(*image.shape[:2])
    return image if size == image.shape[:2] else resize_image(image, size)


def fill(image: Image, canvas: Canvas, colour: Image) -> Image:
    """An image, or a part of one, as a support is shown: resized, and filled up to the square with a colour.

    Supports of a class must be of one size, as those of an episode are. The encoder's mean colour becomes the zeros
    that convolutions pad with.
    """
    shown = show(image, canvas)
    if shown.shape[:2] == (canvas.size, canvas.size):
        return shown
    filled = np.empty((canvas.size, canvas.size, 3), dtype=np.uint8)
    filled[:] = colour
    filled[: shown.shape[0], : shown.shape[1]] = shown
    return filled


def fill_mask(mask: Mask, canvas: Canvas) -> Mask:
    """A support's mask where `fill` puts its image; what is filled up is 255."""
    size = canvas.shown(*mask.shape)
    shown = mask if size == mask.shape else resize_mask(mask, size)
    filled = np.full((canvas.size, canvas.size), IGNORE, dtype=np.uint8)
    filled[: shown.shape[0], : shown.shape[1]] = shown
    return filled


def _cuts(length: int, side: int) -> list[tuple[slice, slice]]:
    """Overlapping parts of a length, and which of it each answers."""
    if length <= side:
        return [(slice(0, length), slice(0, length))]
    margin = side // _OVERLAP
    count = -(-(length - 2 * margin) // (side - 2 * margin))
    starts = [round(i * (length - side) / (count - 1)) for i in range(count)]
    borders = [0, *((a + side + b) // 2 for a, b in pairwise(starts)), length]
    return [(slice(s, s + side), slice(a, b)) for s, (a, b) in zip(starts, pairwise(borders), strict=True)]
