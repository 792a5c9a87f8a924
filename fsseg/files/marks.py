"""Shapes of labelling programs, and the masks that they paint."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, hypot, isfinite
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw
from pycocotools import mask as rle

from fsseg.episode import BACKGROUND, IGNORE, MOST_CLASSES, ClassMap
from fsseg.errors import FssegError
from fsseg.files.run_lengths import Code, Region, decode

Points = list[tuple[float, float]]  # x, y in pixels

# Points that a shape of each kind needs. An outline is a polygon between pixels: 0 is the left edge of the first pixel,
# and the width is the right edge of the last one, as in COCO. The corners of a polygon are pixels, as in labelme.
LEAST = {"polygon": 3, "outline": 3, "circle": 2, "box": 2, "mask": 2, "line": 2, "point": 1}
_ORDER = ("box", "polygon", "outline", "mask", "circle", "line", "point")  # later kinds are painted over earlier ones
_AREAS = ("box", "polygon", "outline", "mask", "circle")
_WEAK = ("box", "line", "point")
_BACKGROUNDS, _IGNORES = ("background", "_background_"), ("ignore", "__ignore__")
_FAR = {"outline": 10.0}  # largest extent of a shape in sides of the image; pycocotools needs memory for each pixel
_FARTHEST = 1e5  # of the other kinds; PIL's integers overflow beyond
_LONGEST = 5e7  # pixels along an outline: 1 GB in pycocotools
_VOID = MOST_CLASSES + 1  # label of ignored pixels before painting
_BRUSH = 0.012  # width of lines and points, as a share of the longer side; chosen by eye


class Shape(NamedTuple):
    """A shape in a file of a labelling program.

    Attributes:
        label: name of its class, ``background`` (labelme: ``_background_``) or ``ignore`` (``__ignore__``).
        kind: a key of `LEAST`.
        points: see `LEAST`; of a box, two opposite corners; of a circle, its centre and a point of its edge.
        region: of a mask, encoded, since a file may have many; its upper left corner is the first point.
        group: number or text that the shapes of one object share.
    """

    label: str
    kind: str
    points: Points
    region: Code | None = None
    group: int | str | None = None


class Mark(NamedTuple):
    """A shape with a class id as label; the other fields are those of `Shape`."""

    kind: str
    label: int
    points: Points
    region: Code | None = None
    group: int | str | None = None


class Marks(NamedTuple):
    """The shapes of an image.

    Attributes:
        where: names their file, for errors.
        marks: in the file's order.
        weak: whether boxes, lines or points are among the shapes.
        size: ``(height, width)`` of the annotated image, if the file holds it.
    """

    where: object
    marks: list[Mark]
    weak: bool
    size: tuple[int, int] | None = None

    def paint(self, height: int, width: int, only: int | None = None) -> ClassMap:
        """The mask: class ids, 0 background, 255 unlabelled (65535 if a class id is above 254).

        If an area is among the shapes, or there is no shape, all pixels outside are background. Lines and points alone
        leave all other pixels unlabelled.

        Args:
            height: of the image.
            width: of the image.
            only: class id to paint, with background and ignored shapes. None paints all classes.

        Raises:
            FssegError: the file belongs to an image of another size, or a shape lies outside the image or has
                fractions as coordinates.
        """
        self.check(height, width)
        marks = [mark for mark in self.marks if only is None or mark.label in (BACKGROUND, _VOID, only)]
        areas = not self.marks or any(mark.kind in _AREAS for mark in self.marks)
        deep = any(IGNORE <= mark.label < _VOID for mark in marks)
        void = _VOID if deep else IGNORE
        brush = max(3, round(_BRUSH * max(height, width)))
        picture = PIL.Image.new("I" if deep else "L", (width, height), BACKGROUND if areas else void)
        for mark in sorted(marks, key=_depth):
            _paint(picture, mark._replace(label=min(mark.label, void)), brush)
        return np.asarray(picture).astype(np.uint16) if deep else np.asarray(picture)

    def check(self, height: int, width: int) -> None:
        """Refuse shapes of an image of another size, outside of the image, or in fractions, see `paint`."""
        if self.size is not None and self.size != (height, width):
            turned = " Is the image rotated (EXIF)? Annotate the upright image." if self.size == (width, height) else ""
            raise FssegError(
                f"mask {self.where} is for a {self.size[1]}x{self.size[0]} image, its image is {width}x{height}. "
                f"Replace one.{turned}"
            )
        for mark in self.marks:
            if not _reaches(mark, height, width):
                raise FssegError(f"mask {self.where}: a {mark.kind} lies outside the {width}x{height} image. Fix it.")
            if _in_fractions(mark):
                raise FssegError(
                    f"mask {self.where}: a {mark.kind} is smaller than a pixel; its coordinates seem to be fractions "
                    f"of the image. Pixels are needed: multiply x by {width} and y by {height}."
                )


def marks_of(where: object, shapes: Iterable[Shape], ids: Mapping[str, int], size: tuple[int, int] | None) -> Marks:
    """Shapes with class ids.

    Args:
        where: names the file, for errors.
        shapes: of an image.
        ids: class ids by name.
        size: see `Marks`.

    Raises:
        FssegError: a label is unknown, or a shape lacks points or has infinite ones.
    """
    marks = [_mark(where, shape, ids) for shape in shapes]
    return Marks(where, marks, any(mark.kind in _WEAK for mark in marks), size)


def is_class(label: str) -> bool:
    """Whether a label is the name of a class, neither ``background`` nor ``ignore``."""
    return label not in _BACKGROUNDS and label not in _IGNORES


def _mark(where: object, shape: Shape, ids: Mapping[str, int]) -> Mark:
    name, kind, points = shape.label, shape.kind, shape.points
    if name in _BACKGROUNDS or name in _IGNORES:
        label = BACKGROUND if name in _BACKGROUNDS else _VOID
    elif isinstance(name, str) and name in ids:
        label = ids[name]
    else:
        raise FssegError(f"mask {where}: {name!r} is no class. Use one of {', '.join(ids)}, or background, or ignore.")
    if len(points) < LEAST[kind] or not all(isfinite(value) for point in points for value in point):
        raise FssegError(f"mask {where}: a {kind} of {name} needs {LEAST[kind]} points or more of finite numbers.")
    if kind == "circle" and len(points) > LEAST[kind]:
        raise FssegError(f"mask {where}: a {kind} of {name} has {len(points)} points; centre and edge are needed.")
    return Mark(kind, label, points, shape.region, shape.group)


def _reaches(mark: Mark, height: int, width: int) -> bool:
    """Whether the bounding box of a shape meets the image, and is not larger than `_FAR` images."""
    reach = 0.0
    if mark.kind == "circle":
        reach = hypot(*(a - b for a, b in zip(*mark.points[:2], strict=True)))
    places = mark.points[:1] if mark.kind == "circle" else mark.points
    far = _FAR.get(mark.kind, _FARTHEST)
    for values, side in zip(zip(*places, strict=True), (width, height), strict=True):
        low, high = min(values) - reach, max(values) + reach
        if high < 0 or low > side or high - low > far * side:
            return False
    return mark.kind != "outline" or _length(mark.points) <= _LONGEST


def _length(points: Points) -> float:
    """Length of an outline in pixels."""
    corners = np.array(points, dtype=np.float64)
    return float(np.abs(np.diff(corners, axis=0, append=corners[:1])).max(1).sum())


def _in_fractions(mark: Mark) -> bool:
    """Whether all coordinates lie in 0..1, or an area is narrower and lower than a pixel."""
    if mark.region is not None or mark.kind == "outline":  # outlines come from formats with known units
        return False
    values = [value for point in mark.points for value in point]
    if min(values) >= 0 and max(values) <= 1 and (mark.kind != "point" or any(value % 1 for value in values)):
        return True
    sides = [max(along) - min(along) for along in zip(*mark.points, strict=True)]
    return mark.kind in _AREAS and max(sides) < 1


def _depth(mark: Mark) -> tuple[int, float]:
    """Sort key for painting: boxes first, from large to small, then the other kinds in `_ORDER`."""
    (left, top), (right, bottom) = mark.points[0], mark.points[-1]
    area = abs((right - left) * (bottom - top)) if mark.kind == "box" else 0.0
    return _ORDER.index(mark.kind), -area


def _paint(picture: PIL.Image.Image, mark: Mark, brush: int) -> None:
    draw = PIL.ImageDraw.Draw(picture)
    if mark.region is not None or mark.kind == "outline":
        (left, top), region = _placed(mark, picture.height, picture.width)
        picture.paste(mark.label, (left, top), PIL.Image.fromarray(region))
    elif mark.kind == "polygon":
        draw.polygon(mark.points, fill=mark.label)
    elif mark.kind == "circle":
        (x, y), (edge_x, edge_y) = mark.points[:2]
        radius = hypot(edge_x - x, edge_y - y)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=mark.label)
    elif mark.kind == "box":
        (a, b), (c, d) = mark.points[:2]
        # PIL paints the lower right corner too, but a box ends one pixel before its right and lower edge.
        right, bottom = max(min(a, c), max(a, c) - 1), max(min(b, d), max(b, d) - 1)
        draw.rectangle((min(a, c), min(b, d), right, bottom), fill=mark.label)
    elif mark.kind == "line":
        draw.line(mark.points, fill=mark.label, width=brush, joint="curve")
    else:
        for x, y in mark.points:
            draw.ellipse((x - brush / 2, y - brush / 2, x + brush / 2, y + brush / 2), fill=mark.label)


def _placed(mark: Mark, height: int, width: int) -> tuple[tuple[int, int], Region]:
    """Upper left corner and region of a mask or an outline."""
    if mark.region is not None:
        return (round(mark.points[0][0]), round(mark.points[0][1])), np.ascontiguousarray(decode(mark.region))
    return fill_outline(mark.points, height, width)


def fill_outline(points: Points, height: int, width: int) -> tuple[tuple[int, int], Region]:
    """The pixels inside an outline (even-odd), equal to pycocotools' polygons: upper left corner and region.

    Only the part of the image around the outline is painted, since a file may have many small objects.
    """
    along = list(zip(*points, strict=True))
    left, top = (min(max(floor(min(values)), 0), side - 1) for values, side in zip(along, (width, height), strict=True))
    right, bottom = (
        min(max(ceil(max(values)) + 1, first + 1), side)
        for values, first, side in zip(along, (left, top), (width, height), strict=True)
    )
    shifted = np.array(points, dtype=np.float64) - (left, top)
    codes = rle.frPyObjects([shifted.ravel()], bottom - top, right - left)
    return (left, top), np.ascontiguousarray(decode(rle.merge(codes)))


def objects_of(marks: Sequence[Mark]) -> list[list[Mark]]:
    """The areas of classes by object: marks of one group and class belong together; another mark is an object."""
    found: dict[object, list[Mark]] = {}
    for place, mark in enumerate(marks):
        if mark.kind in _AREAS and BACKGROUND < mark.label < _VOID:
            key: object = place if mark.group is None else (mark.label, str(mark.group))
            found.setdefault(key, []).append(mark)
    return list(found.values())
