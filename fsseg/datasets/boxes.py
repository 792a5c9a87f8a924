"""Boxes of the instances of a class, and the weak mask of one box."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.episode import BACKGROUND, IGNORE, void_of

Region = npt.NDArray[np.bool_]  # H W

_EIGHT = np.ones((3, 3), dtype=int)  # a pixel and its 8 neighbours


class Box(NamedTuple):
    """The box of an instance.

    Attributes:
        top: first row.
        left: first column.
        bottom: last row plus 1.
        right: last column plus 1.
        pixels: number of pixels of the instance.
    """

    top: int
    left: int
    bottom: int
    right: int
    pixels: int


def boxes_of(instances: npt.NDArray[np.integer], region: Region) -> list[Box]:
    """Boxes of the instances of a class, in ascending order of instance numbers.

    Args:
        instances: ``H W`` instance numbers; 0 is no instance, 255 (of 16 bits: 65535) is ignored.
        region: ``H W``, pixels of the class; only the part of an instance inside the region counts.
    """
    from scipy.ndimage import find_objects  # imported late, because the import is slow

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
    """Boxes of the connected parts of a region, for data sets without instance annotations."""
    from scipy.ndimage import find_objects, label

    numbered, _ = label(region, structure=_EIGHT)
    return [
        Box(rows.start, columns.start, rows.stop, columns.stop, int((numbered[rows, columns] == number).sum()))
        for number, (rows, columns) in enumerate(find_objects(numbered), 1)
    ]


def box_mask(
    shape: tuple[int, ...], boxes: list[Box], own: int, random: np.random.Generator | None = None
) -> npt.NDArray[np.uint8]:
    """Weak mask ``H W``: one box is the class, the other boxes are 255, the pixels outside all boxes are background.

    Args:
        shape: ``(height, width)``.
        boxes: of all instances of the class.
        own: label of the class.
        random: chooses the box. None: the box whose instance has the most pixels, the first one of a tie.
    """
    annotated = np.full(shape, BACKGROUND, dtype=np.uint8)
    for box in boxes:
        annotated[box.top : box.bottom, box.left : box.right] = IGNORE
    if boxes:
        chosen = boxes[random.integers(len(boxes))] if random else max(boxes, key=lambda box: box.pixels)
        annotated[chosen.top : chosen.bottom, chosen.left : chosen.right] = own
    return annotated
