"""Tables of many tests: the cells of a layout, ours beside the published ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from fsseg.results.intervals import interval, replicates
from fsseg.results.papers import AXES, Column, Layout, Line
from fsseg.results.published import Published, published
from fsseg.results.results import FinishedTest, Series, series

Kind = Literal["published", "ours", "difference"]


class Cell(NamedTuple):
    """A number, in percent.

    Attributes:
        value: mean over seeds, or the published number, or the difference of the two.
        seed_std: standard deviation over seeds (of the population, as everywhere here); NaN with one seed.
        run_std: mean over seeds of the standard deviation over a test's runs; NaN with one run.
        low: lower end of the bootstrap interval over episodes, see `fsseg.results.intervals`.
        high: its upper end.
        seeds: those that it is over.
        episodes: of all tests that it is over.
        source: of a published number.
        protocol: that it was made with.
    """

    value: float
    seed_std: float = np.nan
    run_std: float = np.nan
    low: float = np.nan
    high: float = np.nan
    seeds: tuple[int, ...] = ()
    episodes: int = 0
    source: str = ""
    protocol: str = ""


class GridLine(NamedTuple):
    """A line of the table as it is shown.

    Attributes:
        line: of the layout.
        kind: published numbers, ours, or what ours are above the published ones.
        label: of what these numbers are.
        cells: a cell per column; None where there is no number.
        of: results behind them.
    """

    line: Line
    kind: Kind
    label: str
    cells: tuple[Cell | None, ...]
    of: Series | None = None


@dataclass(frozen=True)
class Grid:
    """A table: a layout, its lines with their numbers, and what a reader must know."""

    layout: Layout
    lines: tuple[GridLine, ...]
    notes: tuple[str, ...]


def make_grid(layout: Layout, results: Sequence[FinishedTest], intervals: bool = True, later: bool = False) -> Grid:
    """Fill a layout from rows and from published numbers.

    Args:
        layout: of a paper's table, or of our own.
        results: all that may go into it.
        intervals: also make the bootstrap intervals (a second for some ten thousand episodes).
        later: with the methods published later.

    Raises:
        FssegError: two results are of the same cell.
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
            lines.append(GridLine(line, "ours", _not_shown(line, own), (None,) * len(layout.columns)))
    for line in layout.later if later else ():
        lines += _published_line(layout, line, "published later")
    return Grid(layout, tuple(lines), tuple(notes_of(layout, lines, used)))


def _relevant(layout: Layout, results: Iterable[FinishedTest]) -> list[FinishedTest]:
    """Results that some cell could show."""
    wanted = {(column.way, column.shot) for column in layout.columns}
    weak = {line.annotation for line in layout.lines}
    settings = [(result, result.tested.setting) for result in results]
    return [result for result, s in settings if (s.way, s.shot) in wanted and s.annotation in weak]


def _matches(layout: Layout, line: Line, of: Series) -> bool:
    """Whether results are of a line: of its method, whatever else they are trained and tested on."""
    if not layout.source:  # a table of our own
        wanted = (line.method, line.departures, line.encoder, line.dataset)
        return (of.setting.method, of.setting.departures, of.setting.encoder, of.setting.dataset) == wanted
    axes = {option: words for option, words in of.setting.departures.items() if option in AXES}
    return of.setting.method == line.method and axes == line.departures


def _others(of: Series, line: Line) -> list[str]:
    """Departures of a series that the line is not about, in words."""
    return sorted(words for option, words in of.setting.departures.items() if option not in line.departures)


def _published(layout: Layout, line: Line, column: Column) -> Published | None:
    if layout.means_only and column.fold is not None:
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
    label = ", ".join(["ours", *(_others(of, line) if layout.source else [])])
    cells = tuple(_cell(of, column, line.annotation, intervals) for column in layout.columns)
    return GridLine(line, "ours", ", ".join([label, *series_words(of, beside)]), cells, of)


def series_words(of: Series, beside: Sequence[Series]) -> list[str]:
    """Encoder and data set, and whatever else tells a series from those beside it."""
    words = [of.setting.encoder, of.setting.dataset, *([of.trained] if of.trained else [])]
    if len({str(other.protocol) for other in beside}) > 1:
        words.append(str(of.protocol))
    if len({other.selection for other in beside}) > 1:
        words.append(f"checkpoint {of.selection or 'none'}")
    return words


def _not_shown(line: Line, own: Sequence[Series]) -> str:
    """Why a line of ours is empty."""
    folds = {r.tested.fold for of in own for r in of.results if r.tested.setting.annotation == line.annotation}
    return f"only fold{'s' * (len(folds) > 1)} {', '.join(map(str, sorted(folds)))}" if folds else "not run"


def _cell(of: Series, column: Column, annotation: str, intervals: bool) -> Cell | None:
    """A fold's number, or the mean over all folds of the seeds that have them all."""
    found = [
        result
        for result in of.results
        if (result.tested.setting.shot, result.tested.setting.annotation) == (column.shot, annotation)
    ]
    folds = range(found[0].tested.folds) if found and column.fold is None else [column.fold]
    by_seed: dict[int, dict[int, FinishedTest]] = {}
    for result in found:
        by_seed.setdefault(result.tested.seed, {})[result.tested.fold] = result
    whole = {seed: each for seed, each in sorted(by_seed.items()) if all(fold in each for fold in folds)}
    if not whole:
        return None
    chosen = {seed: [each[fold] for fold in folds if fold is not None] for seed, each in whole.items()}
    scores = {seed: [result.table.score(column.metric) for result in each] for seed, each in chosen.items()}
    per_seed = [float(np.mean([score.mean for score in each])) for each in scores.values()]
    spread = float(np.mean([score.std for each in scores.values() for score in each]))
    low, high = np.nan, np.nan
    if intervals:
        parts = zip(*chosen.values(), strict=True)  # fold by fold, the results of all seeds
        per_fold = [replicates(part, column.metric, seed=number) for number, part in enumerate(parts)]
        low, high = interval(np.mean(per_fold, axis=0))
    return Cell(
        float(np.mean(per_seed)),
        float(np.std(per_seed)) if len(per_seed) > 1 else np.nan,
        spread,
        low,
        high,
        tuple(chosen),
        sum(result.episodes for each in chosen.values() for result in each),
        protocol=str(of.protocol),
    )


def _difference_line(layout: Layout, line: Line, ours: GridLine) -> list[GridLine]:
    """What ours are above the published numbers: only of the same encoder, data set and setting."""
    if ours.of is None or not _comparable(layout, line, ours.of):
        return []
    cells: list[Cell | None] = []
    for column, cell in zip(layout.columns, ours.cells, strict=True):
        number = _published(layout, line, column)
        if cell is None or number is None:
            cells.append(None)
        else:
            cells.append(cell._replace(value=cell.value - number.value, low=np.nan, high=np.nan))
    return [GridLine(line, "difference", "ours - published", tuple(cells), ours.of)] if any(cells) else []


def _comparable(layout: Layout, line: Line, of: Series) -> bool:
    same = (of.setting.encoder, of.setting.dataset) == (line.encoder, line.dataset or layout.dataset)
    return same and not (_others(of, line) if layout.source else of.setting.departures)


def notes_of(layout: Layout, lines: Sequence[GridLine], used: Sequence[Series]) -> list[str]:
    """Under the table: another data set, protocols, missing cells, the notes of the tests."""
    notes = []
    if layout.source and (
        other := sorted({of.setting.dataset for of in used} - {layout.dataset, *(x.dataset for x in layout.lines)})
    ):
        names = " and ".join(other)
        are = "is another data set" if len(other) == 1 else "are other data sets"
        notes.append(
            f"{names} {are} than the paper's {layout.dataset}: such numbers are not comparable with published ones, "
            "and no difference is taken"
        )
    elif layout.source and any(not _comparable(layout, line.line, line.of) for line in lines if line.of):
        notes.append("no difference is taken where encoder, data set or setting are not the published number's")
    for of in used:
        recipes = {(r.tested.setting.shot, r.tested.training) for r in of.results if r.tested.training}
        if len({recipe for _, recipe in recipes}) > 1:
            words = ", ".join(f"{shot}-shot #{recipe}" for shot, recipe in sorted(recipes))
            notes.append(f"{of.setting.label}: trainings differ in more than the number of shots: {words}")
    for protocol in sorted({str(of.protocol) for of in used}):
        tested = [r.tested for of in used if str(of.protocol) == protocol for r in of.results]
        how = dict.fromkeys(", ".join([t.protocol.in_words(), *t.details]) for t in tested)
        notes += [f"ours: protocol {protocol}: {words}" for words in how]
    for of in used:
        if any(line.kind == "difference" and line.of is of for line in lines):
            theirs = sorted({c.protocol for x in lines if x.kind == "published" for c in x.cells if c} - {"unknown"})
            if theirs and of.protocol.name not in theirs:
                notes.append(f"published under protocol {', '.join(theirs)}, ours under {of.protocol}")
    notes += _notes_of_tests([result for of in used for result in of.results])
    sources = sorted({c.source for x in lines if x.kind == "published" for c in x.cells if c} - {layout.source})
    if sources:
        notes.append(f"published in {'; '.join([*([layout.source] if layout.source else []), *sources])}")
    return list(dict.fromkeys([*notes, *_seed_notes(lines)]))


def _notes_of_tests(results: Sequence[FinishedTest]) -> list[str]:
    """What the tests say, each note once, with the folds and shots that it is of where these are not all."""
    found: dict[str, set[tuple[int, int]]] = {}
    every = {(result.tested.fold, result.tested.setting.shot) for result in results}
    for result in results:
        for note in result.tested.notes:
            found.setdefault(note, set()).add((result.tested.fold, result.tested.setting.shot))
    return [
        note if of == every else f"{note} ({', '.join(f'fold {fold} {shot}-shot' for fold, shot in sorted(of))})"
        for note, of in sorted(found.items())
    ]


def _seed_notes(lines: Sequence[GridLine]) -> list[str]:
    cells = [cell for line in lines if line.kind == "ours" for cell in line.cells if cell]
    notes = []
    if any(len(cell.seeds) > 1 for cell in cells):
        seeds = sorted({seed for cell in cells for seed in cell.seeds})
        notes.append(f"+-: standard deviation over trainings of seeds {', '.join(map(str, seeds))}")
    if any(len(cell.seeds) == 1 for cell in cells):
        notes.append("without +-: one seed, whose spread is unknown")
    if any(cell is None for line in lines for cell in line.cells):
        notes.append("-: not published, or not run; a mean of ours needs all folds")
    return notes
