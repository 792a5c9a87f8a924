"""Numbers of a study of supports: IoU of the same queries under many draws of supports, by number of shots."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.errors import FssegError
from fsseg.iou import mean_of_known, percent
from fsseg.results.intervals import REPLICATES, interval
from fsseg.results.results import FinishedTest
from fsseg.untrusted.text import csv_cell

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Pixel counts of all queries with one number of shots, ``D C Q``: draws, classes, queries.

    Attributes:
        intersection: pixels predicted and true.
        union: pixels predicted or true.
        supports: names of the supports of each draw and class, joined by spaces.
    """

    intersection: Array
    union: Array
    supports: list[list[str]]

    @property
    def per_draw(self) -> Array:
        """IoU of each draw and class in percent, ``D C``: sums over queries, divided."""
        values: Array = percent(self.intersection.sum(-1), self.union.sum(-1))
        return values

    @property
    def means(self) -> Array:
        """Mean-IoU of each draw, ``D``."""
        values: Array = mean_of_known(self.per_draw)
        return values

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean over draws: both draws and queries are drawn with replacement."""
        generator = np.random.default_rng(0)
        draws, classes, queries = self.union.shape
        found = []
        for _ in range(REPLICATES):
            weight = generator.multinomial(queries, np.full(queries, 1 / queries), size=classes).astype(np.float64)
            sums = [np.einsum("dcq,cq->dc", part, weight) for part in (self.intersection, self.union)]
            drawn = generator.multinomial(draws, np.full(draws, 1 / draws)) / draws
            found.append(mean_of_known(percent(*sums)) @ drawn)
        return interval(np.array(found))


class Study(NamedTuple):
    """A method's study.

    Attributes:
        name: method and encoder.
        classes: names of the classes.
        counts: counts by number of shots, ascending.
    """

    name: str
    classes: tuple[str, ...]
    counts: dict[int, Counts]


def read_study(tests: Sequence[FinishedTest]) -> Study:
    """The study of its tests, one for each number of shots; a run is a draw of supports.

    Raises:
        FssegError: the tests are no study: of several methods, or with other queries in some runs.
    """
    settings = [test.tested.setting for test in tests]
    if len({(s.label, s.encoder, s.dataset) for s in settings}) > 1 or len({s.shot for s in settings}) < len(tests):
        raise FssegError(
            f"{tests[0].folder.parent} is no study of one method: give the folder of one `fsseg supports`."
        )
    named = tests[0].tested.classes
    drawn = sorted({row.class_id for row in tests[0].rows if row.class_id})
    counts = {test.tested.setting.shot: _counts(test, drawn) for test in tests}
    name = f"{settings[0].label}, {settings[0].encoder}"
    return Study(name, tuple(named[c] for c in drawn), dict(sorted(counts.items())))


def _counts(test: FinishedTest, classes: Sequence[int]) -> Counts:
    found: dict[tuple[int, int, str], tuple[int, int]] = {}
    supports: dict[tuple[int, int], str] = {}
    for row in test.rows:
        if row.class_id:
            found[row.run, row.class_id, row.query] = row.intersection, row.union
            supports[row.run, row.class_id] = row.support
    runs = sorted({run for run, _, _ in found})
    queries = {c: sorted({query for _, other, query in found if other == c}) for c in classes}
    try:
        values = np.array([[[found[run, c, query] for query in queries[c]] for c in classes] for run in runs], float)
    except (KeyError, ValueError) as error:
        raise FssegError(f"{test.folder} is no test of `fsseg supports`: its runs have other queries.") from error
    return Counts(values[..., 0], values[..., 1], [[supports[run, c] for c in classes] for run in runs])


def table_text(studies: Sequence[Study]) -> str:
    """Table for a terminal: a line for each method and number of shots, then the spread of each class."""
    width = max(len(study.name) for study in studies)
    head = f"  {'':{width}}  shots  mean-IoU  95 % interval   +- of a draw   worst   best"
    lines = [head]
    for study in studies:
        for place, (shot, counts) in enumerate(study.counts.items()):
            means, (low, high) = counts.means, counts.interval
            name = study.name if place == 0 else ""
            lines.append(
                f"  {name:{width}}  {shot:5}  {means.mean():8.1f}  [{low:4.1f}, {high:4.1f}]  {means.std():13.1f}  "
                f"{means.min():6.1f}  {means.max():5.1f}"
            )
    wide = max(len(name) for study in studies for name in study.classes)
    for study in studies:
        first = next(iter(study.counts))
        lines += ["", f"  {study.name}, {first}-shot: IoU of a class over draws of its supports"]
        for place, name in enumerate(study.classes):
            values = study.counts[first].per_draw[:, place]
            lines.append(
                f"  {name:{wide}}  {values.mean():5.1f} +- {values.std():4.1f}   worst {values.min():5.1f}   "
                f"best {values.max():5.1f}"
            )
    return "\n".join(lines)


def table_csv(studies: Sequence[Study]) -> str:
    """One line for each method, number of shots, draw and class, with the names of the supports."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", "shot", "draw", "class", "iou", "supports"])
    for study in studies:
        for shot, counts in study.counts.items():
            for draw, ious in enumerate(counts.per_draw):
                for name, iou, supports in zip(study.classes, ious, counts.supports[draw], strict=True):
                    writer.writerow(map(csv_cell, [study.name, shot, draw, name, f"{iou:.2f}", supports]))
    return file.getvalue()


def summary(studies: Sequence[Study]) -> list[Mapping[str, object]]:
    """The numbers of `table_text` as plain values, for JSON."""
    return [
        {
            "method": study.name,
            "shot": shot,
            "mean_iou": float(counts.means.mean()),
            "interval": list(counts.interval),
            "std_of_draws": float(counts.means.std()),
            "draws": [float(value) for value in counts.means],
            "classes": {
                name: {"mean": float(values.mean()), "std": float(values.std())}
                for name, values in zip(study.classes, counts.per_draw.T, strict=True)
            },
        }
        for study in studies
        for shot, counts in study.counts.items()
    ]
