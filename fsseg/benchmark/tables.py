"""From rows to the table of a test: text for the terminal, Markdown and JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.benchmark.published import Published, Setting, published
from fsseg.benchmark.rows import Row
from fsseg.episode import BACKGROUND
from fsseg.metrics import Absent

_BAR = 20  # characters of a full bar


class Score(NamedTuple):
    """Mean and standard deviation over runs, in percent; NaN where nothing was counted."""

    mean: float
    std: float

    def __str__(self) -> str:
        return "-" if np.isnan(self.mean) else f"{self.mean:.1f} +- {self.std:.1f}"


class ClassScore(NamedTuple):
    """A line of the table."""

    class_id: int
    name: str
    iou: Score
    queries: int


@dataclass(frozen=True)
class Tested:
    """What was tested, and how.

    Attributes:
        setting: method, encoder, data set, way, shot.
        fold: its novel classes were tested.
        classes: class id to name of the fold's novel classes.
        checkpoint: the file and its step, or that there was none.
        protocol: how the number was made, in words.
        absent: policy for classes that a query lacks.
        notes: what a reader must know.
    """

    setting: Setting
    fold: int
    classes: dict[int, str]
    checkpoint: str
    protocol: str
    absent: Absent = "count"
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Table:
    """A test's result.

    Attributes:
        tested: what was tested.
        classes: one line per class.
        mean_iou: over the classes that were drawn.
        binary_iou: mean of background IoU and foreground IoU.
        everything_foreground: the mean-IoU of a prediction that is foreground everywhere; what a 1-way
            number must beat.
    """

    tested: Tested
    classes: tuple[ClassScore, ...]
    mean_iou: Score
    binary_iou: Score
    everything_foreground: Score

    def published(self, metric: str) -> Published | None:
        """The published number of this fold."""
        return published(self.tested.setting, metric, self.tested.fold)

    def published_line(self, metric: str) -> str:
        """What stands beside a metric: the fold's published number, or that only a mean of folds was published."""
        if found := self.published(metric):
            return f"published {found.value:.1f} ({found.source}, fold {self.tested.fold})"
        if published(self.tested.setting, metric, None):
            return "published as mean of all folds only"
        return "not published"


def make_table(tested: Tested, rows: Sequence[Row]) -> Table:
    """Sum rows up: per run and class first, then ratios, then mean and deviation over runs."""
    used = [row for row in rows if tested.absent == "count" or row.truth > 0]
    values = np.array([row[:7] for row in used], dtype=np.int64).reshape(-1, 7)
    foreground = values[:, 2] != BACKGROUND
    runs = range(int(values[:, 0].max(initial=0)) + 1)

    def ratio(chosen: npt.NDArray[np.bool_], above: int = 3, below: int = 4) -> npt.NDArray[np.float64]:
        """Sum of one column over sum of another, per run."""
        sums = [values[chosen & (values[:, 0] == run)].sum(axis=0) for run in runs]
        return np.array([s[above] / s[below] if s[below] else np.nan for s in sums])

    of = {c: values[:, 2] == c for c in tested.classes}
    per_class = {c: ratio(of[c]) for c in tested.classes}
    trivial = [ratio(of[c], above=5, below=6) for c in tested.classes]  # union of everything and truth is every pixel
    binary = np.mean([ratio(~foreground), ratio(foreground)], axis=0)
    lines = [ClassScore(c, n, _score(per_class[c]), int(of[c].sum())) for c, n in tested.classes.items()]
    return Table(tested, tuple(lines), _score(_mean(list(per_class.values()))), _score(binary), _score(_mean(trivial)))


def _mean(per_class: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Mean over the classes that a run drew."""
    table = np.array(per_class)
    return np.array([run[~np.isnan(run)].mean() if (~np.isnan(run)).any() else np.nan for run in table.T])


def _score(per_run: npt.NDArray[np.float64]) -> Score:
    known = per_run[~np.isnan(per_run)] * 100
    return Score(float(known.mean()), float(known.std())) if len(known) else Score(np.nan, np.nan)


def as_text(table: Table) -> str:
    """The table for a terminal."""
    tested, setting = table.tested, table.tested.setting
    one_way = setting.way == 1  # a pixel cannot be of all ways at once
    width = max(len("binary-IoU"), *(len(line.name) for line in table.classes)) + 2
    lines = [
        f"{setting.method}  {setting.encoder}  {tested.checkpoint}    {_data(tested)}",
        f"protocol: {tested.protocol}",
        "",
        f"  {'class':{width}}IoU {'':{_BAR}}     +-   queries",
    ]
    for line in table.classes:
        if np.isnan(line.iou.mean):
            lines.append(f"  {line.name:{width}}   -")
            continue
        full = round(line.iou.mean / 100 * _BAR)
        bar = "█" * full + "░" * (_BAR - full)
        lines.append(f"  {line.name:{width}}{line.iou.mean:5.1f}  {bar}  {line.iou.std:4.1f}  {line.queries:7,}")
    lines += [
        "",
        f"  {'mean-IoU':{width}}{table.mean_iou}    {table.published_line('mean-IoU')}",
        f"  {'binary-IoU':{width}}{table.binary_iou}    {table.published_line('binary-IoU')}",
        *([f"  mean-IoU if everything were foreground: {table.everything_foreground.mean:.1f}"] if one_way else []),
        *(f"  note: {note}" for note in tested.notes),
    ]
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """The table as Markdown."""
    tested, setting = table.tested, table.tested.setting
    lines = [
        f"# {setting.method}, {setting.encoder}: {_data(tested)}",
        "",
        f"Checkpoint: {tested.checkpoint}. Protocol: {tested.protocol}.",
        "",
        "| class | IoU | +- | queries |",
        "| --- | ---: | ---: | ---: |",
    ]
    for line in table.classes:
        numbers = ("-", "-") if np.isnan(line.iou.mean) else (f"{line.iou.mean:.1f}", f"{line.iou.std:.1f}")
        lines.append(f"| {line.name} | {numbers[0]} | {numbers[1]} | {line.queries:,} |")
    for metric, score in (("mean-IoU", table.mean_iou), ("binary-IoU", table.binary_iou)):
        lines.append(f"| **{metric}** | **{score.mean:.1f}** | {score.std:.1f} | {table.published_line(metric)} |")
    if setting.way == 1:
        lines.append(f"| everything foreground | {table.everything_foreground.mean:.1f} | | |")
    lines.append("")
    lines += [f"Note: {note}." for note in tested.notes]
    return "\n".join(lines) + "\n"


def as_json(table: Table) -> str:
    """The table as JSON; percent, null where nothing was counted."""
    tested = table.tested
    content = {
        **{k: v for k, v in asdict(tested).items() if k not in ("setting", "classes")},
        **tested.setting._asdict(),
        "classes": [
            {"class_id": c.class_id, "name": c.name, "iou": c.iou.mean, "std": c.iou.std, "queries": c.queries}
            for c in table.classes
        ],
        "mean_iou": table.mean_iou._asdict(),
        "binary_iou": table.binary_iou._asdict(),
        "everything_foreground": table.everything_foreground._asdict() if tested.setting.way == 1 else None,
        "published": {
            metric: found._asdict() if (found := table.published(metric)) else None
            for metric in ("mean-IoU", "binary-IoU")
        },
    }
    return json.dumps(_without_nan(content), indent=2) + "\n"


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _data(tested: Tested) -> str:
    setting = tested.setting
    return f"{setting.dataset} fold {tested.fold}, {setting.way}-way {setting.shot}-shot"
