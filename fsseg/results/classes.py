"""IoU of each class in many tests."""

from collections.abc import Sequence

import numpy as np

from fsseg.results.grids import Cell, Grid, GridLine, notes_of, series_words
from fsseg.results.papers import Column, Layout, Line
from fsseg.results.results import FinishedTest, Series, series


def make_class_grid(results: Sequence[FinishedTest]) -> Grid:
    """A line for each class of each data set, a column for each method, shot and annotation; the spread is over seeds.

    Raises:
        FssegError: two results are of the same cell.
    """
    found = series(results)
    columns = sorted((column for of in found for column in _columns(of, found)), key=lambda column: column.shot)
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
    own = series_words(of, beside)  # encoder and data set first, which need not be said where all have the same
    alike = len({(other.setting.encoder, other.setting.dataset) for other in beside}) == 1
    words = [of.setting.label, *(own[2:] if alike else own)]
    return [
        Column(shot, None, "IoU", of.setting.way, ", ".join([*words, *([] if a == "mask" else [a])]), of, a)
        for shot, a in kinds
    ]


def _cell(column: Column, dataset: str, fold: int, class_id: int) -> Cell | None:
    """Mean over the seeds."""
    of: Series = column.of
    wanted = (column.shot, column.annotation, dataset, fold)
    tests = [
        result
        for result in of.results
        if (result.tested.setting.shot, result.tested.setting.annotation, result.tested.setting.dataset,
            result.tested.fold) == wanted
    ]  # fmt: skip
    lines = [(result, line) for result in tests for line in result.table.classes if line.class_id == class_id]
    drawn = [(result, line) for result, line in lines if not np.isnan(line.iou.mean)]
    if not drawn:
        return None
    values = [line.iou.mean for _, line in drawn]
    return Cell(
        float(np.mean(values)),
        float(np.std(values)) if len(values) > 1 else np.nan,
        float(np.mean([line.iou.std for _, line in drawn])),
        seeds=tuple(sorted(result.tested.seed for result, _ in drawn)),
        episodes=sum(line.queries for _, line in drawn),
        protocol=str(of.protocol),
    )
