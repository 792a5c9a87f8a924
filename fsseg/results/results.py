"""Results of tests, read back from their folders: rows, and what they are of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.episode import BACKGROUND
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from fsseg.results.published import Setting
from fsseg.results.rows import Row, read_rows
from fsseg.results.tables import Table, Tested, make_table
from fsseg.untrusted.text import is_count, is_line, is_number, is_text, load_json

Array = npt.NDArray[np.float64]
_MOST = 10_000  # folds, or class ids
_PROTOCOL = {field.name for field in fields(Protocol)}


class Sums(NamedTuple):
    """Counts of one run, a row per episode and a column per class, background first.

    Attributes:
        intersection: pixels predicted and true.
        union: pixels predicted or true.
    """

    intersection: Array
    union: Array


@dataclass(frozen=True)
class Result:
    """A finished test.

    Attributes:
        folder: that holds ``rows.csv`` and ``table.json``.
        tested: what was tested. Of the numbers in ``table.json`` none is read; they all come from the rows.
        count: of rows that there must be; None where the test did not say.
    """

    folder: Path
    tested: Tested
    count: int | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """Counts per run, episode, query and class.

        Raises:
            FssegError: the file is broken, or rows are missing.
        """
        rows = read_rows(self.folder / "rows.csv")
        if self.count is not None and len(rows) != self.count:
            raise FssegError(
                f"{self.folder / 'rows.csv'} has {len(rows):,} rows, not the {self.count:,} that were written: delete "
                f"{self.folder} and test again."
            )
        alien = {row.class_id for row in rows} - {BACKGROUND, *self.tested.classes}
        if alien or not all(is_line(row.query) for row in rows):
            raise FssegError(f"{self.folder / 'rows.csv'} is not of the test of its table.json: test again.")
        return rows

    @cached_property
    def table(self) -> Table:
        """The rows summed up."""
        return make_table(self.tested, self.rows)

    @cached_property
    def sums(self) -> list[Sums]:
        """Counts per run, episode and class, by the rules of `make_table`."""
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

    @property
    def episodes(self) -> int:
        """Number of episodes, all runs together."""
        return sum(len(run.union) for run in self.sums)

    @property
    def departures(self) -> frozenset[str]:
        """What the method departs in from its paper's setting, as its name says in parentheses."""
        _, _, inside = self.tested.setting.method.partition(" (")
        return frozenset(inside.removesuffix(")").split(", ")) if inside else frozenset()

    @property
    def method(self) -> str:
        """The method's name without its departures."""
        return self.tested.setting.method.partition(" (")[0]


def find_results(folders: Iterable[Path]) -> list[Result]:
    """All finished tests below some folders, each once, in the order of their paths.

    Raises:
        FssegError: a folder is not there, holds no test, or one that cannot be read.
    """
    found: dict[Path, Result] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FssegError(f"{folder}: no such folder. Give folders that hold tests (rows.csv beside table.json).")
        tables = [path for path in sorted(folder.rglob("table.json")) if (path.parent / "rows.csv").is_file()]
        if not tables:
            raise FssegError(f"{folder} holds no finished test (rows.csv beside table.json): run `fsseg test` first.")
        for path in tables:
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # being written
            if path.resolve() not in found and not hidden:
                found[path.resolve()] = read_result(path.parent)
    return list(found.values())


def read_result(folder: Path) -> Result:
    """The test of one folder.

    Raises:
        FssegError: it cannot be read.
    """
    try:
        content = load_json((folder / "table.json").read_text(encoding="utf-8"))
        _check(content)
        setting = Setting(*(content[name] for name in Setting._fields))
        protocol = Protocol(**{name: value for name, value in content["protocol"].items() if name in _PROTOCOL})
        tested = Tested(
            setting,
            content["fold"],
            {c["class_id"]: c["name"] for c in content["classes"]},
            content["checkpoint"],
            protocol,
            content["pairs"],
            tuple(content["details"]),
            tuple(content["notes"]),
            content["selection"],
            content["seed"],
            content["trained_shot"],
            content["training"],
            content["folds"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, FssegError) as error:
        raise FssegError(
            f"{folder / 'table.json'} is not of this version of fsseg, or broken: delete {folder} and test again."
        ) from error
    return Result(folder, tested, content.get("rows"))


_LINES = ("method", "encoder", "dataset", "annotation", "checkpoint", "training")
_COUNTS = {"way": 1, "shot": 1, "fold": 0, "pairs": 0, "seed": 0, "folds": 1}


def _check(content: Mapping[str, Any]) -> None:
    """Refuse what `fsseg test` does not write: tables and pages are made of it.

    Raises:
        ValueError: there is something.
        KeyError: something is missing.
    """
    classes = content["classes"]
    whole = (
        all(is_line(content[name]) for name in _LINES)
        and all(is_count(content[name], least) for name, least in _COUNTS.items())
        and content["fold"] < content["folds"] <= _MOST
        and (content["trained_shot"] is None or is_count(content["trained_shot"], 1))
        and content["selection"] in (None, "last", "base_val", "novel_val", "by hand")
        and (content.get("rows") is None or is_count(content["rows"]))
        and all(isinstance(content[name], list) and all(map(is_text, content[name])) for name in ("details", "notes"))
        and all(is_count(c["class_id"], 1) and c["class_id"] <= _MOST and is_line(c["name"]) for c in classes)
    )
    if not whole or not classes or len({c["class_id"] for c in classes}) < len(classes):
        raise ValueError("no table of a test")
    for name, value in content["protocol"].items():
        if type(value) not in (str, int, float, bool) or not (is_line(value) or is_number(value) or value in (0, 1)):
            raise ValueError(f"no value of a protocol: {name}")


class Series(NamedTuple):
    """Results that differ in fold, shots, annotation and seed only: one line of a table.

    Attributes:
        setting: method, encoder, data set and way; shot and annotation are those of the first result.
        protocol: name and digest.
        trained: how trainings differ from ``k shots trained, k shots tested``, in words; empty where they don't.
        results: all of them.
        selection: how their checkpoints were chosen.
    """

    setting: Setting
    protocol: str
    trained: str
    results: tuple[Result, ...]
    selection: str | None = None


def series(results: Sequence[Result]) -> list[Series]:
    """Results by what they are of.

    Results of one line, shot and annotation must be of one training recipe, as its digest says; where there are
    several, each recipe has a line of its own.

    Raises:
        FssegError: two of them are of the same fold, shots, annotation and seed.
    """
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        tested = result.tested
        key = (*tested.setting._replace(shot=0, annotation=""), str(tested.protocol), tested.selection)
        groups.setdefault(key, []).append(result)
    found = [part for group in groups.values() for part in _by_recipe(group)]
    for line in found:
        _refuse_doubles(line)
    return found


def _by_recipe(group: list[Result]) -> list[Series]:
    """Split where one shot and annotation has several recipes."""
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


def _by_training_shots(group: list[Result], recipe: str) -> list[Series]:
    """Trained with the shots that are tested, and trained with another number of them."""
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


def _line(results: list[Result], trained: str) -> Series:
    tested = results[0].tested
    return Series(tested.setting, str(tested.protocol), trained, tuple(results), tested.selection)


def _refuse_doubles(line: Series) -> None:
    seen: dict[tuple[object, ...], Result] = {}
    for result in line.results:
        tested = result.tested
        key = (tested.fold, tested.setting.shot, tested.setting.annotation, tested.seed, tested.trained_shot)
        if key in seen:
            raise FssegError(
                f"{seen[key].folder} and {result.folder} are of the same method, fold, shots, seed and protocol "
                f"{tested.protocol}: give only one of them."
            )
        seen[key] = result
