"""The record of a test, ``table.json``: facts about the test, and the numbers for other programs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg.errors import FssegError
from fsseg.results.tables import Score, Table
from fsseg.results.test_facts import MOST, Tested
from fsseg.untrusted.records import as_json, convert, plain
from fsseg.untrusted.text import is_count, is_number, is_text, load_json

NAME = "table.json"


@dataclass(frozen=True)
class TableRecord:
    """The part of a ``table.json`` that fsseg reads; all numbers are computed from the rows again.

    Attributes:
        tested: facts about the test.
        rows: number of rows that the test wrote.
    """

    tested: Tested
    rows: int


@dataclass(frozen=True)
class Scores:
    """Numbers of a ``table.json``, for a reader without the rows.

    Attributes:
        mean_iou: mean-IoU over classes.
        binary_iou: mean IoU of foreground and background.
    """

    mean_iou: Score
    binary_iou: Score


def table_content(table: Table) -> dict[str, Any]:
    """Content of ``table.json`` as plain values: percent, and None where nothing was counted."""
    tested, several = table.tested, table.several
    content = {
        **plain(tested.setting),
        **{name: value for name, value in vars(tested).items() if name not in ("setting", "classes")},
        "protocol": {**plain(tested.protocol), "digest": tested.protocol.digest, "in_words": tested.how},
        "rows": table.rows,
        "classes": [
            {"class_id": c.class_id, "name": c.name, "iou": c.iou.mean, "std": c.iou.std, "queries": c.queries}
            for c in table.classes
        ],
        "mean_iou": table.mean_iou,
        "binary_iou": table.binary_iou,
        "everything_foreground": table.everything_foreground,
        "several": several and {**plain(several.score), "queries": several.queries},
        "false_alarms": table.false_alarms,
        "published": {metric: table.published(metric) for metric in ("mean-IoU", "binary-IoU")},
    }
    return {name: plain(value) for name, value in content.items()}


def table_text(table: Table) -> str:
    """The text of ``table.json``."""
    return as_json(table_content(table))


def read_table(folder: Path) -> TableRecord:
    """The record of a test.

    Raises:
        FssegError: the file is missing or broken, or another program wrote it.
    """
    try:
        content = load_json((folder / NAME).read_text(encoding="utf-8"))
        classes = {line["class_id"]: line["name"] for line in content["classes"]}
        nested = {**content, "setting": content, "classes": classes}
        tested = convert(nested, Tested, free=("asked", "details", "notes"))
        _check(tested, len(content["classes"]), content["rows"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, FssegError) as error:
        raise FssegError(
            f"{folder / NAME} is broken, or another version of fsseg wrote it: delete {folder} and test again."
        ) from error
    return TableRecord(tested, content["rows"])


def read_scores(folder: Path) -> Scores:
    """The numbers of a test as its ``table.json`` gives them.

    Raises:
        FssegError: the file is missing or broken.
    """
    path = folder / NAME
    try:
        content = load_json(path.read_text(encoding="utf-8"))
        found = [[content[name][part] for part in Score._fields] for name in ("mean_iou", "binary_iou")]
        if not all(value is None or (is_number(value) and 0 <= value <= 100) for score in found for value in score):
            raise ValueError("no percentages")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FssegError(f"{path} has no numbers of a test: test again.") from error
    return Scores(*(Score(*(math.nan if value is None else value for value in score)) for score in found))


def _check(tested: Tested, classes: int, rows: object) -> None:
    """Refuse values that no test writes.

    Raises:
        ValueError: there is such a value.
    """
    texts = all(map(is_text, (*tested.details, *tested.notes)))
    if not (tested.fold < tested.folds <= MOST and 0 < classes == len(tested.classes) and texts and is_count(rows)):
        raise ValueError("no table of a test")
