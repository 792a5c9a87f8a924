"""Tables of many tests: a layout filled with our numbers and published ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fsseg.results.grid_lines import Cell, GridLine, comparable, others
from fsseg.results.grid_notes import notes_of
from fsseg.results.intervals import interval, replicates
from fsseg.results.papers import AXES, Column, Layout, Line, own_line
from fsseg.results.published import Published, published
from fsseg.results.results import FinishedTest, Series, series


@dataclass(frozen=True)
class Grid:
    """A table: its layout, its lines with numbers, and the notes for the reader."""

    layout: Layout
    lines: tuple[GridLine, ...]
    notes: tuple[str, ...]


def make_grid(layout: Layout, results: Sequence[FinishedTest], intervals: bool = True, later: bool = False) -> Grid:
    """Fill a layout with our numbers and published ones.

    Args:
        layout: layout of a paper's table, or our own.
        results: all results. Those whose method or setting no line of the layout has get lines of their own at the
            end; a note names those that fit no column.
        intervals: also compute bootstrap intervals (a second for some ten thousand episodes).
        later: add lines of methods that were published later.

    Raises:
        FssegError: two results belong to the same cell.
    """
    found = series(_relevant(layout, results))
    lines, used = [], []
    for line in layout.lines:
        own = [of for of in found if _matches(layout, line, of)]
        lines += _published_line(layout, line)
        shown = [ours for of in own if any((ours := _our_line(layout, line, of, own, intervals)).cells)]
        for ours in shown:
            lines += [ours, *_difference_line(layout, line, ours)]
        used += [ours.of for ours in shown if ours.of]
        if line.ours and layout.source and not shown:
            lines.append(_empty_line(layout, line, own))
    for line in layout.later if later else ():
        lines += _published_line(layout, line, "published later")
    for line in _further_lines(layout, found):
        own = [of for of in found if _belongs(line, of)]
        filled = [_our_line(layout, line, of, own, intervals) for of in own]
        lines += [ours if any(ours.cells) else _empty_line(layout, line, own) for ours in filled]
        used += own
    notes = [*_left_out(layout, results), *notes_of(layout, lines, used)]
    return Grid(layout, tuple(lines), tuple(notes))


def _further_lines(layout: Layout, found: Sequence[Series]) -> list[Line]:
    """A line for each method and setting that was tested, and that no line of a paper's table has."""
    settings = [(of, result.tested.setting) for of in found for result in of.results]
    return list(
        dict.fromkeys(
            own_line(setting)
            for of, setting in settings
            if not any(line.annotation == setting.annotation and _matches(layout, line, of) for line in layout.lines)
        )
    )


def _left_out(layout: Layout, results: Sequence[FinishedTest]) -> list[str]:
    """A note that names the tests without a column or line in the layout."""
    shown = {id(result) for result in _relevant(layout, results)}
    settings = [result.tested.setting for result in results if id(result) not in shown]
    words = sorted({f"{own_line(s).name} {s.way}-way {s.shot}-shot" for s in settings})
    count = f"{len(settings)} test{'s' * (len(settings) > 1)}"
    return [f"left out, because the table has no place for them: {count} of {'; '.join(words)}"] if words else []


def _relevant(layout: Layout, results: Iterable[FinishedTest]) -> list[FinishedTest]:
    """Results that some cell could show."""
    wanted = {(column.way, column.shot) for column in layout.columns}
    weak = {line.annotation for line in layout.lines}
    settings = [(result, result.tested.setting) for result in results]
    return [result for result, s in settings if (s.way, s.shot) in wanted and s.annotation in weak]


def _matches(layout: Layout, line: Line, of: Series) -> bool:
    """Whether results belong to a line; in a paper's table encoder and data set may differ."""
    if not layout.source:  # a table of our own
        return _belongs(line, of)
    axes = {option: words for option, words in of.setting.departures.items() if option in AXES}
    return of.setting.method == line.method and axes == line.departures


def _belongs(line: Line, of: Series) -> bool:
    """Whether results have a line's method, setting, encoder and data set."""
    wanted = (line.method, line.departures, line.encoder, line.dataset)
    return (of.setting.method, of.setting.departures, of.setting.encoder, of.setting.dataset) == wanted


def _published(layout: Layout, line: Line, column: Column) -> Published | None:
    if column.name or (layout.means_only and column.fold is not None):  # a column with a name is not of a paper
        return None
    return published(layout.setting(line, column), column.metric, column.fold, layout.source)


def _published_line(layout: Layout, line: Line, what: str = "published") -> list[GridLine]:
    cells = []
    for column in layout.columns:
        number = _published(layout, line, column)
        cells.append(Cell(number.value, source=number.source, protocol=number.protocol) if number else None)
    if layout.source or any(cells):
        return [GridLine(line, "published", f"{what}, {line.encoder}", tuple(cells))]
    return []


def _our_line(layout: Layout, line: Line, of: Series, beside: Sequence[Series], intervals: bool) -> GridLine:
    label = ["ours", *(others(of, line) if layout.source else []), *series_words(of, beside)]
    columns: Sequence[Column] = layout.columns
    folds = _folds([of], line.annotation)
    if layout.source and of.setting.dataset not in layout.datasets and 1 < len(folds) < of.results[0].tested.folds:
        columns = [column if column.fold is not None else replace(column, folds=folds) for column in columns]
        label.append(f"mean of folds {', '.join(map(str, folds))}")
    cells = tuple(_cell(of, column, line.annotation, intervals) for column in columns)
    return GridLine(line, "ours", ", ".join(label), cells, of)


def _folds(own: Sequence[Series], annotation: str) -> tuple[int, ...]:
    """The folds that were tested with an annotation of the supports."""
    tested = [result.tested for of in own for result in of.results]
    return tuple(sorted({one.fold for one in tested if one.setting.annotation == annotation}))


def series_words(of: Series, beside: Sequence[Series]) -> list[str]:
    """Encoder, data set, and every other setting that distinguishes a series from those beside it."""
    words = [of.setting.encoder, of.setting.dataset, *([of.trained] if of.trained else [])]
    if len({str(other.protocol) for other in beside}) > 1:
        words.append(str(of.protocol))
    if len({other.selection for other in beside}) > 1:
        words.append(f"checkpoint {of.selection or 'none'}")
    return words


def _empty_line(layout: Layout, line: Line, own: Sequence[Series]) -> GridLine:
    """A line of ours without numbers; its label says the folds that were tested, or ``not run``."""
    folds = _folds(own, line.annotation)
    label = f"only fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}" if folds else "not run"
    return GridLine(line, "ours", label, (None,) * len(layout.columns))


def _cell(of: Series, column: Column, annotation: str, intervals: bool) -> Cell | None:
    """A fold's number, or a mean over folds, averaged over the seeds that have all these folds."""
    by_seed = _complete_seeds(of, column, annotation)
    if not by_seed:
        return None
    scores = [[result.table.score(column.metric) for result in results] for results in by_seed.values()]
    per_seed = [float(np.mean([score.mean for score in each])) for each in scores]
    if np.isnan(per_seed).all():
        return None
    low, high = _episode_interval(list(by_seed.values()), column.metric) if intervals else (np.nan, np.nan)
    return Cell(
        float(np.mean(per_seed)),
        float(np.std(per_seed)) if len(per_seed) > 1 else np.nan,
        float(np.mean([score.std for each in scores for score in each])),
        low,
        high,
        tuple(by_seed),
        sum(result.episodes for results in by_seed.values() for result in results),
        protocol=str(of.protocol),
    )


def _complete_seeds(of: Series, column: Column, annotation: str) -> dict[int, list[FinishedTest]]:
    """Results of a column by seed, in the order of folds; seeds that lack a fold are left out."""
    settings = [(result, result.tested.setting) for result in of.results]
    found = [result for result, s in settings if (s.shot, s.annotation) == (column.shot, annotation)]
    by_seed: dict[int, dict[int, FinishedTest]] = {}
    for result in found:
        by_seed.setdefault(result.tested.seed, {})[result.tested.fold] = result
    complete = {}
    for seed, by_fold in sorted(by_seed.items()):
        every = column.folds or range(found[0].tested.folds)
        folds = every if column.fold is None else (column.fold,)
        if all(fold in by_fold for fold in folds):
            complete[seed] = [by_fold[fold] for fold in folds]
    return complete


def _episode_interval(seeds: Sequence[Sequence[FinishedTest]], metric: str) -> tuple[float, float]:
    """Bootstrap interval over episodes of the mean over folds; each seed has its results in the order of folds."""
    folds = zip(*seeds, strict=True)
    return interval(np.mean([replicates(fold, metric, seed=number) for number, fold in enumerate(folds)], axis=0))


def _difference_line(layout: Layout, line: Line, ours: GridLine) -> list[GridLine]:
    """The difference ours - published; no line if encoder, data set or setting differ."""
    if ours.of is None or not comparable(layout, line, ours.of):
        return []
    cells: list[Cell | None] = []
    for column, cell in zip(layout.columns, ours.cells, strict=True):
        number = _published(layout, line, column)
        if cell is None or number is None:
            cells.append(None)
        else:
            cells.append(cell._replace(value=cell.value - number.value, low=np.nan, high=np.nan))
    return [GridLine(line, "difference", "ours - published", tuple(cells), ours.of)] if any(cells) else []
