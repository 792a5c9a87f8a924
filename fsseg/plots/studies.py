"""Pictures of studies: queries without their classes, and the choice of supports."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fsseg.iou import mean_of_known
from fsseg.plots.charts import plain, write
from fsseg.plots.colours import LINES
from fsseg.results.absence import AUC, Scored
from fsseg.results.results import FinishedTest
from fsseg.results.supports import Study

Array = npt.NDArray[np.float64]

_RATES = np.linspace(0, 1, 201)  # false-alarm rates at which the curves of classes are averaged


def draw_absent(tests: Mapping[str, Sequence[FinishedTest]], path: Path) -> None:
    """Draw ROC curves of the presence scores, and mean-IoU without and with the queries that lack their classes.

    Args:
        tests: tests by the name of their line, e.g. one for each fold.
        path: file to write; its suffix gives the format.

    Raises:
        FssegError: the file cannot be written.
        ValueError: matplotlib has no such format.
    """
    figure = Figure(figsize=(10.4, 3.9 + 0.2 * len(tests)), layout="constrained", dpi=120)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    left.plot([0, 1], [0, 1], color="#999999", linestyle=(0, (5, 3)), linewidth=1)
    for number, (name, results) in enumerate(tests.items()):
        colour = LINES[number % len(LINES)]
        curves = [roc(scored) for result in results for run in result.absences for scored in run.scored]
        if curves:
            left.plot(_RATES, mean_of_known(np.array(curves).T), color=colour, linewidth=1.8, label=name)
        _bar(right, number, results, colour)
    left.set_title("presence score: a threshold for each class", fontsize=10, loc="left")
    left.set_xlabel("queries without the class above the threshold", fontsize=9)
    left.set_ylabel("queries with the class above it", fontsize=9)
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    right.set_title("masks: queries with the class only (o), and all queries (|)", fontsize=10, loc="left")
    right.set_xlabel("mean-IoU, percent", fontsize=9)
    right.set_yticks(range(len(tests)), list(tests), fontsize=8)
    right.set_ylim(len(tests) - 0.4, -0.6)
    right.set_xlim(0, 100)
    for axes in (left, right):
        plain(axes)
    write(figure, path)


def _bar(axis: Axes, number: int, results: Sequence[FinishedTest], colour: str) -> None:
    """A line of the right chart: both values of mean-IoU, and the share of false alarms."""
    tables = [result.table for result in results]
    shown = float(np.mean([table.mean_iou.mean for table in tables]))
    alarms = [table.false_alarms for table in tables if table.false_alarms]
    every, alarmed = (float(np.mean([getattr(one, name).mean for one in alarms])) for name in ("counted", "alarmed"))
    area = np.nanmean([table.score(AUC).mean for table in tables]) if any(r.scored for r in results[0].absences) else 0
    axis.plot([every, shown], [number, number], color=colour, linewidth=3, alpha=0.5)
    axis.plot([every], [number], "|", color=colour, markersize=13, markeredgewidth=2.5)
    axis.plot([shown], [number], "o", color=colour, markersize=7)
    text = f"{alarmed:.0f} % false alarms" + (f", AUC {area:.0f}" if area else "")
    axis.text(shown + 2.5, number, text, va="center", fontsize=8)


def roc(scored: Scored) -> Array:
    """Share of queries with the class whose score is above a threshold, at 201 shares of queries without it.

    NaN if the class has no queries with it, or none without.
    """
    without = np.sort(scored.score[~scored.shown])
    with_class = np.sort(scored.score[scored.shown])
    if not len(without) or not len(with_class):
        return np.full(len(_RATES), np.nan)
    thresholds = np.unique(scored.score)[::-1]
    false, true = (1 - np.searchsorted(of, thresholds) / len(of) for of in (without, with_class))
    points: Array = np.concatenate([[0], true])[np.searchsorted(false, _RATES, side="right")]
    return points


def draw_support_studies(studies: Sequence[Study], path: Path) -> None:
    """Draw mean-IoU against the number of supports, and the IoU of each class under each draw of supports.

    Args:
        studies: studies of methods, see `fsseg.results.supports`.
        path: file to write; its suffix gives the format.

    Raises:
        FssegError: the file cannot be written.
        ValueError: matplotlib has no such format.
    """
    classes = list(dict.fromkeys(name for study in studies for name in study.classes))
    height = 3.6 + 0.22 * len(studies) + 0.12 * len(classes) * len(studies)
    figure = Figure(figsize=(10.4, height), layout="constrained", dpi=120)
    left, right = figure.subplots(1, 2)
    for number, study in enumerate(studies):
        colour = LINES[number % len(LINES)]
        _curve(left, study, colour)
        _spread(right, study, classes, (number + 0.5) / len(studies), colour)
    shots = sorted({shot for study in studies for shot in study.counts})
    left.set_xscale("log")
    left.set_xticks(shots, [str(shot) for shot in shots])
    left.xaxis.set_minor_locator(NullLocator())
    left.set_title("mean-IoU: mean and 95 % interval; a dot for each draw", fontsize=10, loc="left")
    left.set_xlabel("supports of a class", fontsize=9)
    least = min(next(iter(study.counts)) for study in studies)
    right.set_title(f"the same queries, {least}-shot: a dot for each draw of supports", fontsize=10, loc="left")
    right.set_xlabel("IoU of the class, percent", fontsize=9)
    right.set_yticks([place + 0.5 for place in range(len(classes))], classes, fontsize=9)
    right.set_ylim(len(classes), 0)
    for axes in (left, right):
        plain(axes)
    figure.legend(*left.get_legend_handles_labels(), fontsize=9, loc="outside lower center", frameon=False)
    write(figure, path)


def _curve(axis: Axes, study: Study, colour: str) -> None:
    """Mean, interval and draws over the number of shots."""
    shots = np.array(list(study.counts), dtype=float)
    intervals = np.array([counts.interval for counts in study.counts.values()])
    axis.fill_between(shots, *intervals.T, color=colour, alpha=0.18, linewidth=0)
    means = [counts.means.mean() for counts in study.counts.values()]
    axis.plot(shots, means, "-o", color=colour, markersize=4, linewidth=1.8, label=study.name)
    for shot, counts in study.counts.items():
        axis.plot([shot] * len(counts.means), counts.means, "o", color=colour, markersize=3, alpha=0.3, linewidth=0)


def _spread(axis: Axes, study: Study, classes: Sequence[str], offset: float, colour: str) -> None:
    """IoU of each draw of supports with the fewest shots, a line for each class."""
    counts = next(iter(study.counts.values()))
    for place, name in enumerate(study.classes):
        values = counts.per_draw[:, place]
        y = classes.index(name) + 0.15 + 0.7 * offset
        axis.plot([values.min(), values.max()], [y, y], color=colour, linewidth=1, alpha=0.6)
        axis.plot(values, [y] * len(values), "o", color=colour, markersize=4, alpha=0.4, linewidth=0)
        axis.plot([values.mean()], [y], "|", color=colour, markersize=11, markeredgewidth=2)
