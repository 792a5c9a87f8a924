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
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsseg.errors import FssegError
from fsseg.files.images import opened
from fsseg.files.marks import LEAST, Marks, Points, Shape, marks_of
from fsseg.files.names import plain
from fsseg.files.run_lengths import Code, Region, encode
from fsseg.untrusted.text import decoded, load_json

_KINDS = {
    "polygon": "polygon", "circle": "circle", "rectangle": "box", "line": "line", "linestrip": "line",
    "point": "point", "points": "point", "mask": "mask", "rotation": "polygon", "quadrilateral": "polygon",
    "oriented_rectangle": "polygon", None: "polygon",
}  # fmt: skip
_CORNER = 1.0  # tolerance for the corners of a rectangle, in pixels


class ImageShapes(NamedTuple):
    """The shapes of one image, and its ``(height, width)`` if the file holds it."""

    shapes: list[Shape]
    size: tuple[int, int] | None


def read_marks(path: Path, ids: Mapping[str, int]) -> Marks:
    """Read an annotation JSON.

    Args:
        path: of the file.
        ids: class ids by name.

    Raises:
        FssegError: the file is missing or has neither format, a label or kind of shape is unknown, or a shape lacks
            points.
    """
    found = shapes_of(path, read_json(path))
    return marks_of(path, found.shapes, ids, found.size)


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        FssegError: the file is missing, or no JSON.
    """
    try:
        return load_json(decoded(path.read_bytes()))
    except FileNotFoundError as error:
        raise FssegError(f"mask {path} is missing. Put it there, or remove its image.") from error
    except (OSError, ValueError) as error:
        raise FssegError(f"mask {path} is no complete JSON file: {error}.") from error


def shapes_of(path: Path, content: Any) -> ImageShapes:
    """The shapes of an annotation JSON, in both formats.

    Args:
        path: of the file, for errors.
        content: of the file.

    Raises:
        FssegError: see `read_marks`.
    """
    shapes = [_shape(path, item) for item in _items(path, content)]
    if not shapes and "shapes" not in content:  # labelme writes an empty list for an image that shows no class
        raise FssegError(f"mask {path} marks nothing: shapes, boxes or points are needed.")
    return ImageShapes(shapes, _size(content))


def _size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """``(height, width)`` of the image, as labelme writes it; None if the file does not hold it."""
    size = content.get("imageHeight"), content.get("imageWidth")
    return (size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None


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


def _shape(path: Path, item: Mapping[str, Any]) -> Shape:
    name, shape = item.get("label"), item.get("shape_type")
    name = plain(name) if isinstance(name, str) else name
    kind = _KINDS.get(shape) if isinstance(shape, str | None) else None
    if kind is None:
        raise FssegError(f"mask {path}: shape {shape!r} is none of {', '.join(filter(None, _KINDS))}.")
    if not isinstance(name, str):
        raise FssegError(f"mask {path}: {name!r} is no class. Give the shape a label.")
    try:
        points = [(float(x), float(y)) for x, y in item["points"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FssegError(f"mask {path}: a {shape} of {name} has no list of points [x, y].") from error
    if len(points) < LEAST[kind] or not all(isfinite(value) for point in points for value in point):
        raise FssegError(f"mask {path}: a {shape} of {name} needs {LEAST[kind]} points or more of finite numbers.")
    group = item.get("group_id")
    group = group if isinstance(group, int | str) else None
    if kind == "mask":
        return Shape(name, kind, points, _region(path, item, name, points), group)
    return Shape(name, kind, _corners(path, name, points) if kind == "box" else points, None, group)


class _Embedded(io.BytesIO):
    """An image in a JSON file, with a name for errors."""

    def __str__(self) -> str:
        return "its region"


def _region(path: Path, item: Mapping[str, Any], name: object, points: Points) -> Code:
    """The region of labelme's shape ``mask``: an image as base64 text, between two corners that belong to it.

    Raises:
        FssegError: the shape has no such image, or an image of another size.
    """
    try:
        content = base64.b64decode(item["mask"])
    except (KeyError, TypeError, ValueError) as error:
        raise FssegError(f"mask {path}: a mask of {name} has no image as base64 text (mask). Save it again.") from error
    with opened(_Embedded(content), f"mask {path}: a mask of {name}:") as picture:
        region: Region = np.asarray(picture.convert("L")) > 0
    (left, top), (right, bottom) = points[:2]
    if max(abs(right - left + 1 - region.shape[1]), abs(bottom - top + 1 - region.shape[0])) > _CORNER:
        height, width = region.shape
        raise FssegError(f"mask {path}: a mask of {name} is {width}x{height}, its corners are not. Save it again.")
    return encode(region)


def _corners(path: Path, name: object, points: Points) -> Points:
    """Upper left and lower right corner of a rectangle.

    Raises:
        FssegError: the points are neither two corners nor the four corners of an upright rectangle.
    """
    (left, right), (top, bottom) = ((min(along), max(along)) for along in zip(*points, strict=True))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    near = [[max(abs(x - a), abs(y - b)) <= _CORNER for x, y in points] for a, b in corners]
    upright = len(points) == len(corners) and all(any(row) for row in near) and all(map(any, zip(*near, strict=True)))
    if len(points) != LEAST["box"] and not upright:
        raise FssegError(
            f"mask {path}: a rectangle of {name} has {len(points)} points that are not the corners of an upright "
            "rectangle. Give two opposite corners, or use a polygon."
        )
    return [(left, top), (right, bottom)]
