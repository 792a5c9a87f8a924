"""Finished tests, read from their folders, and grouped into the lines of a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.episode import BACKGROUND
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Chosen, Protocol
from fsseg.results.absence import RunAbsence, of_runs
from fsseg.results.published import Setting
from fsseg.results.rows import Row, read_rows
from fsseg.results.table_file import read_table
from fsseg.results.tables import Table, make_table
from fsseg.results.test_facts import Tested
from fsseg.untrusted.text import is_line

Array = npt.NDArray[np.float64]


class Sums(NamedTuple):
    """Pixel counts of one run: a row per episode, a column per class, background first.

    Attributes:
        intersection: pixels predicted and true.
        union: pixels predicted or true.
    """

    intersection: Array
    union: Array


@dataclass(frozen=True)
class FinishedTest:
    """A finished test; rows are read at first use.

    Attributes:
        folder: folder with ``rows.csv`` and ``table.json``.
        tested: facts about the test.
        count: number of rows that the test wrote.
    """

    folder: Path
    tested: Tested
    count: int

    @cached_property
    def rows(self) -> list[Row]:
        """Pixel counts per run, episode, query and class.

        Raises:
            FssegError: the file is broken, rows are missing, or the rows belong to another test.
        """
        rows = read_rows(self.folder / "rows.csv")
        if len(rows) != self.count:
            raise FssegError(
                f"{self.folder / 'rows.csv'} has {len(rows):,} rows, but the test wrote {self.count:,}: delete "
                f"{self.folder} and test again."
            )
        unknown = {row.class_id for row in rows} - {BACKGROUND, *self.tested.classes}
        if unknown or not all(is_line(row.query) for row in rows):
            raise FssegError(f"{self.folder / 'rows.csv'} does not belong to its table.json: test again.")
        return rows

    @cached_property
    def table(self) -> Table:
        """The table made from the rows."""
        return make_table(self.tested, self.rows)

    @cached_property
    def sums(self) -> list[Sums]:
        """Pixel counts per run, episode and class, summed by the rules of `make_table`."""
        classes = {c: place for place, c in enumerate([BACKGROUND, *self.tested.classes])}
        drop = self.tested.protocol.absent == "drop"
        episodes: list[dict[int, int]] = [{} for _ in range(max((row.run for row in self.rows), default=-1) + 1)]
        for row in self.rows:
            episodes[row.run].setdefault(row.episode, len(episodes[row.run]))
        runs = [Sums(*(np.zeros((len(found), len(classes))) for _ in range(2))) for found in episodes]
        for row in self.rows:
            if row.query_class == BACKGROUND or (drop and row.truth == 0):
                continue
            place = episodes[row.run][row.episode], classes[row.class_id]
            runs[row.run].intersection[place] += row.intersection
            runs[row.run].union[place] += row.union
        return runs

    @cached_property
    def absences(self) -> list[RunAbsence]:
        """Sums of each run with the queries that show no class of their episode."""
        return of_runs(self.tested.classes, self.rows)

    @property
    def episodes(self) -> int:
        """Number of episodes over all runs."""
        return sum(len(run.union) for run in self.sums)


def find_results(folders: Iterable[Path]) -> list[FinishedTest]:
    """All finished tests below some folders, each once, in the order of their paths.

    Raises:
        FssegError: a folder is missing or has no test, or a test cannot be read.
    """
    found: dict[Path, FinishedTest] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FssegError(f"{folder}: no such folder. Give folders that hold tests (rows.csv beside table.json).")
        tables = [path for path in sorted(folder.rglob("table.json")) if (path.parent / "rows.csv").is_file()]
        if not tables:
            raise FssegError(f"{folder} holds no finished test (rows.csv beside table.json): run `fsseg test` first.")
        for path in tables:
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # still being written
            if path.resolve() not in found and not hidden:
                found[path.resolve()] = read_result(path.parent)
    return list(found.values())


def read_result(folder: Path) -> FinishedTest:
    """The test of one folder.

    Raises:
        FssegError: the test cannot be read.
    """
    record = read_table(folder)
    return FinishedTest(folder, record.tested, record.rows)


class Series(NamedTuple):
    """Results that differ only in fold, shots, annotation and seed: one line of a table.

    Attributes:
        setting: method, encoder, data set and way; shot and annotation are those of the first result.
        protocol: protocol of the tests.
        trained: training recipe and training shots, in words; empty if there is one recipe and each training used the
            shots of its test.
        results: the results.
        selection: how the checkpoints were chosen; None for untrained methods.
    """

    setting: Setting
    protocol: Protocol
    trained: str
    results: tuple[FinishedTest, ...]
    selection: Chosen | None = None


def series(results: Sequence[FinishedTest]) -> list[Series]:
    """Group results into lines of a table.

    Results of one line, shot and annotation share one training recipe, identified by its digest. If there are several
    recipes, each gets a separate line.

    Raises:
        FssegError: two results of a line have the same fold, shots, annotation and seed.
    """
    groups: dict[tuple[object, ...], list[FinishedTest]] = {}
    for result in results:
        tested = result.tested
        key = (replace(tested.setting, shot=0, annotation=""), str(tested.protocol), tested.selection)
        groups.setdefault(key, []).append(result)
    found = [part for group in groups.values() for part in _by_recipe(group)]
    for line in found:
        _refuse_doubles(line)
    return found


def _by_recipe(group: list[FinishedTest]) -> list[Series]:
    """Split a group if one shot and annotation has several recipes."""
    recipes: dict[tuple[object, ...], set[str]] = {}
    for result in group:
        tested = result.tested
        cell = (tested.setting.shot, tested.setting.annotation, tested.trained_shot)
        recipes.setdefault(cell, set()).add(tested.training)
    if all(len(found) == 1 for found in recipes.values()):
        return _by_training_shots(group, "")
    digests = sorted({result.tested.training for result in group})
    parts = [[result for result in group if result.tested.training == digest] for digest in digests]
    return [
        line for part, digest in zip(parts, digests, strict=True) for line in _by_training_shots(part, f"#{digest}")
    ]


def _by_training_shots(group: list[FinishedTest], recipe: str) -> list[Series]:
    """Split a group into trainings with the shots of the test and trainings with another number of shots."""
    other = sorted({r.tested.trained_shot for r in group if r.tested.trained_shot not in (None, r.tested.setting.shot)})
    lines = []
    for shot in other:
        part = [result for result in group if result.tested.trained_shot == shot]
        words = ", ".join([*([f"recipe {recipe}"] if recipe else []), f"trained with {shot}-shot"])
        lines.append(_line(part, words))
    same = [r for r in group if r.tested.trained_shot in (None, r.tested.setting.shot)]
    if any(result.tested.trained_shot not in other for result in same):
        lines.insert(0, _line(same, f"recipe {recipe}" if recipe else ""))
    return lines


def _line(results: list[FinishedTest], trained: str) -> Series:
    tested = results[0].tested
    return Series(tested.setting, tested.protocol, trained, tuple(results), tested.selection)


def _refuse_doubles(line: Series) -> None:
    seen: dict[tuple[object, ...], FinishedTest] = {}
    for result in line.results:
        tested = result.tested
        key = (tested.fold, tested.setting.shot, tested.setting.annotation, tested.seed, tested.trained_shot)
        if key in seen:
            raise FssegError(
                f"{seen[key].folder} and {result.folder} have the same method, fold, shots, seed and protocol "
                f"{tested.protocol}: give only one of them."
            )
        seen[key] = result
