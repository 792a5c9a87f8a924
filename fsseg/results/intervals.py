"""Bootstrap intervals over episodes: how far a number would move with other episodes of the same distribution.

Each replicate draws the episodes of a run with replacement, sums their rows as for a table, and averages over runs.
The interval does not cover the variation between trainings; the standard deviation over seeds does.
"""

from collections.abc import Sequence

import numpy as np

from fsseg.iou import iou, mean_of_known
from fsseg.results.absence import ABSENCE, RunAbsence
from fsseg.results.results import Array, FinishedTest, Sums

REPLICATES, LEVEL = 1000, 95.0  # draws per interval; percent of them inside


def mean_iou(intersection: Array, union: Array) -> Array:
    """Mean IoU over the classes that were drawn, in percent; the last axis has the classes, background first."""
    mean: Array = 100 * mean_of_known(iou(intersection[..., 1:], union[..., 1:]))  # NaN where no class was drawn
    return mean


def binary_iou(intersection: Array, union: Array) -> Array:
    """Mean of background IoU and the IoU of all classes together, in percent."""
    sums = [np.stack([values[..., 0], values[..., 1:].sum(-1)], -1) for values in (intersection, union)]
    mean: Array = 100 * iou(*sums).mean(-1)
    return mean


METRICS = {"mean-IoU": mean_iou, "binary-IoU": binary_iou}


def replicates(results: Sequence[FinishedTest], metric: str, seed: int = 0, number: int = REPLICATES) -> Array:
    """A metric on bootstrap draws of episodes; results of several seeds share each draw and are averaged.

    Args:
        results: results of one fold and one protocol, e.g. of several seeds.
        metric: ``mean-IoU``, ``binary-IoU``, or one of `fsseg.results.absence.ABSENCE`.
        seed: seed of the draws.
        number: number of replicates.

    Returns:
        ``number`` values in percent.
    """
    values = []
    for result in results:
        generator = np.random.default_rng(seed)  # every result gets the same draws
        runs = []
        for sums in result.absences if metric in ABSENCE else result.sums:
            count = len(sums.union)
            weight = generator.multinomial(count, np.full(count, 1 / count), size=number).astype(np.float64)
            runs.append(_value(metric, sums, weight))
        values.append(np.mean(runs, axis=0))
    return np.asarray(np.mean(values, axis=0))


def _value(metric: str, sums: Sums | RunAbsence, weight: Array) -> Array:
    """A metric of each draw, in percent."""
    if isinstance(sums, RunAbsence):
        return 100 * ABSENCE[metric](sums, weight)
    return METRICS[metric](weight @ sums.intersection, weight @ sums.union)


def interval(values: Array) -> tuple[float, float]:
    """The middle `LEVEL` percent of replicates."""
    tail = (100 - LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)
