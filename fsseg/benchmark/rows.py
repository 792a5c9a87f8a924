"""Rows: one line per run, episode, query and class. Every number of every table is a sum over rows."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fsseg.episode import Batch
from fsseg.metrics import Counts


class Row(NamedTuple):
    """Pixel counts of one class on one query.

    Attributes:
        run: number of the run.
        episode: number of the episode within the run.
        class_id: the data set's class id; 0 is background.
        intersection: pixels predicted and true.
        union: pixels predicted or true.
        truth: true pixels.
        pixels: all pixels but ignored ones.
        support: image numbers of the way's supports (of all ways for background), joined by spaces.
        query: image number of the query.
    """

    run: int
    episode: int
    class_id: int
    intersection: int
    union: int
    truth: int
    pixels: int
    support: str
    query: str


def batch_rows(batch: Batch, counts: Counts) -> list[Row]:
    """Rows of a batch, padding left out; images by number."""
    rows = []
    intersection, union, truth = (t.tolist() for t in counts)
    for b, number in enumerate(batch.number.tolist()):
        if number < 0:
            continue
        supports = batch.support_id[b].tolist()
        everything = [i for shots in supports for i in shots]
        for q, query in enumerate(batch.query_id[b].tolist()):
            pixels = sum(truth[b][q])
            for label, class_id in enumerate([0, *batch.classes[b].tolist()]):
                shown = supports[label - 1] if label else everything
                counted = (intersection[b][q][label], union[b][q][label], truth[b][q][label])
                names = (" ".join(map(str, shown)), str(query))
                rows.append(Row(int(batch.run[b]), number, class_id, *counted, pixels, *names))
    return rows


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)


def read_rows(path: Path) -> list[Row]:
    """Read rows that `write_rows` wrote."""
    with path.open(newline="") as file:
        return [Row(*map(int, line[:7]), *line[7:]) for line in list(csv.reader(file))[1:]]  # type: ignore[arg-type]
