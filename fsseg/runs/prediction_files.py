"""Result files of `fsseg predict`: masks, overlays, probabilities, scores, COCO JSON; a stopped run can be resumed."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from pycocotools import mask as coco

from fsseg import atomic
from fsseg.episode import Image
from fsseg.errors import FssegError
from fsseg.files.masks import read_labels
from fsseg.plots.colours import palette
from fsseg.plots.overlays import overlay
from fsseg.runs import folders
from fsseg.runs.query_files import QUERIES, QueryFiles, QueryState
from fsseg.segmenter import Prediction
from fsseg.segmenter.instances import instances_of
from fsseg.untrusted.records import as_json, read_json
from fsseg.untrusted.text import csv_cell, csv_text, file_name, is_relative_path

SCORES, COCO = "scores.csv", "annotations.json"
# Names in a folder of results.
MASKS, OVERLAYS, PROBABILITIES, ASKED = "masks", "overlays", "probabilities", "predict.json"
_COLUMNS = ("name", "image", "height", "width", "class", "pixels", "score")
_SCORE = re.compile(r"^([01]\.\d{3})?$", re.ASCII)
_NAMES = {"support": "supports", "negative": "negatives", "method": "--model.method",
          "files": "contents of supports or checkpoint"}  # fmt: skip
_QUALITY = 90  # JPEG quality of overlays
_FIX = "The same command resumes there."
_MASK, _OVERLAY = "", "/"  # keys that are no class names


@dataclass(frozen=True)
class PredictionRequest:
    """Record of the options that decide the predictions, without the queries, ``predict.json``.

    Attributes:
        method: Configuration of the method; None if there is a checkpoint.
        files: Fingerprint of supports and checkpoint.
    """

    support: list[str]
    negative: list[str]
    ckpt_path: str | None
    method: dict[str, Any] | None
    size: int | None
    long_side: int | None
    tile: int | None
    threshold: float | str
    probabilities: bool
    instances: bool
    no_refine: bool
    thorough: bool
    files: str


class PredictionFolder:
    """Folder of results; a query is done once ``scores.csv``, which is written last, has its rows.

    Args:
        folder: Path of the folder, which is created if it is missing.
        asked: Options that decide the results; a folder with other options is refused.
        queries: Paths of this run's queries by name.
        classes: Class names in the order of their labels.
        probabilities: Whether probability maps are written.

    Attributes:
        instances: Whether regions and outlines are those of objects instead of classes.
        rows: Rows of ``scores.csv``, one for each query and class.

    Raises:
        FssegError: The folder cannot be written, or holds other files.
    """

    def __init__(
        self,
        folder: Path,
        asked: PredictionRequest,
        queries: Mapping[str, Path],
        classes: Sequence[str],
        probabilities: bool,
    ) -> None:
        self.folder, self.queries, self.classes, self.probabilities = folder, queries, classes, probabilities
        self.instances = asked.instances
        self.rows: list[dict[str, str]] = []
        self._resolved = folder.resolve()
        with atomic.writing(folder, _FIX):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                self._resume(asked)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                self._files = QueryFiles(folder / QUERIES)
                atomic.write_text(folder / ASKED, as_json(asked))
                atomic.write_text(folder / SCORES, ",".join(_COLUMNS) + "\n")

    @property
    def done(self) -> set[str]:
        """Names of the queries that are done, also in earlier runs."""
        return {row["name"] for row in self.rows}

    def _resume(self, asked: PredictionRequest) -> None:
        free = [field.name for field in fields(PredictionRequest)]
        try:
            before = read_json(self.folder / ASKED, PredictionRequest, free)
            text = (self.folder / SCORES).read_bytes().decode() if (self.folder / SCORES).exists() else ""
        except (OSError, ValueError) as error:
            raise FssegError(
                f"--out {self.folder} already holds files, but no results of `fsseg predict`. Choose another."
            ) from error
        if before != asked:
            name = next(name for name in free if getattr(before, name) != getattr(asked, name))
            raise FssegError(
                f"--out {self.folder} holds results of other {_NAMES.get(name, f'--{name}')}: choose another folder, "
                "or give the same again to resume there."
            )
        folders.refuse_links(self.folder)
        self._files = QueryFiles(self.folder / QUERIES)
        # A killed run may leave a partial last line; all rows of its query are then dropped.
        complete = text[: text.rfind("\n") + 1]
        rows = [_of_csv(row) for row in csv.DictReader(io.StringIO(complete))]
        good = [row for row in rows if self._is_row(row)]
        counts = Counter(row["name"] for row in good)
        self.rows = [row for row in good if counts[row["name"]] == len(self.classes) and self._is_current(row)]
        if len(self.rows) < len(rows) or complete != text or not text:
            atomic.write_text(self.folder / SCORES, _as_csv(self.rows, header=True))

    def _is_row(self, row: Mapping[str | None, Any]) -> bool:
        texts = [row.get(column) for column in _COLUMNS]
        if None in row or not all(isinstance(text, str) for text in texts):
            return False
        if not is_relative_path(row["name"]):
            return False
        numbers = all(row[column].isascii() and row[column].isdigit() for column in ("height", "width", "pixels"))
        return numbers and row["class"] in self.classes and bool(_SCORE.match(row["score"]))

    def _is_current(self, row: Mapping[str, str]) -> bool:
        """Whether a row's files exist and its query has the same path and the same content as before."""
        name, path = row["name"], Path(row["image"])
        if self.queries.get(name, path) != path or not all(map(_has_content, self._places(name).values())):
            return False
        return not path.is_file() or self._files.is_same(name, path)

    def _places(self, name: str) -> dict[str, Path]:
        """Paths of a query's files: mask, overlay, and the probability map of each class."""
        found = {_MASK: self.folder / MASKS / f"{name}.png", _OVERLAY: self.folder / OVERLAYS / f"{name}.jpg"}
        if self.probabilities:
            folder = self.folder / PROBABILITIES
            found |= {class_name: folder / file_name(class_name) / f"{name}.png" for class_name in self.classes}
        return found

    def add(self, name: str, path: Path, state: QueryState, image: Image, found: Prediction) -> None:
        """Write the prediction of a query.

        Args:
            name: Name of the query.
            path: Path of the query's file.
            state: State of the file before it was read.
            image: The query, ``H W 3``.
            found: Prediction for the query.

        Raises:
            FssegError: The disk is full, or the folder cannot be written.
        """
        places = self._places(name)
        mask = PIL.Image.fromarray(found.mask)
        mask.putpalette(palette(len(self.classes)))
        self._write(places[_MASK], mask, "PNG", optimize=True)
        drawn = overlay(image, found.mask, found.instances if self.instances else None)
        self._write(places[_OVERLAY], PIL.Image.fromarray(drawn), "JPEG", quality=_QUALITY)
        if self.probabilities and found.probability is not None:
            for label, class_name in enumerate(self.classes, 1):
                grey = np.rint(255 * found.probability[label]).astype(np.uint8)
                self._write(places[class_name], PIL.Image.fromarray(grey), "PNG")
        rows = self._rows(name, path, found)
        with atomic.writing(self.folder, _FIX):
            self._files.add(name, state)
            with (self.folder / SCORES).open("a", newline="", encoding="utf-8") as file:
                file.write(_as_csv(rows))
        self.rows += rows

    def _write(self, place: Path, picture: PIL.Image.Image, form: str, **options: Any) -> None:
        self._make_folder(place.parent)
        atomic.save(place, partial(picture.save, format=form, **options), _FIX, durable=False)

    def write_text(self, place: Path, text: str) -> None:
        """Write a text file below the folder.

        Raises:
            FssegError: The disk is full, or the folder cannot be written, or is a link out of the results.
        """
        self._make_folder(place.parent)
        atomic.write_bytes(place, text.encode(), _FIX, durable=False)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            atomic.make_folder(folder, _FIX)
        if not folder.resolve().is_relative_to(self._resolved):
            raise FssegError(f"{folder} is a link out of --out; fsseg writes through no such link. Delete it.")

    def _rows(self, name: str, path: Path, found: Prediction) -> list[dict[str, str]]:
        height, width = found.mask.shape
        rows = []
        for label, class_name in enumerate(self.classes, 1):
            score = found.score.get(class_name)
            values = (name, str(path), height, width, class_name, int((found.mask == label).sum()),
                      "" if score is None else f"{score:.3f}")  # fmt: skip
            rows.append(dict(zip(_COLUMNS, map(str, values), strict=True)))
        return rows

    def finish(self) -> None:
        """Write all masks as COCO annotations: one region, as compressed RLE, for each class or object of an image.

        Raises:
            FssegError: The folder cannot be written.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        every: dict[str, list[dict[str, str]]] = {}
        for row in self.rows:
            every.setdefault(row["name"], []).append(row)
        for number, (name, rows) in enumerate(sorted(every.items()), 1):
            size = {"height": int(rows[0]["height"]), "width": int(rows[0]["width"])}
            images.append({"id": number, "file_name": rows[0]["image"], **size})
            mask = read_labels(self.folder / MASKS / f"{name}.png").astype(np.uint8)
            numbers = instances_of(mask) if self.instances else mask
            for row in rows:
                label = self.classes.index(row["class"]) + 1
                score = {"score": float(row["score"])} if row["score"] else {}
                for region in np.unique(numbers[mask == label]):
                    of = {"id": len(annotations) + 1, "image_id": number, "category_id": label}
                    annotations.append({**of, **_region(numbers == region), "iscrowd": 0, **score})
        categories = [{"id": label, "name": name} for label, name in enumerate(self.classes, 1)]
        content = {"images": images, "categories": categories, "annotations": annotations}
        atomic.write_text(self.folder / COCO, json.dumps(content) + "\n")


def _region(region: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Segmentation, area and box of a region ``H W`` in COCO's format."""
    rle = coco.encode(np.asfortranarray(region.astype(np.uint8)))
    box = [float(value) for value in coco.toBbox(rle)]
    segmentation = {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
    return {"segmentation": segmentation, "area": int(coco.area(rle)), "bbox": box}


def _as_csv(rows: Sequence[Mapping[str, str]], header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({column: csv_cell(value) for column, value in row.items()} for row in rows)
    return text.getvalue()


def _of_csv(row: Mapping[Any, Any]) -> dict[Any, Any]:
    return {column: csv_text(value) if isinstance(value, str) else value for column, value in row.items()}


def _has_content(path: Path) -> bool:
    """Whether a file exists and is not empty; a power cut may leave an empty file."""
    return path.is_file() and path.stat().st_size > 0
