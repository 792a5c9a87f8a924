"""What is written for each query, such that a stopped run goes on: masks, overlays, probabilities, scores, COCO."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from pycocotools import mask as coco

from fsseg.cli import folders
from fsseg.cli.asked import ASKED, MASKS, OVERLAYS, PROBABILITIES
from fsseg.data.base import Image
from fsseg.data.mask_files import read_labels
from fsseg.errors import FssegError
from fsseg.pictures import overlay, palette
from fsseg.safe import BrokenTextError, load_json
from fsseg.segmenter import Prediction

SCORES, COCO = "scores.csv", "annotations.json"
_COLUMNS = ("name", "image", "height", "width", "class", "pixels", "score")
_SCORE = re.compile(r"^([01]\.\d{3})?$", re.ASCII)
_QUALITY = 90  # of overlays


class Results:
    """The folder of results; a query is done once it stands in ``scores.csv``, which is written last.

    Args:
        folder: made where it is missing.
        asked: what decides the results; a folder of other ones is refused.
        queries: of this run, by name.
        classes: names, in the order of their labels.
        probabilities: write maps.

    Attributes:
        rows: of ``scores.csv``, one for each query and class.

    Raises:
        FssegError: the folder cannot be written, or holds something else.
    """

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        queries: Mapping[str, Path],
        classes: Sequence[str],
        probabilities: bool,
    ) -> None:
        self.folder, self.queries, self.classes, self.probabilities = folder, queries, classes, probabilities
        self.rows: list[dict[str, str]] = []
        with _written(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                self._go_on(asked)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                folders.write_whole(folder / ASKED, json.dumps(asked, indent=2) + "\n")
                folders.write_whole(folder / SCORES, ",".join(_COLUMNS) + "\n")

    @property
    def done(self) -> set[str]:
        """Names of the pictures that are done, also of earlier runs."""
        return {row["name"] for row in self.rows}

    def _go_on(self, asked: Mapping[str, Any]) -> None:
        try:
            before = load_json((self.folder / ASKED).read_text())
            text = (self.folder / SCORES).read_text() if (self.folder / SCORES).exists() else ""
        except (OSError, UnicodeDecodeError, BrokenTextError) as error:
            raise FssegError(
                f"--out {self.folder} already holds files, and no `fsseg predict`. Choose another."
            ) from error
        now = json.loads(json.dumps(asked))
        if before != now:
            name = next((n for n in now if not isinstance(before, dict) or before.get(n) != now[n]), "more")
            what = {"support": "supports", "negative": "negatives", "files": "contents of supports or checkpoint"}
            raise FssegError(
                f"--out {self.folder} holds results of other {what.get(name, f'--{name}')}: choose another folder, or "
                "give the same again to go on there."
            )
        # A line that a kill cut off is no query that is done, and neither are the ones before it of the same query.
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.DictReader(io.StringIO(whole)))
        good = [row for row in rows if self._is_row(row)]
        counts = Counter(row["name"] for row in good)
        self.rows = [row for row in good if counts[row["name"]] == len(self.classes) and self._is_current(row)]
        if len(self.rows) < len(rows) or whole != text or not text:
            folders.write_whole(self.folder / SCORES, _as_csv(self.rows, header=True))

    def _is_row(self, row: Mapping[str | None, Any]) -> bool:
        texts = [row.get(column) for column in _COLUMNS]
        if None in row or not all(isinstance(text, str) for text in texts):
            return False
        numbers = all(row[column].isascii() and row[column].isdigit() for column in ("height", "width", "pixels"))
        return numbers and row["class"] in self.classes and bool(_SCORE.match(row["score"]))

    def _is_current(self, row: Mapping[str, str]) -> bool:
        """Whether a row's files are there, of the picture that has its name now, and made after that."""
        path, mask = Path(row["image"]), self.folder / MASKS / f"{row['name']}.png"
        if self.queries.get(row["name"], path) != path or not mask.is_file():
            return False
        return not path.is_file() or path.stat().st_mtime_ns <= mask.stat().st_mtime_ns

    def add(self, name: str, path: Path, image: Image, found: Prediction) -> None:
        """Write what was found in a query.

        Raises:
            FssegError: the disk is full, or the folder cannot be written.
        """
        with _written(self.folder):
            mask = PIL.Image.fromarray(found.mask)
            mask.putpalette(palette(len(self.classes)))
            mask.save(self._place(MASKS, name, ".png"), optimize=True)
            PIL.Image.fromarray(overlay(image, found.mask)).save(self._place(OVERLAYS, name, ".jpg"), quality=_QUALITY)
            if self.probabilities and found.probability is not None:
                for label, class_name in enumerate(self.classes, 1):
                    grey = np.rint(255 * found.probability[label]).astype(np.uint8)
                    PIL.Image.fromarray(grey).save(self._place(f"{PROBABILITIES}/{class_name}", name, ".png"))
            rows = self._rows(name, path, found)
            with (self.folder / SCORES).open("a", newline="") as file:
                file.write(_as_csv(rows))
        self.rows += rows

    def _rows(self, name: str, path: Path, found: Prediction) -> list[dict[str, str]]:
        height, width = found.mask.shape
        rows = []
        for label, class_name in enumerate(self.classes, 1):
            score = found.score.get(class_name)
            values = (name, str(path), height, width, class_name, int((found.mask == label).sum()),
                      "" if score is None else f"{score:.3f}")  # fmt: skip
            rows.append(dict(zip(_COLUMNS, map(str, values), strict=True)))
        return rows

    def _place(self, kind: str, name: str, ending: str) -> Path:
        place = self.folder / kind / f"{name}{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def finish(self) -> None:
        """Write all masks as COCO's annotations: a region for each class of each picture, as compressed RLE.

        Raises:
            FssegError: the folder cannot be written.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, name in enumerate(sorted(self.done), 1):
            rows = [row for row in self.rows if row["name"] == name]
            size = {"height": int(rows[0]["height"]), "width": int(rows[0]["width"])}
            images.append({"id": number, "file_name": rows[0]["image"], **size})
            mask = read_labels(self.folder / MASKS / f"{name}.png")
            for row in rows:
                label = self.classes.index(row["class"]) + 1
                if int(row["pixels"]):
                    score = {"score": float(row["score"])} if row["score"] else {}
                    of = {"id": len(annotations) + 1, "image_id": number, "category_id": label}
                    annotations.append({**of, **_region(mask == label), "iscrowd": 0, **score})
        categories = [{"id": label, "name": name} for label, name in enumerate(self.classes, 1)]
        content = {"images": images, "categories": categories, "annotations": annotations}
        folders.write_whole(self.folder / COCO, json.dumps(content) + "\n")


def _region(region: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A region in COCO's form."""
    rle = coco.encode(np.asfortranarray(region.astype(np.uint8)))
    box = [float(value) for value in coco.toBbox(rle)]
    segmentation = {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
    return {"segmentation": segmentation, "area": int(coco.area(rle)), "bbox": box}


def _as_csv(rows: Sequence[Mapping[str, str]], header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """What the operating system refuses, as one line."""
    try:
        yield
    except OSError as error:
        raise folders.refused(error, folder, "The same command goes on from there.") from error
