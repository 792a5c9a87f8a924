"""Cells and lines of a table of many tests."""

from typing import Literal, NamedTuple

import numpy as np

from fsseg.results.papers import Layout, Line
from fsseg.results.results import Series

Kind = Literal["published", "ours", "difference"]


class Cell(NamedTuple):
    """A number, in percent.

    Attributes:
        value: mean over seeds, a published number, or the difference of the two.
        seed_std: population standard deviation over seeds; NaN with one seed.
        run_std: standard deviation over the runs of a test, as a mean over seeds; NaN with one run.
        low: lower end of the bootstrap interval over episodes, see `fsseg.results.intervals`.
        high: upper end of the interval.
        seeds: seeds of the tests.
        episodes: number of episodes of all tests.
        source: source of a published number.
        protocol: protocol of the number.
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
    """A line of the printed table.

    Attributes:
        line: line of the layout.
        kind: published numbers, ours, or the difference ours - published.
        label: describes the numbers.
        cells: a cell per column; None without a number.
        of: results behind the numbers.
    """

    line: Line
    kind: Kind
    label: str
    cells: tuple[Cell | None, ...]
    of: Series | None = None


def others(of: Series, line: Line) -> list[str]:
    """Departures of a series that the line does not study, in words."""
    return sorted(words for option, words in of.setting.departures.items() if option not in line.departures)


def comparable(layout: Layout, line: Line, of: Series) -> bool:
    """Whether a series has the encoder, data set and setting of a line's published number."""
    same = (of.setting.encoder, of.setting.dataset) == (line.encoder, line.dataset or layout.dataset)
    return same and not (others(of, line) if layout.source else of.setting.departures)
