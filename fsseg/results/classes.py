"""Table of many tests with one line per class."""

from collections.abc import Sequence

import numpy as np

from fsseg.results.grid_lines import Cell, GridLine
from fsseg.results.grid_notes import notes_of
from fsseg.results.grids import Grid, series_words
from fsseg.results.papers import Column, Layout, Line
from fsseg.results.results import FinishedTest, Series, series
from fsseg.results.test_facts import Tested


def make_class_grid(results: Sequence[FinishedTest]) -> Grid:
    """Table with a line per class of each data set and a column per method, shot and annotation.

    Raises:
        FssegError: two results belong to the same cell.
    """
    found = series(results)
    columns = sorted((column for one in found for column in _columns(one, found)), key=lambda column: column.shot)
    classes = sorted(
        {
            (result.tested.setting.dataset, result.tested.fold, class_id, name)
            for result in results
            for class_id, name in result.tested.classes.items()
        }
    )
    lines = []
    for dataset, fold, class_id, name in classes:
        cells = tuple(_cell(column, dataset, fold, class_id) for column in columns)
        line = Line(name, "", dataset=dataset, fold=fold, class_id=class_id)
        lines.append(GridLine(line, "ours", f"{dataset} fold {fold}", cells))
    layout = Layout("", "IoU per class", "", "", tuple(line.line for line in lines), tuple(columns))
    return Grid(layout, tuple(lines), tuple(notes_of(layout, lines, found)))


def _columns(of: Series, beside: Sequence[Series]) -> list[Column]:
    kinds = sorted({(r.tested.setting.shot, r.tested.setting.annotation) for r in of.results})
    distinguishing = series_words(of, beside)
    if len({(other.setting.encoder, other.setting.dataset) for other in beside}) == 1:
        distinguishing = distinguishing[2:]  # the first two are encoder and data set
    words = [of.setting.label, *distinguishing]
    return [
        Column(shot, None, "IoU", of.setting.way, ", ".join([*words, *([] if a == "mask" else [a])]), of, a)
        for shot, a in kinds
    ]


def _cell(column: Column, dataset: str, fold: int, class_id: int) -> Cell | None:
    """IoU of one class, averaged over seeds; None if no test drew the class."""
    of: Series = column.of
    wanted = (column.shot, column.annotation, dataset, fold)
    tests = [result.table for result in of.results if _place(result.tested) == wanted]
    lines = [(table.tested.seed, line) for table in tests for line in table.classes if line.class_id == class_id]
    drawn = [(seed, line) for seed, line in lines if not np.isnan(line.iou.mean)]
    if not drawn:
        return None
    values = [line.iou.mean for _, line in drawn]
    return Cell(
        float(np.mean(values)),
        float(np.std(values)) if len(values) > 1 else np.nan,
        float(np.mean([line.iou.std for _, line in drawn])),
        seeds=tuple(sorted(seed for seed, _ in drawn)),
        episodes=sum(line.queries for _, line in drawn),
        protocol=str(of.protocol),
    )


def _place(tested: Tested) -> tuple[int, str, str, int]:
    """What places a test in the table: shots, annotation, data set and fold."""
    return tested.setting.shot, tested.setting.annotation, tested.setting.dataset, tested.fold
