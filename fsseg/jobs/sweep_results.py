"""Results of a sweep: ranked points, as files and as a table."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fsseg import atomic, class_paths
from fsseg.jobs.sweep import Sweep, SweepPoint
from fsseg.untrusted.text import csv_cell


class PointResult(NamedTuple):
    """Result of a point.

    Attributes:
        number: number of the point, from 1; also the name of its folder.
        point: value of each option.
        state: ``done`` or ``failed``.
        last: last value of the metric, if any.
        best: best value of the metric, if any.
    """

    number: int
    point: SweepPoint
    state: str
    last: float | None
    best: float | None


def rank(results: Sequence[PointResult], goal: str) -> list[PointResult]:
    """Points sorted by the last value of the metric (that of last.ckpt), best first; points without a value last."""
    sign = -1 if goal == "maximize" else 1
    return sorted(results, key=lambda r: (r.last is None, sign * (r.last or 0), r.number))


def write(out: Path, sweep: Sweep, ranked: Sequence[PointResult]) -> None:
    """Write all points to ``results.json`` and ``results.csv``."""
    content = {"metric": sweep.metric, "goal": sweep.goal, "points": [result._asdict() for result in ranked]}
    atomic.write_text(out / "results.json", json.dumps(content, indent=2) + "\n")
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(["point", "state", "last", "best", *map(csv_cell, sweep.parameters)])
    for r in ranked:
        point = [csv_cell(r.point[name]) for name in sweep.parameters]
        writer.writerow([r.number, r.state, r.last, r.best, *point])
    atomic.write_text(out / "results.csv", made.getvalue())


def text_table(sweep: Sweep, ranked: Sequence[PointResult]) -> str:
    """Ranked points for a terminal."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    names = list(map(class_paths.last_name, sweep.parameters))
    names = names if len(set(names)) == len(names) else list(sweep.parameters)
    lines = [["point", "last", "best", *names]]
    for r in ranked:
        shown = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in r.point.values()]
        lines.append([str(r.number), "failed" if r.state == "failed" else number(r.last), number(r.best), *shown])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  " + "  ".join(f"{c:>{w}}" for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([f"{sweep.metric} ({sweep.goal}), ranked by its last value", *rows])
