"""Results of `fsseg predict` in the formats of other programs: areas as CSV, labelme, YOLO segments."""

import base64
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import yaml

from fsseg.files.masks import read_labels
from fsseg.files.outlines import outline_of, parts_of, polygon_of
from fsseg.files.run_lengths import Region
from fsseg.runs.prediction_files import MASKS, PredictionFolder
from fsseg.untrusted.text import csv_cell

AREAS, LABELME, YOLO = "areas.csv", "labelme", "yolo"
FORMATS = (LABELME, YOLO)  # that `--formats` can name
_COLUMNS = ("name", "image", "class", "pixels", "share")
_VERSION = "5.4.1"  # of labelme whose format is written: the first with masks are 5.2
_DIGITS = 9  # of fractions, so that a corner is exact to a thousandth of a pixel in any image


def write_formats(results: PredictionFolder, formats: Sequence[str]) -> None:
    """Write areas, and all masks in other formats.

    Args:
        results: complete; its masks are read again.
        formats: some of `FORMATS`.

    Raises:
        FssegError: the folder cannot be written.
    """
    results.write_text(results.folder / AREAS, _areas(results.rows))
    images = {row["name"]: row["image"] for row in results.rows}
    for name in sorted(images) if formats else ():
        mask = read_labels(results.folder / MASKS / f"{name}.png")
        if LABELME in formats:
            place = results.folder / LABELME / f"{name}.json"
            results.write_text(place, _labelme(mask, results.classes, Path(images[name]), place))
        if YOLO in formats:
            results.write_text(results.folder / YOLO / "labels" / f"{name}.txt", _yolo(mask, len(results.classes)))
    if YOLO in formats:
        names = dict(enumerate(results.classes))
        content = {"path": ".", "train": "images", "val": "images", "names": names}
        results.write_text(results.folder / YOLO / "data.yaml", yaml.safe_dump(content, allow_unicode=True))


def _areas(rows: Sequence[Mapping[str, str]]) -> str:
    """Pixels of each class in each image, and their share of the image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in sorted(rows, key=lambda row: row["name"]):
        share = int(row["pixels"]) / (int(row["height"]) * int(row["width"]))
        values = (row["name"], row["image"], row["class"], row["pixels"], f"{share:.6f}")
        writer.writerow([csv_cell(value) for value in values])
    return text.getvalue()


def _parts(mask: npt.NDArray[np.integer[Any]], classes: int) -> Iterator[tuple[int, int, int, Region]]:
    """Label, row, column and pixels of each connected part."""
    for label in range(1, classes + 1):
        for top, left, part in parts_of(mask == label):
            yield label, top, left, part


def _labelme(mask: npt.NDArray[np.integer[Any]], classes: Sequence[str], image: Path, place: Path) -> str:
    """A file of labelme: a polygon for each connected part, or labelme's mask where no polygon has its pixels."""
    shapes = []
    for label, top, left, part in _parts(mask, len(classes)):
        points = polygon_of(part)
        shape: dict[str, Any] = {"label": classes[label - 1], "group_id": None, "description": "", "flags": {}}
        if points is not None:
            placed = [[x + left, y + top] for x, y in points]
            shape |= {"shape_type": "polygon", "points": placed, "mask": None}
        else:
            corners = [[left, top], [left + part.shape[1] - 1, top + part.shape[0] - 1]]
            shape |= {"shape_type": "mask", "points": corners, "mask": _png(part)}
        shapes.append(shape)
    try:
        path = Path(os.path.relpath(image, place.parent)).as_posix()
    except ValueError:  # another drive of Windows
        path = image.absolute().as_posix()
    height, width = mask.shape
    content = {"version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": path, "imageData": None,
               "imageHeight": height, "imageWidth": width}  # fmt: skip
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _png(part: Region) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(part).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _yolo(mask: npt.NDArray[np.integer[Any]], classes: int) -> str:
    """Lines of YOLO's segments: an outline for each connected part."""
    height, width = mask.shape
    lines = []
    for label, top, left, part in _parts(mask, classes):
        points = (f"{(x + left) / width:.{_DIGITS}g} {(y + top) / height:.{_DIGITS}g}" for x, y in outline_of(part))
        lines.append(f"{label - 1} {' '.join(points)}\n")
    return "".join(lines)
