"""Numbers of a test whose queries may show no class of their episode: false alarms, and how well scores tell presence.

Each number is a function of weights of a run's episodes, so that a bootstrap draw is computed like the number itself.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.episode import BACKGROUND
from fsseg.iou import iou, mean_of_known
from fsseg.results.rows import Row

Array = npt.NDArray[np.float64]

COUNTED, PIXELS = "mean-IoU with absent classes", "false-positive rate"
ALARMED, AUC = "absent queries with false alarm", "presence AUC"


class Scored(NamedTuple):
    """Presence scores of one class in a run.

    Attributes:
        place: places of the episodes.
        score: presence scores.
        shown: whether the query shows the class.
    """

    place: npt.NDArray[np.int64]
    score: Array
    shown: npt.NDArray[np.bool_]


class RunAbsence(NamedTuple):
    """Sums of one run; a row per episode.

    Attributes:
        intersection: pixels predicted and true, a column per class.
        union: pixels predicted or true, a column per class.
        absent: queries that show no class of the episode.
        alarmed: such queries with a predicted pixel.
        false_pixels: predicted pixels of such queries.
        pixels: pixels of such queries.
        scored: presence scores by class; empty if the test did not compute them.
    """

    intersection: Array
    union: Array
    absent: Array
    alarmed: Array
    false_pixels: Array
    pixels: Array
    scored: tuple[Scored, ...]

    @property
    def equal(self) -> Array:
        """One draw in which each episode counts once, ``1 E``."""
        return np.ones((1, len(self.absent)))


def of_runs(classes: Iterable[int], rows: Sequence[Row]) -> list[RunAbsence]:
    """Sums of each run of a test.

    Args:
        classes: class ids of the test.
        rows: all rows of the test.
    """
    runs: dict[int, list[Row]] = {}
    for row in rows:
        if row.class_id != BACKGROUND:
            runs.setdefault(row.run, []).append(row)
    return [_of_run(tuple(classes), runs[run]) for run in sorted(runs)]


def _of_run(classes: Sequence[int], rows: Sequence[Row]) -> RunAbsence:
    place = {episode: n for n, episode in enumerate(dict.fromkeys(row.episode for row in rows))}
    column = {c: n for n, c in enumerate(classes)}
    counts = np.zeros((2, len(place), len(classes)))
    queries: dict[tuple[int, str], list[Row]] = {}
    scores: dict[int, list[tuple[int, float, bool]]] = {}
    for row in rows:
        counts[:, place[row.episode], column[row.class_id]] += row.intersection, row.union
        if row.query_class == BACKGROUND:
            queries.setdefault((row.episode, row.query), []).append(row)
        if row.presence is not None:
            scores.setdefault(row.class_id, []).append((place[row.episode], row.presence, row.truth > 0))
    absent = np.zeros((4, len(place)))
    for (episode, _), found in queries.items():  # no pixel shows a class: a class's union is its false positives
        false = sum(row.union for row in found)
        absent[:, place[episode]] += 1, false > 0, false, found[0].pixels
    scored = [Scored(*map(np.array, zip(*found, strict=True))) for _, found in sorted(scores.items())]
    return RunAbsence._make([*counts, *absent, tuple(scored)])


def counted(run: RunAbsence, weight: Array) -> Array:
    """Mean-IoU in which false positives on queries without the class count; NaN where no class was drawn.

    Args:
        run: sums of a run.
        weight: ``D E``, times that each of D draws has each episode.
    """
    mean: Array = mean_of_known(iou(weight @ run.intersection, weight @ run.union))
    return mean


def false_positive_rate(run: RunAbsence, weight: Array) -> Array:
    """Share of the pixels of absent queries that are predicted as foreground, see `counted`."""
    share: Array = iou(weight @ run.false_pixels, weight @ run.pixels)
    return share


def alarmed(run: RunAbsence, weight: Array) -> Array:
    """Share of absent queries with a predicted pixel, see `counted`."""
    share: Array = iou(weight @ run.alarmed, weight @ run.absent)
    return share


def auc(run: RunAbsence, weight: Array) -> Array:
    """Chance that a query with a class has a larger presence score than one without, as mean over classes.

    This is the area under the ROC curve; equal scores count half. A class without both kinds of queries is left out.
    See `counted`.
    """
    found = [_auc(scored, weight) for scored in run.scored]
    mean: Array = mean_of_known(np.array(found).reshape(-1, len(weight)).T)
    return mean


def _auc(scored: Scored, weight: Array) -> Array:
    order = np.argsort(scored.score, kind="stable")
    ordered = scored.score[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-np.inf))  # first place of each group of equal scores
    each = weight[:, scored.place[order]]
    with_class = np.add.reduceat(each * scored.shown[order], first, axis=1)
    without = np.add.reduceat(each * ~scored.shown[order], first, axis=1)
    lower = without.cumsum(axis=1) - without / 2
    area: Array = iou((with_class * lower).sum(axis=1), with_class.sum(axis=1) * without.sum(axis=1))
    return area


ABSENCE: dict[str, Callable[[RunAbsence, Array], Array]] = {
    COUNTED: counted, PIXELS: false_positive_rate, ALARMED: alarmed, AUC: auc,
}  # fmt: skip
