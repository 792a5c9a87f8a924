"""Reader of CVAT's export "CVAT for images 1.1": ``annotations.xml`` and, if it was asked for, ``images/``.

The format is described at https://docs.cvat.ai/docs/other/xml_format.
"""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from fsseg.datasets.export_images import Export, ExportImage, checked_size, ellipse, numbers, rectangle, turned
from fsseg.errors import FssegError
from fsseg.files.marks import Points, Shape
from fsseg.files.names import plain
from fsseg.files.run_lengths import Code, encode
from fsseg.untrusted.text import decoded, shown

FILE = "annotations.xml"
_NAME = "CVAT for images 1.1"
_IGNORED = ("tag", "attribute")  # elements of an image that mark no place
_DECLARED = ("<!DOCTYPE", "<!ENTITY")  # entities may expand to gigabytes, or read files; CVAT writes none


def read(path: Path) -> Export:
    """Read ``annotations.xml``.

    Raises:
        FssegError: the file is no such export, or a shape is broken.
    """
    root = _root(path)
    if root.tag != "annotations":
        hint = "boxes of PASCAL VOC" if root.find("object") is not None else f"<{shown(root.tag)[:40]}>"
        raise FssegError(f"{path} holds {hint}, no export of CVAT. Choose {_NAME}, COCO or masks in the program.")
    if root.find("track") is not None:
        raise FssegError(f"{path} is CVAT's export for video. Choose {_NAME} in CVAT.")
    found = [_image(path, element) for element in root.iter("image")]
    if not found:
        raise FssegError(f"{path} lists no image. Choose {_NAME} in CVAT.")
    labels = [plain(name.text) for name in root.iterfind("./meta//label/name") if name.text]
    return Export("CVAT", found, list(dict.fromkeys(labels)))


def _root(path: Path) -> Element:
    try:
        text = decoded(path.read_bytes())
        if any(word in text for word in _DECLARED):
            raise FssegError(f"{path} declares entities or a document type, which no export of CVAT has. Export again.")
        return ElementTree.fromstring(text)
    except OSError as error:
        raise FssegError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError, RecursionError) as error:
        raise FssegError(f"{path} is no complete XML file ({shown(str(error))[:80]}). Export it again.") from error


def _image(path: Path, element: Element) -> ExportImage:
    name = element.get("name") or ""
    where = f"{path} ({shown(name)[:80]})"
    if not name:
        raise FssegError(f"{path} has an image without a name. Export it again.")
    height, width = checked_size(where, element.get("height"), element.get("width"))
    subset = element.get("subset")
    names = [f"images/{name}", name]
    names = [f"images/{subset}/{name}", f"{subset}/{name}", *names] if subset else names
    parts = [part for part in element if part.tag not in _IGNORED]
    depths = numbers(where, "z_order", (part.get("z_order") or 0 for part in parts))
    order = sorted(range(len(parts)), key=lambda i: depths[i])  # stable: CVAT paints a higher z_order later
    return ExportImage(
        tuple(names), [_shape(where, parts[i], height, width) for i in order], (height, width), where, path
    )


def _shape(where: str, part: Element, height: int, width: int) -> Shape:
    label, group = part.get("label"), part.get("group_id")
    if not label:
        raise FssegError(f"{where}: a {shown(part.tag)[:40]} has no label. Export it again.")
    label, region = plain(label), None
    if part.tag == "polygon":
        kind, points = "outline", _points(where, part)
    elif part.tag in ("polyline", "points"):
        kind, points = {"polyline": "line", "points": "point"}[part.tag], _points(where, part)
    elif part.tag == "box":
        kind, points = _box(where, part)
    elif part.tag == "ellipse":
        x, y, radius_x, radius_y = _numbers(where, part, "cx", "cy", "rx", "ry")
        kind, points = "outline", turned(ellipse(x, y, radius_x, radius_y), (x, y), _rotation(where, part))
    elif part.tag == "mask":
        kind, (points, region) = "mask", _mask(where, part, height, width)
    else:
        raise FssegError(
            f"{where}: a {shown(part.tag)[:40]} of {label} is no region. Annotate it with polygons or masks in CVAT."
        )
    return Shape(label, kind, points, region, None if group in (None, "", "0") else group)


def _points(where: str, part: Element) -> Points:
    pairs = [pair.split(",") for pair in (part.get("points") or "").split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise FssegError(f"{where}: the points of a {part.tag} are no pairs x,y;x,y. Export it again.")
    values = numbers(where, f"a {part.tag}", (value for pair in pairs for value in pair))
    return list(zip(values[::2], values[1::2], strict=True))


def _numbers(where: str, part: Element, *names: str) -> list[float]:
    return numbers(where, f"a {part.tag}", (part.get(name) for name in names))


def _rotation(where: str, part: Element) -> float:
    return numbers(where, "rotation", [part.get("rotation") or 0])[0]


def _box(where: str, part: Element) -> tuple[str, Points]:
    """A box, or the outline of a rotated one, which turns about its centre."""
    left, top, right, bottom = _numbers(where, part, "xtl", "ytl", "xbr", "ybr")
    degrees = _rotation(where, part)
    if not degrees:
        return "box", [(left, top), (right, bottom)]
    corners = rectangle(left, top, right - left, bottom - top)
    return "outline", turned(corners, ((left + right) / 2, (top + bottom) / 2), degrees)


def _mask(where: str, part: Element, height: int, width: int) -> tuple[Points, Code]:
    """A mask: lengths of runs, background first, by rows of the rectangle that surrounds it."""
    try:
        left, top, columns, rows = (int(part.get(name) or "") for name in ("left", "top", "width", "height"))
        runs = np.array([int(run) for run in (part.get("rle") or "").split(",")], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise FssegError(f"{where}: a mask has no whole numbers as rle, left, top, width, height.") from error
    if not (0 <= left < left + columns <= width and 0 <= top < top + rows <= height):
        raise FssegError(f"{where}: a mask of {columns}x{rows} at {left},{top} leaves the {width}x{height} image.")
    if runs.min() < 0 or runs.max() > rows * columns or runs.sum() != rows * columns:
        raise FssegError(f"{where}: the runs of a mask do not cover its {columns}x{rows} pixels. Export it again.")
    region = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(rows, columns)
    return [(left, top), (left + columns - 1, top + rows - 1)], encode(region)
