"""Charts drawn with matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fsseg import atomic
from fsseg.datasets.class_counts import Census
from fsseg.episode import BACKGROUND
from fsseg.errors import FssegError
from fsseg.iou import iou, percent
from fsseg.plots.colours import LINES
from fsseg.protocols.protocol import pair_rule
from fsseg.results.rows import Row
from fsseg.results.tables import ClassScore

_TRAIN, _VAL = LINES[:2]
_PER_CLASS, _HEAD = 0.22, 1.1  # inches
_SMOOTH = 20  # points in the window of the moving average, a choice by eye; short curves use a tenth of their points
_GREY, _DASHES = "#666666", (0, (5, 3))  # baselines; the dashes of runs are denser
_SAME = 5e-4  # baselines that differ by less are drawn as one horizontal line: half a tenth of a point of mean-IoU
_BINS = 8  # groups of object sizes


class Curve(NamedTuple):
    """Values of one metric in one run.

    Attributes:
        name: name of the run.
        points: step and value, in order.
        baseline: the same metric of the untrained prototypes, by step; empty if it was not logged.
    """

    name: str
    points: Sequence[tuple[int, float]]
    baseline: Sequence[tuple[int, float]] = ()


def draw_census(census: Census, path: Path) -> None:
    """Draw the images per class of each fold as bars, and the share of train images without novel classes.

    Args:
        census: numbers of images.
        path: file to write; its suffix gives the format.

    Raises:
        FssegError: the file cannot be written.
        ValueError: matplotlib has no such format.
    """
    most = max(len(fold.classes) for fold in census.folds)
    columns = min(4, len(census.folds))
    rows = -(-len(census.folds) // columns)
    figure = Figure(figsize=(3.6 * columns, rows * (_HEAD + _PER_CLASS * most) + 0.5), layout="constrained", dpi=120)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axis in axes[len(census.folds) :]:
        axis.set_axis_off()
    for number, (axis, fold) in enumerate(zip(axes, census.folds, strict=False)):
        places = range(len(fold.classes))
        for offset, colour, what, counts in (
            (-0.2, _TRAIN, "train", [c.train for c in fold.classes]),
            (0.2, _VAL, "val", [c.val for c in fold.classes]),
        ):
            bars = axis.barh([p + offset for p in places], counts, height=0.38, color=colour, label=what)
            axis.bar_label(bars, labels=[f"{count:,}" for count in counts], padding=2, fontsize=6)
        axis.set_yticks(list(places), [c.name for c in fold.classes], fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.18, y=0.02)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="x", labelsize=7)
        title = f"fold {number}: {fold.train:,} train, {fold.val:,} val pairs"
        kept = f"{census.kept_percent(fold):.0f} % of train images show no novel class"
        axis.set_title(f"{title}\n{kept if fold.kind == 'novel' else 'all classes are base'}", fontsize=8, loc="left")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    rule = pair_rule(census.pairs, census.min_pixels) or "any size"
    figure.suptitle(f"{census.name}: images per class ({rule}); folds: {census.fold_words}", fontsize=10)
    write(figure, path)


def draw_curves(charts: Mapping[str, Sequence[Curve]], path: Path) -> None:
    """Draw the curves of several runs, one chart per metric.

    Training curves are smoothed; a pale line shows the raw values. A dashed line shows a baseline: horizontal if the
    baseline does not change during the training, as with a frozen encoder.

    Args:
        charts: curves by metric; a run has the same colour in all charts.
        path: file to write; its suffix gives the format.

    Raises:
        FssegError: the file cannot be written.
        ValueError: matplotlib has no such format.
    """
    names = list(dict.fromkeys(curve.name for curves in charts.values() for curve in curves))
    colours = {name: LINES[i % len(LINES)] for i, name in enumerate(names)}
    styles = {name: ("-", "--", ":")[i // len(LINES) % 3] for i, name in enumerate(names)}
    figure = Figure(figsize=(5.2 * len(charts), 3.8), layout="constrained", dpi=120)
    for axis, (metric, curves) in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts.items(), strict=True):
        training = metric.startswith("train/")
        for curve in curves:
            steps, values = np.array(curve.points, dtype=float).reshape(-1, 2).T
            colour, style = colours[curve.name], styles[curve.name]
            if training and len(values) > 2:
                axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                axis.plot(steps, smoothed(values), style, color=colour, linewidth=1.8, label=curve.name)
            else:
                axis.plot(steps, values, style, marker="o", markersize=3, color=colour, label=curve.name)
        _draw_baselines(axis, curves, colours)
        axis.set_title(_in_words(metric), fontsize=10, loc="left")
        axis.set_xlabel("training step", fontsize=9)
        plain(axis)
        if training:
            axis.set_ylim(bottom=0)
    handles = {str(line.get_label()): line for axis in figure.axes for line in axis.get_legend_handles_labels()[0]}
    inches = 0.5 + 0.08 * max(map(len, handles))  # width of an entry of the legend
    columns = max(1, min(len(handles), int(5.2 * len(charts) / inches)))
    labels = list(handles.values()), list(handles)
    figure.legend(*labels, fontsize=9, loc="outside lower center", ncols=columns, frameon=False)
    write(figure, path)


def _draw_baselines(axis: Axes, curves: Sequence[Curve], colours: Mapping[str, str]) -> None:
    """Draw the baselines of a chart, in the colours of their runs; one that all runs share is drawn once, in grey."""
    lines = {curve.name: np.array(curve.baseline, dtype=float)[:, 1] for curve in curves if curve.baseline}
    shared = bool(lines) and np.ptp(np.concatenate([*lines.values()])) < _SAME
    for curve in curves:
        if not curve.baseline:
            continue
        values, colour = lines[curve.name], _GREY if shared else colours[curve.name]
        if np.ptp(values) < _SAME:
            axis.axhline(values[0], color=colour, linestyle=_DASHES, linewidth=1.2)
        else:
            axis.plot([step for step, _ in curve.baseline], values, color=colour, linestyle=_DASHES, linewidth=1.2)
        if shared:
            break
    if lines:
        axis.plot([], [], color=_GREY, linestyle=_DASHES, linewidth=1.2, label="untrained prototypes")


def smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Exponential moving average with bias correction, as in Adam.

    Args:
        values: one per point; the window has a tenth of the points, at most 20.
    """
    keep = 1 - 1 / max(1.0, min(_SMOOTH, len(values) / 10))
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        if np.isfinite(value):  # NaN and infinity leave a gap in the raw line only
            mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(mean / weight if weight else np.nan)
    return np.array(found)


def _in_words(metric: str) -> str:
    stage, _, name = metric.partition("/")
    known = {"mean_iou": "mean-IoU", "binary_iou": "binary-IoU", "loss": "loss"}
    losses = {"segmentation": "segmentation loss", "alignment": "alignment loss"}
    return f"{ {**known, **losses}.get(name, name) } ({ {'train': 'training', 'val': 'validation'}.get(stage, stage) })"


def draw_class_iou(lines: Mapping[str, Sequence[ClassScore]], path: Path) -> None:
    """Draw the IoU of each class as bars, one colour per test; a whisker is a standard deviation over runs.

    Args:
        lines: class scores by the name of the test; the classes may differ.
        path: file to write; its suffix gives the format.

    Raises:
        FssegError: there is no class, or the file cannot be written.
        ValueError: matplotlib has no such format.
    """
    classes = list(dict.fromkeys(line.name for scores in lines.values() for line in scores))
    if not classes:
        raise FssegError("no class to draw: a test with at least one class is needed.")
    places, high = np.arange(len(classes)), 0.8 / len(lines)
    height = _HEAD + 0.3 * (len(lines) > 1) + len(classes) * max(0.3, 0.17 * len(lines))
    figure = Figure(figsize=(6.4, height), layout="constrained", dpi=120)
    axis = figure.subplots()
    for i, (name, scores) in enumerate(lines.items()):
        of = {line.name: line.iou for line in scores}
        means = np.array([of[c].mean if c in of else np.nan for c in classes])
        spreads = np.nan_to_num([of[c].std if c in of else 0.0 for c in classes])
        at = places - 0.4 + high * (i + 0.5)
        axis.barh(at, means, height=0.92 * high, color=LINES[i % len(LINES)], label=name)
        shown = spreads > 0
        axis.errorbar(
            means[shown], at[shown], xerr=spreads[shown], fmt="none", ecolor="#444444", capsize=2, linewidth=1
        )
        for mean, spread, y in zip(means, spreads, at, strict=True):
            text = "-" if np.isnan(mean) else f"{mean:.1f}"
            axis.text(np.nan_to_num(mean) + spread + 1, y, text, va="center", fontsize=7)
    axis.set_yticks(places, classes, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_xlabel("IoU, percent (whiskers: standard deviation over runs)", fontsize=9)
    plain(axis)
    if len(lines) > 1:
        figure.legend(fontsize=8, loc="outside lower center", ncols=1, frameon=False)
    write(figure, path)


def draw_size_iou(tests: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Draw the IoU against the object's share of the query's pixels.

    A line shows the pooled IoU of queries with a similar share. For a single test, pale points show each query.

    Args:
        tests: rows by the name of the test.
        path: file to write; its suffix gives the format.

    Raises:
        FssegError: no query shows its class, or the file cannot be written.
        ValueError: matplotlib has no such format.
    """
    figure = Figure(figsize=(6.4, 4.2 + 0.2 * len(tests)), layout="constrained", dpi=120)
    axis, shares = figure.subplots(), []
    for i, (name, rows) in enumerate(tests.items()):
        shown = [row for row in rows if row.class_id != BACKGROUND and row.truth > 0]
        counts = np.array([(row.truth / row.pixels, row.intersection, row.union) for row in shown]).reshape(-1, 3)
        if not shown:
            continue
        shares.append(counts[:, 0])
        middles, pooled = pooled_by_size(counts)
        label = "an eighth of them: sum of intersections / sum of unions"
        if len(tests) == 1:
            single = percent(counts[:, 1], counts[:, 2])
            axis.scatter(counts[:, 0], single, s=7, color=LINES[0], alpha=0.3, linewidths=0, label="one query")
            axis.plot(middles, 100 * pooled, "-o", color=LINES[4], markersize=4, label=label)
        else:
            axis.plot(middles, 100 * pooled, "-o", color=LINES[i % len(LINES)], markersize=4, label=name)
    if not shares:
        raise FssegError("no query of these rows shows its class: rows with at least one object are needed.")
    share = np.concatenate(shares)
    axis.set_xscale("log")
    narrow = share.max() < 5 * share.min()  # LogLocator would place too few ticks
    axis.xaxis.set_major_locator(MaxNLocator(6) if narrow else LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_ylim(-2, 102)
    axis.set_xlabel("object's share of the query's pixels", fontsize=9)
    axis.set_ylabel("IoU, percent", fontsize=9)
    plain(axis)
    figure.legend(fontsize=8, loc="outside lower center", ncols=1, frameon=False)
    write(figure, path)


def pooled_by_size(counts: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Median share and pooled IoU of at most eight groups of equal size, from small objects to large ones.

    Args:
        counts: share, intersection and union of each query.
    """
    parts = np.array_split(counts[counts[:, 0].argsort(kind="stable")], min(_BINS, len(counts)))
    return (
        np.array([np.median(part[:, 0]) for part in parts]),
        iou(*np.array([part[:, 1:].sum(axis=0) for part in parts]).T),
    )


def plain(axis: Axes) -> None:
    """Style of all axes: no frame, small tick labels, a pale grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)


def write(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix."""
    atomic.save(path, lambda file: figure.savefig(file, format=path.suffix[1:] or "png"))
