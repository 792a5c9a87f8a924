"""Regions of annotations in COCO's format: polygons, run-length encodings, lists of both, and boxes."""

from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from fsseg.files.run_lengths import Code, read_runs

Points = npt.NDArray[np.float64]  # x y x y ...

_PAIR, _LEAST = 2, 6  # coordinates of a point, and of the smallest polygon
_STRAY = (0, _PAIR, 2 * _PAIR)  # numbers of coordinates of nothing, a point and a line
_NOTHING = "neither a polygon nor a run-length encoding, and no box (bbox)"
_FAR = 10  # largest coordinate of a polygon in sides of the image; a larger one is broken and would need gigabytes


class BoxOnly(NamedTuple):
    """The box (bbox) of an object without a segmentation, in pixels."""

    left: float
    top: float
    width: float
    height: float


Segmentation = list[Any] | dict[str, Any] | BoxOnly  # polygons and encodings, one run-length encoding, or a box


def compact(item: dict[str, Any]) -> dict[str, Any]:
    """An object of an annotation file, its polygons as arrays: lists of numbers take four times the memory.

    Polygons that hold anything but numbers stay as they are, for the error that names them.
    """
    parts = item.get("segmentation")
    if isinstance(parts, list) and all(isinstance(part, list) and part for part in parts):
        with suppress(TypeError, OverflowError):
            item["segmentation"] = [array("d", part) for part in parts]
    return item


def exact(segmentation: Segmentation, height: int, width: int) -> Code:
    """The region of an annotation, equal to pycocotools' annToMask.

    Raises:
        ValueError: the segmentation is malformed.
    """
    if isinstance(segmentation, Mapping):
        return _checked(segmentation, height, width)
    if isinstance(segmentation, BoxOnly):
        _refuse_far(np.array(segmentation), height, width)
        code: Code = rle.merge(rle.frPyObjects(np.array([segmentation]), height, width))
        return code
    outlines = polygons(segmentation, height, width)
    encoded = [_checked(part, height, width) for part in segmentation if isinstance(part, Mapping)]
    codes = [*(rle.frPyObjects(outlines, height, width) if outlines else []), *encoded]
    code = rle.merge(codes) if codes else rle.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
    return code


def polygons(segmentation: Segmentation, height: int, width: int) -> list[Points]:
    """The polygons of an annotation; an empty list if the annotation is a run-length encoding or a box.

    Labelling programs leave stray points and lines beside polygons; these have no area and are left out.

    Raises:
        ValueError: a polygon is malformed.
    """
    found = [points for points in _outlines(segmentation) if len(points) not in _STRAY]
    for points in found:
        if len(points) < _LEAST or len(points) % 2:
            raise ValueError("a polygon without three pairs of coordinates")
        _refuse_far(points, height, width)
    return found


def count_strays(segmentation: Segmentation) -> int:
    """Number of an annotation's points and lines, which have no area."""
    return sum(len(points) in _STRAY for points in _outlines(segmentation))


def _outlines(segmentation: Segmentation) -> list[Points]:
    """Coordinates of each polygon, line or point: ``x y x y ...``, also where a file has pairs ``[x, y]``.

    Raises:
        ValueError: the segmentation is malformed.
    """
    if isinstance(segmentation, Mapping | BoxOnly):
        return []
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(_NOTHING)
    one = not any(
        isinstance(part, list | array | Mapping) for part in segmentation
    )  # x, y, x, y ... without a list around
    pairs = len(segmentation) > _PAIR and all(_is_pair(part) for part in segmentation)
    parts = [segmentation] if one or pairs else [part for part in segmentation if not isinstance(part, Mapping)]
    found = []
    for part in parts:
        try:
            points = np.array(part, dtype=np.float64)
        except OverflowError as error:
            raise ValueError("a polygon far outside the image") from error
        except (ValueError, TypeError) as error:
            raise ValueError("a polygon whose coordinates are no numbers") from error
        if points.ndim != 1 and points.shape[1:] != (_PAIR,):
            raise ValueError("a polygon that is neither x, y, x, y ... nor pairs [x, y]")
        found.append(points.ravel())
    if found and not any(map(len, found)):
        raise ValueError(_NOTHING)
    return found


def _is_pair(part: Any) -> bool:
    return isinstance(part, list | array) and len(part) == _PAIR and not any(isinstance(value, list) for value in part)


def _refuse_far(points: Points, height: int, width: int) -> None:
    if not np.abs(points).max() <= _FAR * max(height, width):
        raise ValueError("a polygon or box far outside the image")


def in_fractions(segmentation: Segmentation, height: int, width: int) -> bool:
    """Whether all coordinates of an annotation's polygons or box lie in 0..1: fractions instead of pixels."""
    box = [np.array(segmentation)] if isinstance(segmentation, BoxOnly) else []
    found = box or polygons(segmentation, height, width)
    return bool(found) and all(points.min() >= 0 and points.max() <= 1 for points in found)


def _integers(counts: Sequence[Any]) -> list[int]:
    try:
        return [int(run) for run in counts]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("a run-length encoding whose counts or size are no numbers") from error


def _checked(encoded: Mapping[str, Any], height: int, width: int) -> Code:
    """Check a run-length encoding: pycocotools would read beyond the end of an encoding that is too short."""
    if not isinstance(encoded.get("size", ()), list | tuple):
        raise ValueError("a run-length encoding without size")
    if _integers(encoded.get("size", ())) != [height, width]:
        raise ValueError(f"a run-length encoding whose size is not the image's {height}x{width}")
    counts = encoded.get("counts") or ()
    runs = read_runs(counts.encode()).tolist() if isinstance(counts, str) else _integers(counts)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError("a run-length encoding that does not cover the image")
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts.encode()}
    code: Code = rle.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return code
