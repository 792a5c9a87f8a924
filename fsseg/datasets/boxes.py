"""Boxes of the instances of a class, and the weak mask that a person's box gives."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.episode import BACKGROUND, IGNORE, void_of

Region = npt.NDArray[np.bool_]  # H W

_EIGHT = np.ones((3, 3), dtype=int)  # neighbours of a pixel


class Box(NamedTuple):
    """The box of an instance; bottom and right are the first row and column beyond it.

    Attributes:
        top: first row.
        left: first column.
        bottom: row below.
        right: column behind.
        pixels: of the instance.
    """

    top: int
    left: int
    bottom: int
    right: int
    pixels: int


def boxes_of(instances: npt.NDArray[np.integer], region: Region) -> list[Box]:
    """Boxes of the instances of a class, in ascending order of their numbers.

    Args:
        instances: ``H W`` instance numbers, 0 for none and 255 (of 16 bits: 65535) for void.
        region: pixels of the class; an instance counts where it overlaps with them, and with that part only.
    """
    from scipy.ndimage import find_objects  # late: slower to import than all else here

    void = void_of(instances) if instances.dtype == np.uint16 else IGNORE
    own = np.where(region & (instances != void), instances, 0)
    found = []
    for number, place in enumerate(find_objects(own), 1):
        if place is not None:
            rows, columns = place
            pixels = int((own[place] == number).sum())
            found.append(Box(rows.start, columns.start, rows.stop, columns.stop, pixels))
    return found


def parts(region: Region) -> list[Box]:
    """Boxes of a region's connected parts, taken for instances where a data set knows none."""
    from scipy.ndimage import find_objects, label

    numbered, _ = label(region, structure=_EIGHT)
    return [
        Box(rows.start, columns.start, rows.stop, columns.stop, int((numbered[rows, columns] == number).sum()))
        for number, (rows, columns) in enumerate(find_objects(numbered), 1)
    ]


def box_mask(
    shape: tuple[int, ...], boxes: list[Box], own: int, random: np.random.Generator | None = None
) -> npt.NDArray[np.uint8]:
    """One box as the class, what is outside all boxes as background; the rest of the boxes is 255.

    Args:
        shape: ``(height, width)``.
        boxes: of all instances of the class.
        own: label of the class.
        random: chooses the box; the one with the most pixels, the first of them, where it is not given.
    """
    annotated = np.full(shape, BACKGROUND, dtype=np.uint8)
    for box in boxes:
        annotated[box.top : box.bottom, box.left : box.right] = IGNORE
    if boxes:
        chosen = boxes[random.integers(len(boxes))] if random else max(boxes, key=lambda box: box.pixels)
        annotated[chosen.top : chosen.bottom, chosen.left : chosen.right] = own
    return annotated
