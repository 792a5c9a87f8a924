"""Read and check COCO's annotation files, and the regions of their annotations."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from fsseg.datasets.custom import check_names
from fsseg.datasets.mask_store import Code, read_runs
from fsseg.errors import FssegError
from fsseg.progress import status
from fsseg.untrusted.text import is_line, leads_out, load_json

Segmentation = list[list[float]] | dict[str, Any]  # polygons x y x y ..., or a run-length encoding
Points = npt.NDArray[np.float64]  # x y x y ...

_LARGEST = 2**15  # pixels of a side; far above any camera
_PIXELS = 178_956_970  # of an image: twice PIL.Image.MAX_IMAGE_PIXELS, PIL's limit; pycocotools counts in 32 bits
_MUCH = 2**24  # bytes; reading a smaller file takes less than a second and shows no status
_LONGEST = 255  # characters of a file name: the limit of most file systems
_CROWD = {"None": False, "0": False, "1": True, "False": False, "True": True, "0.0": False, "1.0": True}  # iscrowd
_PAIR, _LEAST = 2, 6  # coordinates of a point, and of the smallest polygon
_FAR = 10  # largest coordinate of a polygon in sides of the image; a larger one is broken and would need gigabytes


Id = int | str  # of an image, an annotation or a category: a number, or a text that is no number


class Annotation(NamedTuple):
    """An object, or a crowd of objects.

    Attributes:
        number: id in the file, for errors.
        class_id: 1 .. number of categories.
        crowd: whether the annotation covers a group of objects roughly (iscrowd).
        segmentation: region in the file's format.
    """

    number: Id
    class_id: int
    crowd: bool
    segmentation: Segmentation


class AnnotatedImage(NamedTuple):
    """An image of an annotation file, with its annotations in the file's order."""

    name: str
    height: int
    width: int
    annotations: list[Annotation]


class AnnotationFile(NamedTuple):
    """Images in the order of their ids, and the name of class id ``i + 1`` at position ``i``."""

    images: list[AnnotatedImage]
    class_names: tuple[str, ...]


def read_annotations(path: Path, class_names: Sequence[str] | None = None) -> AnnotationFile:
    """Read and check an annotation file. pycocotools' reader does not check, and prints.

    Args:
        path: of the file.
        class_names: required categories, in the order of their ids; None: any categories.

    Raises:
        FssegError: the file is missing, truncated or malformed, or has other categories.
    """
    content = _read(path)
    names = _categories(path, content["categories"])
    found = tuple(names[number] for number in sorted(names, key=_by_id))
    if class_names is not None and found != tuple(class_names):
        raise _other_categories(path, found, class_names)
    class_ids = {number: place + 1 for place, number in enumerate(sorted(names, key=_by_id))}
    images = _images(path, content["images"])
    for item in content["annotations"]:
        try:
            number, image, category = _id(item["id"]), _id(item["image_id"]), _id(item["category_id"])
            crowd, segmentation = item.get("iscrowd"), item["segmentation"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FssegError(
                f"{path} has an annotation without id, image, category or segmentation: {item!s:.80}."
            ) from error
        if image not in images or category not in class_ids:
            what = f"category {category}" if image in images else f"image {image}"
            raise FssegError(f"{path}: annotation {number} names {what}, which is not listed. Replace the file.")
        if str(crowd) not in _CROWD:
            raise FssegError(f"{path}: annotation {number} has iscrowd {crowd!r:.20}; 0 or 1 is needed. Fix it.")
        images[image].annotations.append(Annotation(number, class_ids[category], _CROWD[str(crowd)], segmentation))
    return AnnotationFile([images[number] for number in sorted(images, key=_by_id)], found)


def _id(value: Any) -> Id:
    """An id: numbers, also written as text, become int; other text, such as a file name, stays text.

    Raises:
        ValueError: the value is no number and no printable text.
    """
    if isinstance(value, str) and not value.strip().lstrip("-").isdecimal():
        if not value.isprintable() or not 0 < len(value) <= _LONGEST:
            raise ValueError("no id")
        return value
    return int(value)


def _by_id(number: Id) -> tuple[bool, int, str]:
    """Sort key of ids: numbers, then texts."""
    return (True, 0, number) if isinstance(number, str) else (False, number, "")


def _read(path: Path) -> dict[str, Any]:
    try:
        long = path.stat().st_size > _MUCH
        with path.open(encoding="utf-8-sig") as file, status(f"reading {path.name}") if long else nullcontext():
            content = load_json(file.read())
    except OSError as error:
        raise FssegError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise FssegError(f"{path} is no text file: unpack it if it is compressed, or download it again.") from error
    except ValueError as error:
        raise FssegError(f"{path} is no complete JSON file ({error}). Download or unpack it again.") from error
    needed = ("images", "annotations", "categories")
    lacking = [key for key in needed if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if lacking:
        raise FssegError(f"{path} is no COCO annotation file: it has no list of {' and of '.join(lacking)}.")
    return dict(content)


def _categories(path: Path, categories: list[Any]) -> dict[Id, str]:
    """Names by category id."""
    try:
        names = {_id(category["id"]): category["name"] for category in categories}
        check_names([*names.values()], str(path))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FssegError(f"{path} has a category without id or name.") from error
    if len(set(names.values())) < len(categories):
        raise FssegError(f"{path} has two categories with the same id or name. Remove one.")
    return names


def _other_categories(path: Path, found: Sequence[str], class_names: Sequence[str]) -> FssegError:
    unknown, lacking = set(found) - set(class_names), set(class_names) - set(found)
    wrong = f"{min(unknown)} is none of them" if unknown else f"{min(lacking)} is missing" if lacking else "other order"
    return FssegError(
        f"{path} has {len(found)} categories; COCO's {len(class_names)} are needed ({wrong}). "
        "Put COCO's own instances file there."
    )


def _images(path: Path, listed: list[Any]) -> dict[Id, AnnotatedImage]:
    images: dict[Id, AnnotatedImage] = {}
    names = set()
    for item in listed:
        try:
            number = _id(item["id"])
            image = AnnotatedImage(item["file_name"], int(item["height"]), int(item["width"]), [])
            if not isinstance(image.name, str) or not Path(image.name).name:
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FssegError(f"{path} has an image without id, file name or size: {str(item)!a:.80}.") from error
        if not is_line(image.name) or len(image.name) > _LONGEST:
            raise FssegError(f"{path}: {image.name!a:.60} is no file name. Fix it.")
        if leads_out(image.name):
            raise FssegError(f"{path} names the image {image.name}, which leads out of its folder. Replace the file.")
        if (
            not 1 <= min(image.height, image.width) <= max(image.height, image.width) <= _LARGEST
            or image.height * image.width > _PIXELS
        ):
            raise FssegError(f"{path}: image {image.name} is {image.width}x{image.height} pixels. Replace the file.")
        if number in images or image.name in names:
            raise FssegError(f"{path} lists image {number} ({image.name}) twice. List each image once.")
        images[number] = image
        names.add(image.name)
    if not images:
        raise FssegError(f"{path} lists no image. Give an annotation file with images.")
    return images


def exact(segmentation: Segmentation, height: int, width: int) -> Code:
    """The region of an annotation, equal to pycocotools' annToMask.

    Raises:
        ValueError: the segmentation is malformed.
    """
    if isinstance(segmentation, Mapping):
        return _checked(segmentation, height, width)
    code: Code = rle.merge(rle.frPyObjects([*polygons(segmentation, height, width)], height, width))
    return code


def polygons(segmentation: Segmentation, height: int, width: int) -> list[Points]:
    """The polygons of an annotation; an empty list if the annotation is run-length encoded.

    Labelling programs leave stray points and lines beside polygons; these have no area and are left out.

    Raises:
        ValueError: a polygon is malformed.
    """
    if isinstance(segmentation, Mapping):
        return []
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("neither a polygon nor a run-length encoding; a box alone is no mask")
    try:
        found = [np.array(polygon, dtype=np.float64) for polygon in segmentation]
    except OverflowError as error:
        raise ValueError("a polygon far outside the image") from error
    if any(points.ndim == _PAIR for points in found) or (len(found) > _PAIR and {*map(np.size, found)} == {_PAIR}):
        raise ValueError("a polygon of pairs [x, y]; one list x, y, x, y ... is needed")
    areas = [points for points in found if points.ndim != 1 or len(points) not in (_PAIR, 2 * _PAIR)]
    for points in (found := areas or found):
        if points.ndim != 1 or len(points) < _LEAST or len(points) % 2:
            raise ValueError("a polygon without three pairs of coordinates")
        if not np.abs(points).max() <= _FAR * max(height, width):
            raise ValueError("a polygon far outside the image")
    return found


def in_fractions(segmentation: Segmentation, height: int, width: int) -> bool:
    """Whether all coordinates of an annotation's polygons lie in 0..1: fractions of the image instead of pixels."""
    found = polygons(segmentation, height, width)
    return bool(found) and all(points.min() >= 0 and points.max() <= 1 for points in found)


def _integers(counts: Sequence[Any]) -> list[int]:
    try:
        return [int(run) for run in counts]
    except (TypeError, OverflowError) as error:
        raise ValueError("a run-length encoding whose counts are no numbers") from error


def _checked(encoded: Mapping[str, Any], height: int, width: int) -> Code:
    """Check a run-length encoding: pycocotools would read beyond the end of an encoding that is too short."""
    if not isinstance(encoded.get("size", ()), list | tuple):
        raise ValueError("a run-length encoding without size")
    if list(encoded.get("size", ())) != [height, width]:
        raise ValueError(f"a run-length encoding whose size is not the image's {height}x{width}")
    counts = encoded.get("counts") or ()
    runs = read_runs(counts.encode()).tolist() if isinstance(counts, str) else _integers(counts)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError("a run-length encoding that does not cover the image")
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts.encode()}
    code: Code = rle.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return code
