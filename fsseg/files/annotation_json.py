"""Masks from a JSON file of polygons, boxes, lines and points.

Two formats are supported. The format of the labelling program labelme::

    {"shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[10, 20], [90, 80]]}, ...]}

and a short format::

    {"boxes": [{"class": "cat", "box": [10, 20, 90, 80]}], "points": [{"class": "background", "point": [5, 5]}]}

Coordinates are pixels from the upper left corner, ``x`` first. A box is ``left, top, right, bottom``. A rectangle has
two opposite corners, or all four. A label is a class name, ``background`` (labelme: ``_background_``) or ``ignore``
(``__ignore__``). Polygons, circles and labelme's masks are exact; boxes, lines and points are weak annotations. If a
file has a polygon, a circle, a mask or a box, all pixels outside are background. If it has only lines and points, all
other pixels are unlabelled (255).
"""

import base64
import io
from collections.abc import Mapping
from math import hypot, isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw

from fsseg.episode import BACKGROUND, IGNORE, MOST_CLASSES, ClassMap
from fsseg.errors import FssegError
from fsseg.files.images import opened
from fsseg.files.names import plain
from fsseg.untrusted.text import decoded, load_json

_KINDS = {
    "polygon": "polygon", "circle": "circle", "rectangle": "box", "line": "line", "linestrip": "line",
    "point": "point", "points": "point", "mask": "mask", "rotation": "polygon", "quadrilateral": "polygon",
    "oriented_rectangle": "polygon", None: "polygon",
}  # fmt: skip
_LEAST = {"polygon": 3, "circle": 2, "box": 2, "mask": 2, "line": 2, "point": 1}  # points that a shape needs
_ORDER = ("box", "polygon", "mask", "circle", "line", "point")  # later kinds are painted over earlier ones
_AREAS = ("box", "polygon", "mask", "circle")
_WEAK = ("box", "line", "point")
_BACKGROUNDS, _IGNORES = ("background", "_background_"), ("ignore", "__ignore__")
_FAR = 1e5  # largest extent of a shape in sides of the image; PIL's integers overflow beyond
_VOID = MOST_CLASSES + 1  # label of ignored pixels before painting
_CORNER = 1.0  # tolerance for the corners of a rectangle, in pixels
_BRUSH = 0.012  # width of lines and points, as a share of the longer side; chosen by eye


Points = list[tuple[float, float]]  # x, y


class Mark(NamedTuple):
    """A shape and its label."""

    kind: str
    label: int
    points: Points
    region: npt.NDArray[np.bool_] | None = None  # of a mask, whose upper left corner is the first point


class Marks(NamedTuple):
    """The shapes of an annotation JSON.

    Attributes:
        path: of the file.
        marks: in the file's order.
        weak: whether boxes, lines or points are among the shapes.
        size: ``(height, width)`` of the annotated image, if the file holds it.
    """

    path: Path
    marks: list[Mark]
    weak: bool
    size: tuple[int, int] | None = None

    def paint(self, height: int, width: int) -> ClassMap:
        """The mask: class ids, 0 background, 255 unlabelled (65535 if a class id is above 254).

        Raises:
            FssegError: the file belongs to an image of another size, or a shape lies outside the image or has
                fractions as coordinates.
        """
        if self.size is not None and self.size != (height, width):
            raise FssegError(
                f"mask {self.path} is for a {self.size[1]}x{self.size[0]} image, its image is {width}x{height}. "
                "Replace one."
            )
        for mark in self.marks:
            if not _reaches(mark, height, width):
                raise FssegError(f"mask {self.path}: a {mark.kind} lies outside the {width}x{height} image. Fix it.")
            if _in_fractions(mark):
                raise FssegError(
                    f"mask {self.path}: a {mark.kind} is smaller than a pixel; its coordinates seem to be fractions of "
                    f"the image. Pixels are needed: multiply x by {width} and y by {height}."
                )
        areas = not self.marks or any(mark.kind in _AREAS for mark in self.marks)
        deep = any(IGNORE <= mark.label < _VOID for mark in self.marks)
        void = _VOID if deep else IGNORE
        picture = PIL.Image.new("I" if deep else "L", (width, height), BACKGROUND if areas else void)
        draw = PIL.ImageDraw.Draw(picture)
        brush = max(3, round(_BRUSH * max(height, width)))
        for mark in sorted(self.marks, key=_depth):
            if mark.region is not None:
                corner = round(mark.points[0][0]), round(mark.points[0][1])
                picture.paste(min(mark.label, void), corner, PIL.Image.fromarray(mark.region))
            else:
                _paint(draw, mark._replace(label=min(mark.label, void)), brush)
        return np.asarray(picture).astype(np.uint16) if deep else np.asarray(picture)


def read_marks(path: Path, ids: Mapping[str, int]) -> Marks:
    """Read an annotation JSON.

    Args:
        path: of the file.
        ids: class ids by name.

    Raises:
        FssegError: the file is missing or has neither format, a label or kind of shape is unknown, or a shape lacks
            points.
    """
    try:
        content = load_json(decoded(path.read_bytes()))
    except FileNotFoundError as error:
        raise FssegError(f"mask {path} is missing. Put it there, or remove its image.") from error
    except (OSError, ValueError) as error:
        raise FssegError(f"mask {path} is no complete JSON file: {error}.") from error
    marks = [_mark(path, item, ids) for item in _items(path, content)]
    if not marks and "shapes" not in content:  # labelme writes an empty list for an image that shows no class
        raise FssegError(f"mask {path} marks nothing: shapes, boxes or points are needed.")
    return Marks(path, marks, any(mark.kind in _WEAK for mark in marks), _size(content))


def _size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """``(height, width)`` of the image, as labelme writes it; None if the file does not hold it."""
    size = content.get("imageHeight"), content.get("imageWidth")
    return (size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None


def _reaches(mark: Mark, height: int, width: int) -> bool:
    """Whether the bounding box of a shape meets the image, and is not larger than `_FAR` images."""
    reach = 0.0
    if mark.kind == "circle":
        reach = hypot(*(a - b for a, b in zip(*mark.points[:2], strict=True)))
    places = mark.points[:1] if mark.kind == "circle" else mark.points
    for values, side in zip(zip(*places, strict=True), (width, height), strict=True):
        low, high = min(values) - reach, max(values) + reach
        if high < 0 or low > side or high - low > _FAR * side:
            return False
    return True


def _in_fractions(mark: Mark) -> bool:
    """Whether all coordinates lie in 0..1, or an area is narrower and lower than a pixel."""
    if mark.region is not None:
        return False
    values = [value for point in mark.points for value in point]
    if min(values) >= 0 and max(values) <= 1 and (mark.kind != "point" or any(value % 1 for value in values)):
        return True
    sides = [max(along) - min(along) for along in zip(*mark.points, strict=True)]
    return mark.kind in _AREAS and max(sides) < 1


def _items(path: Path, content: Any) -> list[dict[str, Any]]:
    """Shapes of both formats, in labelme's format."""
    if not isinstance(content, dict) or not {"shapes", "boxes", "points"} & content.keys():
        raise FssegError(f"mask {path} has neither shapes (labelme) nor boxes or points.")
    try:
        items = [dict(shape) for shape in content.get("shapes") or []]
        for box in content.get("boxes") or []:
            left, top, right, bottom = box["box"]
            corners = [[left, top], [right, bottom]]
            items.append({"label": box["class"], "shape_type": "rectangle", "points": corners})
        for point in content.get("points") or []:
            items.append({"label": point["class"], "shape_type": "point", "points": [point["point"]]})
    except (KeyError, TypeError, ValueError) as error:
        needed = 'a box needs "class" and "box": [left, top, right, bottom], a point "class" and "point": [x, y]'
        raise FssegError(f"mask {path}: {needed}.") from error
    return items


def _mark(path: Path, item: Mapping[str, Any], ids: Mapping[str, int]) -> Mark:
    name, shape = item.get("label"), item.get("shape_type")
    name = plain(name) if isinstance(name, str) else name
    kind = _KINDS.get(shape) if isinstance(shape, str | None) else None
    if kind is None:
        raise FssegError(f"mask {path}: shape {shape!r} is none of {', '.join(filter(None, _KINDS))}.")
    if name in _BACKGROUNDS or name in _IGNORES:
        label = BACKGROUND if name in _BACKGROUNDS else _VOID
    elif isinstance(name, str) and name in ids:
        label = ids[name]
    else:
        raise FssegError(f"mask {path}: {name!r} is no class. Use one of {', '.join(ids)}, or background, or ignore.")
    try:
        points = [(float(x), float(y)) for x, y in item["points"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FssegError(f"mask {path}: a {shape} of {name} has no list of points [x, y].") from error
    if len(points) < _LEAST[kind] or not all(isfinite(value) for point in points for value in point):
        raise FssegError(f"mask {path}: a {shape} of {name} needs {_LEAST[kind]} points or more of finite numbers.")
    if kind == "circle" and len(points) > _LEAST[kind]:
        raise FssegError(f"mask {path}: a {shape} of {name} has {len(points)} points; centre and edge are needed.")
    if kind == "mask":
        return Mark(kind, label, points, _region(path, item, name, points))
    return Mark(kind, label, _corners(path, name, points) if kind == "box" else points)


class _Embedded(io.BytesIO):
    """An image in a JSON file, with a name for errors."""

    def __str__(self) -> str:
        return "its region"


def _region(path: Path, item: Mapping[str, Any], name: object, points: Points) -> npt.NDArray[np.bool_]:
    """The region of labelme's shape ``mask``: an image as base64 text, between two corners that belong to it.

    Raises:
        FssegError: the shape has no such image, or an image of another size.
    """
    try:
        content = base64.b64decode(item["mask"])
    except (KeyError, TypeError, ValueError) as error:
        raise FssegError(f"mask {path}: a mask of {name} has no image as base64 text (mask). Save it again.") from error
    with opened(_Embedded(content), f"mask {path}: a mask of {name}:") as picture:
        region: npt.NDArray[np.bool_] = np.asarray(picture.convert("L")) > 0
    (left, top), (right, bottom) = points[:2]
    if max(abs(right - left + 1 - region.shape[1]), abs(bottom - top + 1 - region.shape[0])) > _CORNER:
        height, width = region.shape
        raise FssegError(f"mask {path}: a mask of {name} is {width}x{height}, its corners are not. Save it again.")
    return region


def _corners(path: Path, name: object, points: Points) -> Points:
    """Upper left and lower right corner of a rectangle.

    Raises:
        FssegError: the points are neither two corners nor the four corners of an upright rectangle.
    """
    (left, right), (top, bottom) = ((min(along), max(along)) for along in zip(*points, strict=True))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    near = [[max(abs(x - a), abs(y - b)) <= _CORNER for x, y in points] for a, b in corners]
    upright = len(points) == len(corners) and all(any(row) for row in near) and all(map(any, zip(*near, strict=True)))
    if len(points) != _LEAST["box"] and not upright:
        raise FssegError(
            f"mask {path}: a rectangle of {name} has {len(points)} points that are not the corners of an upright "
            "rectangle. Give two opposite corners, or use a polygon."
        )
    return [(left, top), (right, bottom)]


def _depth(mark: Mark) -> tuple[int, float]:
    """Sort key for painting: boxes first, from large to small, then the other kinds in `_ORDER`."""
    (left, top), (right, bottom) = mark.points[0], mark.points[-1]
    area = abs((right - left) * (bottom - top)) if mark.kind == "box" else 0.0
    return _ORDER.index(mark.kind), -area


def _paint(draw: PIL.ImageDraw.ImageDraw, mark: Mark, brush: int) -> None:
    if mark.kind == "polygon":
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
