"""One checkpoint over several data sets: a table with a line per data set and the mean."""

from collections.abc import Sequence

import numpy as np

from fsseg.results.outcomes import Outcome, contents
from fsseg.results.tables import number
from fsseg.untrusted.records import as_json

_HEADER = ("data set", "classes", "episodes", "protocol", "mean-IoU", "binary-IoU")


def suite_text(outcomes: Sequence[Outcome]) -> str:
    """One checkpoint over several data sets, for a terminal."""
    cells = [_HEADER, *map(_cells, outcomes), _mean_cells(outcomes)]
    widths = [max(len(row[i]) for row in cells if len(row) == len(_HEADER)) for i in range(len(_HEADER))]
    widths[0] = max(len(row[0]) for row in cells)
    lines = ["  " + "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=False)).rstrip() for row in cells]
    notes = [f"  note: {note}" for note in _notes(outcomes)]
    return "\n".join([*_head(outcomes), "", *lines, *([""] if notes else []), *notes])


def suite_markdown(outcomes: Sequence[Outcome]) -> str:
    """One checkpoint over several data sets, as Markdown."""
    rows = [*map(_cells, outcomes), _mean_cells(outcomes)]
    lines = [
        *(f"# {line}" for line in _head(outcomes)),
        "",
        f"| {' | '.join(_HEADER)} |",
        "| --- | ---: | ---: | --- | ---: | ---: |",
        *(f"| {' | '.join([*row, *[''] * (len(_HEADER) - len(row))])} |" for row in rows),
        "",
        *(f"- {o.table.tested.setting.dataset}: {o.table.tested.how}" for o in outcomes if o.table),
        *(f"- Note: {note}" for note in _notes(outcomes)),
    ]
    return "\n".join(lines) + "\n"


def suite_json(outcomes: Sequence[Outcome]) -> str:
    """One checkpoint over several data sets, as JSON: a table or a reason for each, and the means over the tables."""
    mean, binary = means(outcomes)
    of = [outcome.name for outcome in outcomes if outcome.table]
    return as_json({"datasets": contents(outcomes), "mean": {"of": of, "mean_iou": mean, "binary_iou": binary}})


def means(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Mean-IoU and binary-IoU, averaged over the data sets that were tested, each with equal weight, in percent."""
    tables = [outcome.table for outcome in outcomes if outcome.table]
    return (
        float(np.mean([table.mean_iou.mean for table in tables])),
        float(np.mean([table.binary_iou.mean for table in tables])),
    )


def _head(outcomes: Sequence[Outcome]) -> list[str]:
    tested = next(outcome.table.tested for outcome in outcomes if outcome.table)
    setting = tested.setting
    return [f"{setting.label}  {setting.encoder}  {tested.origin}    {setting.way}-way {setting.shot}-shot"]


def _cells(outcome: Outcome) -> tuple[str, ...]:
    if outcome.table is None:
        return outcome.name, f"not possible: {outcome.refused}"
    tested = outcome.table.tested
    protocol = tested.protocol
    return (
        tested.setting.dataset,
        f"{len(tested.classes):,}",
        f"{protocol.runs} x {protocol.episodes:,}",
        str(protocol),
        str(outcome.table.mean_iou),
        str(outcome.table.binary_iou),
    )


def _mean_cells(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    tested = sum(outcome.table is not None for outcome in outcomes)
    several = f"mean of {tested}" if tested == len(outcomes) else f"mean of {tested} of {len(outcomes)}"
    return several, "", "", "", *map(number, means(outcomes))


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Notes of all tables, each once, with the data sets that they are about."""
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        for note in outcome.table.tested.notes if outcome.table else ():
            found.setdefault(note, []).append(outcome.name)
    tested = sum(outcome.table is not None for outcome in outcomes)
    return [note if len(names) == tested else f"{', '.join(names)}: {note}" for note, names in found.items()]
