"""Rows of a test that is under way: written batch by batch, so that they take no memory and outlive the process."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fsseg.episode import BACKGROUND, NO_WAY, Episode
from fsseg.results.rows import Row

_NUMBERS = 8  # fields of a row that are numbers, before the images
EpisodesByNumber = dict[tuple[int, int], Episode]  # by run and number


class Streamed(NamedTuple):
    """What a stream holds.

    Attributes:
        rows: of all batches that are whole; images by number.
        left: run and number of episodes that were left out.
        episodes: how many these batches had, with those that were left out.
    """

    rows: list[Row]
    left: list[tuple[int, int]]
    episodes: int


class Stream:
    """A file of rows, with a line after each batch; what follows the last of these lines was never finished.

    Args:
        path: of the file.
        taken: rows of an earlier test that this one goes on from.

    Raises:
        OSError: the disk is full, also from `add`.
    """

    def __init__(self, path: Path, taken: Streamed | None = None) -> None:
        self.path, self.episodes = path, 0
        path.write_bytes(b"")
        if taken:
            self.add(taken.rows, taken.left)

    def add(self, rows: Iterable[Row], left: Iterable[tuple[int, int]] = ()) -> None:
        """Write a batch's rows, and which of its episodes were left out."""
        rows, left = list(rows), list(left)
        episodes = self.episodes + len({(row.run, row.episode) for row in rows}) + len(left)
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        text.write(json.dumps({"episodes": episodes, "left": left}) + "\n")
        content = text.getvalue().encode()
        with self.path.open("ab", buffering=0) as file:  # so that nothing is left to be written when the disk is full
            while content:
                content = content[file.write(content) :]
        self.episodes = episodes

    def read(self) -> Streamed:
        """All that was added."""
        return read(self.path)

    def remove(self) -> None:
        """Take the file away."""
        self.path.unlink()


def read(path: Path, at_most: int | None = None) -> Streamed:
    """Whole batches of a stream.

    Args:
        path: of the file, which may break off anywhere.
        at_most: episodes.
    """
    rows: list[Row] = []
    left: list[tuple[int, int]] = []
    whole, episodes = 0, 0
    with path.open(newline="", encoding="utf-8") as file:
        for line in file:
            if line.startswith("{") and line.endswith("\n"):
                told = json.loads(line)
                if at_most is not None and told["episodes"] > at_most:
                    break
                left += [(run, number) for run, number in told["left"]]
                whole, episodes = len(rows), told["episodes"]
            elif line.endswith("\n"):
                values = next(csv.reader([line]))
                rows.append(Row(*map(int, values[:_NUMBERS]), *values[_NUMBERS:]))  # type: ignore[arg-type]
    return Streamed(rows[:whole], left, episodes)


def episodes_of(rows: Iterable[Row]) -> EpisodesByNumber:
    """The episodes that rows are of, images by number."""
    found: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.run, row.episode), []).append(row)
    return {key: _episode(of) for key, of in found.items()}


def _episode(rows: list[Row]) -> Episode:
    """Of its rows: for each query the background's, then one per way."""
    queries = [row for row in rows if row.class_id == BACKGROUND]
    ways = rows[1 : len(rows) // len(queries)]
    classes = tuple(row.class_id for row in ways)
    return Episode(
        classes,
        tuple(tuple(map(int, row.support.split())) for row in ways),
        tuple(int(row.query) for row in queries),
        tuple(classes.index(row.query_class) if row.query_class != BACKGROUND else NO_WAY for row in queries),
    )
