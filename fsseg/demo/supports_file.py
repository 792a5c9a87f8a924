"""Supports as a zip file in labelme's format: an image and a JSON for each, which `fsseg predict --support` reads."""

import base64
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from fsseg.demo.pictures import FINE, MEGABYTE, Limits, Picture, read_picture
from fsseg.episode import BACKGROUND, IGNORE, Mask
from fsseg.episodes.transforms import resize_mask
from fsseg.errors import FssegError
from fsseg.files.annotation_json import shapes_of
from fsseg.files.marks import is_class, marks_of
from fsseg.untrusted.text import decoded, load_json, shown

_MEMBERS = 100  # of a zip file
_BYTES = 200 * MEGABYTE  # of all unpacked files
_VERSION = "5.4.1"  # of labelme whose format is written, as in `fsseg predict`
_BACKGROUND, _IGNORE = "_background_", "__ignore__"  # labelme's labels
_UNNAMEABLE = str.maketrans(dict.fromkeys('/\\:*?"<>|=,', "_"))  # in names of classes, see `fsseg predict`


class Annotated(NamedTuple):
    """An image with a mask.

    Attributes:
        picture: the image.
        labels: ``H W`` of the image: 0 background, 1 the first of ``names``, 255 unlabelled.
        names: of the classes.
    """

    picture: Picture
    labels: Mask
    names: list[str]


def write_supports(supports: Iterable[Annotated]) -> bytes:
    """A zip file of images (PNG) and their masks (JSON of labelme)."""
    file, used = io.BytesIO(), set[str]()
    with zipfile.ZipFile(file, "w") as archive:
        for support in supports:
            stem = PurePath(support.picture.name).stem
            name = next(n for i in range(1, _MEMBERS) if (n := stem if i == 1 else f"{stem}-{i}") not in used)
            used.add(name)
            archive.writestr(f"{name}.png", png(support.picture.image))
            archive.writestr(f"{name}.json", _json(support, f"{name}.png"))
    return file.getvalue()


def read_supports(data: bytes, limits: Limits, name: str) -> list[Annotated]:
    """Read a zip file of images with JSON files of labelme. Nothing is unpacked to the disk.

    Raises:
        FssegError: the file is no such zip file, is too large, or an image or a JSON in it is broken.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if len(members) > _MEMBERS or sum(one.file_size for one in members) > _BYTES:
                most = f"{_MEMBERS} files of {_BYTES // MEGABYTE} MB in total"
                raise FssegError(f"{name} unpacks to more than {most}. Save fewer supports.")
            files = {one.filename: archive.read(one) for one in members}
    except FssegError:
        raise
    except Exception as error:  # zipfile raises nearly anything on a broken file
        raise FssegError(f"{name} is no complete zip file. Choose a file of this page.") from error
    found = list(_annotated(files, limits))
    if not found:
        raise FssegError(f"{name} has no image with a JSON of labelme beside it. Choose a file of this page.")
    return found


def read_annotation(data: bytes, picture: Picture, name: str) -> Annotated:
    """The mask of an image from a JSON of labelme or fsseg.

    Args:
        data: bytes of the JSON.
        picture: its image.
        name: file name, for errors.

    Raises:
        FssegError: the JSON is broken, or belongs to an image of another size.
    """
    try:
        content = load_json(decoded(data))
    except ValueError as error:
        raise FssegError(f"{name} is no complete JSON file: {error}.") from error
    found = shapes_of(Path(name), content)
    names = list(dict.fromkeys(shape.label for shape in found.shapes if is_class(shape.label)))
    marks = marks_of(name, found.shapes, {label: i for i, label in enumerate(names, 1)}, found.size)
    if len(names) >= IGNORE:
        raise FssegError(f"{name} has {len(names)} classes, which are too many for this page.")
    empty = not marks.marks
    labels = np.zeros(picture.size, dtype=np.uint8) if empty else marks.paint(*picture.size).astype(np.uint8)
    size = picture.image.shape[:2]
    return Annotated(picture, labels if labels.shape == size else resize_mask(labels, (size[0], size[1])), names)


def png(pixels: Any) -> bytes:
    """An image or a mask as PNG."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _annotated(files: dict[str, bytes], limits: Limits) -> Iterator[Annotated]:
    images = {name.rpartition(".")[0]: name for name in files if not name.lower().endswith(".json")}
    for name, data in files.items():
        stem, _, ending = name.rpartition(".")
        if ending.lower() == "json" and stem in images:
            picture = read_picture(files[images[stem]], limits, images[stem], FINE)
            yield read_annotation(data, picture, shown(name))


def _json(support: Annotated, image: str) -> str:
    """Labelme's JSON: a mask for each label, also for unlabelled pixels; other pixels are background."""
    labels, shapes = support.labels, list[dict[str, Any]]()
    names = {IGNORE: _IGNORE, BACKGROUND: _BACKGROUND, **dict(enumerate(support.names, 1))}
    for label in np.unique(labels).tolist():
        if label == BACKGROUND and not (labels == IGNORE).any():
            continue
        region = labels == label
        rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        top, bottom, left, right = (int(value) for value in (rows[0], rows[-1], columns[0], columns[-1]))
        inside = base64.b64encode(png(region[top : bottom + 1, left : right + 1])).decode()
        shapes.append({"label": names[label].translate(_UNNAMEABLE), "group_id": None, "description": "", "flags": {},
                       "shape_type": "mask", "points": [[left, top], [right, bottom]], "mask": inside})  # fmt: skip
    height, width = labels.shape
    content = {"version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None,
               "imageHeight": height, "imageWidth": width}  # fmt: skip
    return json.dumps(content, ensure_ascii=False)
