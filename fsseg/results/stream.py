"""Rows of a running test, written batch by batch: they need no memory and survive the end of the process."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fsseg.results.rows import Row, as_row


class Streamed(NamedTuple):
    """Content of a stream.

    Attributes:
        rows: rows of all complete batches; images are given by number.
        left: run and number of each episode that was left out.
        episodes: number of episodes of these batches, including those left out.
    """

    rows: list[Row]
    left: list[tuple[int, int]]
    episodes: int


class Stream:
    """A file of rows with a JSON line after each batch; rows after the last JSON line are incomplete.

    Args:
        path: path of the file.
        taken: content of an earlier test that this test resumes.

    Raises:
        OSError: the disk is full; `add` raises it too.
    """

    def __init__(self, path: Path, taken: Streamed | None = None) -> None:
        self.path, self.episodes = path, 0
        path.write_bytes(b"")
        if taken:
            self.add(taken.rows, taken.left)

    def add(self, rows: Iterable[Row], left: Iterable[tuple[int, int]] = ()) -> None:
        """Write a batch's rows, and the episodes of the batch that were left out."""
        rows, left = list(rows), list(left)
        episodes = self.episodes + len({(row.run, row.episode) for row in rows}) + len(left)
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        text.write(json.dumps({"episodes": episodes, "left": left}) + "\n")
        content = text.getvalue().encode()
        with self.path.open("ab", buffering=0) as file:  # unbuffered: a full disk must raise here
            while content:
                content = content[file.write(content) :]
        self.episodes = episodes

    def read(self) -> Streamed:
        """Everything that was added."""
        return read(self.path)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink()


def read(path: Path, at_most: int | None = None) -> Streamed:
    """Complete batches of a stream.

    Args:
        path: path of the file; the file may end anywhere.
        at_most: largest number of episodes to read; all by default.
    """
    rows: list[Row] = []
    left: list[tuple[int, int]] = []
    complete, episodes = 0, 0
    with path.open(newline="", encoding="utf-8") as file:
        for line in file:
            if line.startswith("{") and line.endswith("\n"):
                batch = json.loads(line)
                if at_most is not None and batch["episodes"] > at_most:
                    break
                left += [(run, number) for run, number in batch["left"]]
                complete, episodes = len(rows), batch["episodes"]
            elif line.endswith("\n"):
                rows.append(as_row(next(csv.reader([line]))))
    return Streamed(rows[:complete], left, episodes)
