"""Numbers of a test, computed from its rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.episode import BACKGROUND
from fsseg.iou import iou
from fsseg.results import absence
from fsseg.results.published import Published, published
from fsseg.results.rows import Row
from fsseg.results.test_facts import Tested

RowsMask = npt.NDArray[np.bool_]
# Places of the numeric fields in `Row`.
_RUN, _EPISODE, _CLASS, _QUERY_CLASS, _INTERSECTION, _UNION, _TRUTH, _PIXELS = range(8)


class Score(NamedTuple):
    """Mean and population standard deviation over runs, in percent; NaN without counts, and std also with one run."""

    mean: float
    std: float

    def __str__(self) -> str:
        return number(self.mean) if np.isnan(self.std) else f"{self.mean:.1f} +- {self.std:.1f}"


def number(value: float) -> str:
    """A number with one decimal, or a dash for NaN."""
    return "-" if np.isnan(value) else f"{value:.1f}"


class ClassScore(NamedTuple):
    """IoU of one class."""

    class_id: int
    name: str
    iou: Score
    queries: int


class Part(NamedTuple):
    """A score over a part of the queries."""

    score: Score
    queries: int


class FalseAlarms(NamedTuple):
    """False positives on queries that show no class of their episode.

    Attributes:
        pixels: false-positive rate: share of pixels that are predicted as foreground.
        alarmed: share of queries with at least one such pixel.
        counted: mean-IoU of all queries, in which these pixels count.
        auc: area under the ROC curve of the presence scores; NaN if the test did not compute them.
        queries: number of queries.
    """

    pixels: Score
    alarmed: Score
    counted: Score
    auc: Score
    queries: int


@dataclass(frozen=True)
class Table:
    """Numbers of a test.

    Attributes:
        tested: facts about the test.
        classes: IoU of each class.
        mean_iou: mean IoU over the classes that were drawn.
        binary_iou: mean of background IoU and foreground IoU.
        everything_foreground: mean-IoU of the trivial prediction that is foreground everywhere, as a lower bound for
            1-way numbers; None with several ways, where a pixel has one label only.
        several: mean-IoU over queries that show several classes of their episode; None with one way.
        false_alarms: None if every query shows a class of its episode.
        rows: number of rows.
    """

    tested: Tested
    classes: tuple[ClassScore, ...]
    mean_iou: Score
    binary_iou: Score
    everything_foreground: Score | None
    several: Part | None
    false_alarms: FalseAlarms | None
    rows: int = 0

    def score(self, metric: str) -> Score:
        """The score of a metric; those of `fsseg.results.absence` need `false_alarms`."""
        scores = {"mean-IoU": self.mean_iou, "binary-IoU": self.binary_iou}
        if alarms := self.false_alarms:
            scores |= {absence.PIXELS: alarms.pixels, absence.ALARMED: alarms.alarmed}
            scores |= {absence.COUNTED: alarms.counted, absence.AUC: alarms.auc}
        return scores[metric]

    def published(self, metric: str) -> Published | None:
        """The published number of this setting and fold; None if there is none."""
        return published(self.tested.setting, metric, self.tested.fold)

    def published_line(self, metric: str) -> str:
        """The published number of the fold in words, or why there is none."""
        if found := self.published(metric):
            made = f", protocol {found.protocol}" if found.protocol != "unknown" else ""
            return f"published {found.value:.1f} ({found.source}, fold {self.tested.fold}{made})"
        if published(self.tested.setting, metric, None):
            return "published as mean of all folds only"
        return "not published"


class _Values:
    """Numeric columns of rows, and ratios of their sums."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.values = np.array([row[:8] for row in rows], dtype=np.int64).reshape(-1, 8)
        self.runs = range(int(self.column(_RUN).max(initial=0)) + 1)

    def column(self, place: int) -> npt.NDArray[np.int64]:
        return self.values[:, place]

    def ratio(self, chosen: RowsMask, above: int = _INTERSECTION, below: int = _UNION) -> npt.NDArray[np.float64]:
        """Sum of one column divided by the sum of another, per run."""
        sums = np.array([self.values[chosen & (self.column(_RUN) == run)].sum(axis=0) for run in self.runs])
        return iou(sums[:, above], sums[:, below])

    def mean_iou(self, classes: Iterable[int], above: int = _INTERSECTION, below: int = _UNION) -> Score:
        """Mean IoU over the classes that a run drew."""
        per_class = [self.ratio(self.column(_CLASS) == c, above, below) for c in classes]
        return _score(_mean(np.array(per_class)))


def make_table(tested: Tested, rows: Sequence[Row]) -> Table:
    """Numbers of a test: counts are summed per run and class, divided, and averaged over runs."""
    shown = [row for row in rows if row.query_class != BACKGROUND]
    used = shown if tested.protocol.absent == "count" else [row for row in shown if row.truth > 0]
    values, one_way = _Values(used), tested.setting.way == 1
    of = {c: values.column(_CLASS) == c for c in tested.classes}
    lines = [ClassScore(c, n, _score(values.ratio(of[c])), int(of[c].sum())) for c, n in tested.classes.items()]
    background = values.column(_CLASS) == BACKGROUND
    binary = np.mean([values.ratio(background), values.ratio(~background)], axis=0)
    return Table(
        tested,
        tuple(lines),
        values.mean_iou(tested.classes),
        _score(binary),
        # Foreground everywhere: the intersection is the truth, the union is every pixel.
        values.mean_iou(tested.classes, _TRUTH, _PIXELS) if one_way else None,
        None if one_way else _several(tested.classes, used),
        _false_alarms(tested.classes, rows),
        len(rows),
    )


def _by_query(rows: Sequence[Row]) -> dict[tuple[int, int, str], list[Row]]:
    """Rows of foreground classes, grouped by run, episode and query."""
    found: dict[tuple[int, int, str], list[Row]] = {}
    for row in rows:
        if row.class_id != BACKGROUND:
            found.setdefault((row.run, row.episode, row.query), []).append(row)
    return found


def _several(classes: Iterable[int], rows: Sequence[Row]) -> Part:
    """Mean-IoU over queries whose truth shows at least two classes of their episode."""
    queries = [found for found in _by_query(rows).values() if sum(row.truth > 0 for row in found) > 1]
    return Part(_Values(row for found in queries for row in found).mean_iou(classes), len(queries))


def _false_alarms(classes: Iterable[int], rows: Sequence[Row]) -> FalseAlarms | None:
    """Numbers of the queries that show no class of their episode."""
    if all(row.query_class != BACKGROUND for row in rows):
        return None
    runs = absence.of_runs(classes, rows)
    scores = (_score(np.array([metric(run, run.equal)[0] for run in runs])) for metric in absence.ABSENCE.values())
    named = dict(zip(absence.ABSENCE, scores, strict=True))
    return FalseAlarms(
        named[absence.PIXELS],
        named[absence.ALARMED],
        named[absence.COUNTED],
        named[absence.AUC],
        int(sum(run.absent.sum() for run in runs)),
    )


def _mean(per_class: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over the classes that a run drew."""
    return np.array([run[~np.isnan(run)].mean() if (~np.isnan(run)).any() else np.nan for run in per_class.T])


def _score(per_run: npt.NDArray[np.float64]) -> Score:
    known = per_run[~np.isnan(per_run)] * 100
    spread = float(known.std()) if len(known) > 1 else np.nan
    return Score(float(known.mean()) if len(known) else np.nan, spread)
