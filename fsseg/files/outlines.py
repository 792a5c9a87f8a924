"""Outlines of regions as labelling programs draw them, from which the same pixels can be painted again."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw

from fsseg.files.marks import Points
from fsseg.files.run_lengths import Region


def parts_of(region: Region) -> Iterator[tuple[int, int, Region]]:
    """Connected parts of a region ``H W``: row and column of the upper left corner, and the pixels from there.

    Pixels that touch at a corner only are two parts.
    """
    from scipy.ndimage import find_objects, label  # imported late, because the import is slow

    numbers, _ = label(region)
    for number, place in enumerate(find_objects(numbers), 1):
        yield place[0].start, place[1].start, numbers[place] == number


def outline_of(part: Region) -> Points:
    """The outline of a connected part between its pixels; holes are joined to it by bridges, walked twice (even-odd).

    pycocotools fills exactly the part (`fsseg.files.marks.fill_outline`).
    """
    loops = sorted(_loops(part), key=lambda loop: -abs(_area(loop)))
    outer = loops[0]
    found = [*outer]
    for hole in loops[1:]:
        found += [outer[0], *hole, hole[0]]
    return [*found, outer[0]] if len(loops) > 1 else found


def polygon_of(part: Region) -> Points | None:
    """The corners of a part as pixels, as labelme draws it; None if no polygon paints exactly the part, e.g. a hole."""
    import cv2  # imported late, like in `fsseg.datasets.coco_masks`

    contours, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = [(float(x), float(y)) for x, y in contours[0][:, 0].tolist()]
    if len(contours) > 1 or len(points) < 3:
        return None
    drawn = PIL.Image.new("1", (part.shape[1], part.shape[0]))
    PIL.ImageDraw.Draw(drawn).polygon(points, fill=1)
    return points if np.array_equal(np.asarray(drawn), part) else None


def _loops(part: Region) -> Iterator[Points]:
    """Closed walks along the sides of pixels, with the part to the right."""
    inside = np.pad(part, 1)
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for away, start, step in (((-1, 0), (0, 0), (0, 1)), ((0, 1), (0, 1), (1, 0)), ((1, 0), (1, 1), (0, -1)),
                              ((0, -1), (1, 0), (-1, 0))):  # fmt: skip
        border = inside & ~np.roll(inside, (-away[0], -away[1]), (0, 1))
        for row, column in np.argwhere(border).tolist():
            steps.setdefault((row - 1 + start[0], column - 1 + start[1]), []).append(step)
    while steps:
        first = here = next(iter(steps))
        way = steps[here][0]
        loop: Points = []
        while True:
            ways = steps[here]
            # Where two pixels touch at a corner, the walk turns right and stays with its pixel.
            turn = (way[1], -way[0])
            chosen = turn if len(ways) > 1 and turn in ways else ways[0]
            if chosen != way or not loop:
                loop.append((float(here[1]), float(here[0])))
            ways.remove(chosen)
            if not ways:
                del steps[here]
            here, way = (here[0] + chosen[0], here[1] + chosen[1]), chosen
            if here == first:
                break
        yield loop


def _area(loop: Points) -> float:
    corners: npt.NDArray[np.float64] = np.array(loop)
    x, y = corners[:, 0], corners[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
