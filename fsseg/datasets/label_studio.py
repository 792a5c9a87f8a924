"""Reader of Label Studio's export "JSON": a list of tasks with annotations. The images are the user's own.

The format is described at https://labelstud.io/guide/task_format and https://labelstud.io/guide/export; places are per
cent of the image's sides. Of several annotations of a task, the one marked as ground truth counts.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fsseg.datasets.export_images import (
    Export,
    ExportImage,
    checked_size,
    ellipse,
    in_pixels,
    numbers,
    rectangle,
    turned,
)
from fsseg.datasets.label_studio_brush import decode
from fsseg.errors import FssegError
from fsseg.files.marks import Points, Shape
from fsseg.files.names import plain
from fsseg.files.run_lengths import Code, encode
from fsseg.untrusted.text import is_line, shown

_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio puts eight hexadecimal digits before an uploaded file's name
_IMAGES = re.compile(r"\.(jpe?g|jfif|png|webp|bmp|tiff?|gif|avif|hei[cf])$", re.IGNORECASE)
_GEOMETRY = ("points", "rle", "radiusX", "x", "sequence", "imageDataURL", "vertices")  # keys of a region's value


def is_export(content: Any) -> bool:
    """Whether a JSON file's content is a list of tasks."""
    return isinstance(content, list) and bool(content) and all(isinstance(task, dict) for task in content)


def read(path: Path, content: list[dict[str, Any]]) -> Export:
    """Read the tasks.

    Args:
        path: of the file, for errors.
        content: of the file.

    Raises:
        FssegError: the file is another of Label Studio's exports, or a region is broken.
    """
    if not any(isinstance(task.get("annotations"), list) for task in content):
        raise FssegError(
            f"{path} has no annotations of Label Studio's tasks (JSON-MIN, or another program). Choose the export "
            "JSON, or COCO."
        )
    found = [_image(path, number, task) for number, task in enumerate(content, 1) if task.get("annotations")]
    return Export("Label Studio", found, [], _note(len(content) - len(found)))


def _note(count: int) -> str:
    return f"tasks without annotations are left out: {count:,}" if count else ""


def _image(path: Path, number: int, task: Mapping[str, Any]) -> ExportImage:
    data = task.get("data")
    values = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    places = [place for place in map(_place, values) if _IMAGES.search(place) and is_line(place)]
    if len(places) != 1:
        raise FssegError(f"{path}: task {number} has {len(places)} images in its data; one is needed.")
    name = PurePosixPath(places[0]).name
    where = f"{path} (task {number}, {shown(name)[:80]})"
    annotation = _annotation(where, task["annotations"])
    results = annotation.get("result")
    if not isinstance(results, list) or not all(isinstance(item, dict) for item in results):
        raise FssegError(f"{where}: an annotation has no list of results. Export it again.")
    regions = [
        item for item in results if isinstance(item.get("value"), dict) and set(_GEOMETRY) & item["value"].keys()
    ]
    named = {str(item.get("id")) for item in regions if _labels(item["value"])}
    sizes = {checked_size(where, item.get("original_height"), item.get("original_width")) for item in regions}
    if len(sizes) > 1:
        raise FssegError(f"{where}: its regions belong to images of several sizes. Export it again.")
    size = next(iter(sizes), None)
    shapes = [shape for item in regions for shape in _shapes(where, item, named, size or (1, 1))]
    return ExportImage((name, _UPLOAD.sub("", name)), shapes, size, where, path)


def _place(value: str) -> str:
    """The path in an address, such as ``/data/upload/1/8f3a-cat.jpg`` or ``/data/local-files/?d=day1/cat.jpg``."""
    try:
        parts = urlsplit(value.replace("\\", "/"))
    except ValueError:  # e.g. a bracket that opens an IPv6 address
        return ""
    return parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)


def _annotation(where: str, listed: Any) -> Mapping[str, Any]:
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise FssegError(f"{where}: its annotations are no list of records. Export it again.")
    kept = [item for item in listed if not item.get("was_cancelled")]
    kept = [item for item in kept if item.get("ground_truth")] or kept
    if len(kept) != 1:
        raise FssegError(
            f"{where} has {len(kept)} annotations that were not cancelled; mark one as ground truth in Label Studio, "
            "or delete the others."
        )
    return dict(kept[0])


def _labels(value: Mapping[str, Any]) -> list[str]:
    """Names of classes, of the key ``labels``, ``polygonlabels``, ``brushlabels`` and others."""
    lists = [names for key, names in value.items() if key.endswith("labels") and isinstance(names, list)]
    return [plain(name) for names in lists for name in names if isinstance(name, str)]


def _shapes(where: str, item: Mapping[str, Any], named: set[str], size: tuple[int, int]) -> Iterator[Shape]:
    """The shape of a region, once for each of its classes."""
    value = item["value"]
    labels = _labels(value)
    if not labels and str(item.get("id")) in named:  # its labels are in another result of the same region
        return
    if not labels:
        raise FssegError(f"{where}: a region has no label. Give it one in Label Studio.")
    if item.get("image_rotation"):
        raise FssegError(f"{where}: the image was rotated in Label Studio. Rotate the file, and annotate it upright.")
    kind, points, region = _geometry(where, value, *size)
    for label in labels:
        yield Shape(label, kind, points, region)


def _geometry(where: str, value: Mapping[str, Any], height: int, width: int) -> tuple[str, Points, Code | None]:
    """Kind, points in pixels and region of a shape."""
    if "rle" in value:
        try:
            region = decode(value["rle"], height, width)
        except ValueError as error:
            raise FssegError(f"{where}: {error}. Export it again.") from error
        return "mask", [(0, 0), (width - 1, height - 1)], encode(region)
    if "points" in value:
        pairs = value["points"]
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise FssegError(f"{where}: the points of a polygon are no pairs [x, y]. Export it again.")
        flat = numbers(where, "a polygon", (part for pair in pairs for part in pair))
        points = [(x / 100, y / 100) for x, y in zip(flat[::2], flat[1::2], strict=True)]
        return "outline", in_pixels(points, height, width), None
    needed = ("x", "y", "radiusX", "radiusY") if "radiusX" in value else ("x", "y", "width", "height")
    if "x" in value and "height" not in value and "radiusX" not in value:
        x, y = numbers(where, "a key point", (value["x"], value.get("y")))
        return "point", in_pixels([(x / 100, y / 100)], height, width), None
    if "x" not in value:
        raise FssegError(
            f"{where}: a region of {', '.join(_labels(value))[:60]} is neither brush, polygon, ellipse, rectangle nor "
            "key point. Annotate with these, or export COCO or PNG."
        )
    parts = numbers(where, "a region", (value.get(key) for key in needed))
    places = [(x / 100, y / 100) for x, y in (parts[:2], parts[2:])]
    (a, b), (c, d) = in_pixels(places, height, width)
    degrees = numbers(where, "rotation", [value.get("rotation") or 0])[0]
    if "radiusX" in value:
        return "outline", turned(ellipse(a, b, c, d), (a, b), degrees), None
    if degrees:  # about the upper left corner
        return "outline", turned(rectangle(a, b, c, d), (a, b), degrees), None
    return "box", [(a, b), (a + c, b + d)], None
