"""Rows of pixel counts: one per run, episode, query and class. Every number of a table is a sum over rows."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fsseg.episode import BACKGROUND, NO_WAY, Batch
from fsseg.errors import FssegError
from fsseg.untrusted.text import csv_cell, csv_text

if TYPE_CHECKING:  # a table is made without torch
    from torch import Tensor

    from fsseg.metrics import Counts


class Row(NamedTuple):
    """Pixel counts of one class on one query.

    Attributes:
        run: number of the run.
        episode: number of the episode within the run.
        class_id: the data set's class id; 0 is background.
        query_class: class id that the query was drawn for; 0 for a query that shows none of the episode's classes.
        intersection: pixels predicted and true.
        union: pixels predicted or true.
        truth: true pixels.
        pixels: number of pixels that are not ignored.
        support: image numbers of the way's supports (of all ways for background), joined by spaces.
        query: image number of the query.
        protocol: name and digest of the protocol.
        presence: presence score of the class on the query, see `fsseg.metrics.presence`; None if the test has no
            queries without their classes, and for background.
    """

    run: int
    episode: int
    class_id: int
    query_class: int
    intersection: int
    union: int
    truth: int
    pixels: int
    support: str
    query: str
    protocol: str = ""
    presence: float | None = None


_MOST = 1 << 40  # largest count of a row, so that sums over rows fit into 64 bits
_FIELDS = list(Row._fields)
_OLD_FIELDS = _FIELDS[:-1]  # of tests before presence scores


def batch_rows(batch: Batch, counts: Counts, presence: Tensor | None = None) -> list[Row]:
    """Rows of a batch without its padding; images are given by number.

    Args:
        batch: episodes.
        counts: pixel counts of the queries.
        presence: ``B Q N``, presence scores of the classes, if they were computed.
    """
    rows = []
    intersection, union, truth = (t.tolist() for t in counts)
    scores = None if presence is None else presence.tolist()
    for b, number in enumerate(batch.number.tolist()):
        if number < 0:
            continue
        supports = batch.support_id[b].tolist()
        everything = [i for shots in supports for i in shots]
        classes = batch.classes[b].tolist()
        for q, (query, way) in enumerate(zip(batch.query_id[b].tolist(), batch.query_way[b].tolist(), strict=True)):
            drawn_for = classes[way] if way != NO_WAY else BACKGROUND
            pixels = sum(truth[b][q])
            for label, class_id in enumerate([BACKGROUND, *classes]):
                shown = supports[label - 1] if label else everything
                counted = (intersection[b][q][label], union[b][q][label], truth[b][q][label])
                names = (" ".join(map(str, shown)), str(query))
                score = scores[b][q][label - 1] if scores and label else None
                rows.append(
                    Row(int(batch.run[b]), number, class_id, drawn_for, *counted, pixels, *names, presence=score)
                )
    return rows


def write_rows(rows: Iterable[Row], path: Path, common: Mapping[str, Any] | None = None) -> None:
    """Write rows as CSV.

    Args:
        rows: rows to write.
        path: file to write.
        common: additional columns with one value for all rows, so that files of several tests can be concatenated.
    """
    names, values = (list(common), list(common.values())) if common else ([], [])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(csv_cell, [*Row._fields, *names]))
        writer.writerows(map(csv_cell, [*row, *values]) for row in rows)


def as_row(cells: Sequence[str]) -> Row:
    """The row of a line of a CSV file.

    Raises:
        ValueError: a number is none, or a presence score is not finite.
    """
    score = float(cells[-1]) if len(cells) == len(_FIELDS) and cells[-1] else None
    if score is not None and not math.isfinite(score):
        raise ValueError
    return Row._make([*map(int, cells[:8]), *map(csv_text, cells[8 : len(_OLD_FIELDS)]), score])


def read_rows(path: Path) -> list[Row]:
    """Read rows that `write_rows` wrote, without the common columns.

    Raises:
        FssegError: the file is missing or incomplete, or `write_rows` did not write it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        header, *lines = csv.reader(text.splitlines())
        there = len(_FIELDS) if header[: len(_FIELDS)] == _FIELDS else len(_OLD_FIELDS)
        if header[:there] != _FIELDS[:there] or not text.endswith("\n"):
            raise ValueError
        rows = [as_row(line[:there]) for line in lines]
        runs = {row.run for row in rows}  # every run has rows
        if runs != set(range(len(runs))) or not all(0 <= n < _MOST for row in rows for n in row[1:8]):
            raise ValueError
        return rows
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise FssegError(
            f"{path} has no rows of `fsseg test`, or some are missing: delete its folder and test again."
        ) from error
