"""A test's table as text and as Markdown, and a table of several protocols side by side."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np

from fsseg.protocols.protocol import Protocol
from fsseg.results.outcomes import Outcome, contents
from fsseg.results.tables import Table, number
from fsseg.results.test_facts import Tested
from fsseg.untrusted.records import as_json

_BAR = 20  # characters of a full bar
_WIDTH = 118  # characters of a line


def as_text(table: Table) -> str:
    """A test's table for a terminal."""
    tested, setting = table.tested, table.tested.setting
    width = max(len("binary-IoU"), *(len(line.name) for line in table.classes)) + 2
    lines = [
        f"{setting.label}  {setting.encoder}  {tested.origin}    {tested.what}",
        *wrap(f"protocol {tested.protocol.name}: {tested.how} [#{tested.protocol.digest}]", _WIDTH),
        "",
        f"  {'class':{width}}IoU {'':{_BAR}}     +-   queries",
    ]
    for line in table.classes:
        if np.isnan(line.iou.mean):
            lines.append(f"  {line.name:{width}}   -")
            continue
        full = round(line.iou.mean / 100 * _BAR)
        bar = "█" * full + "░" * (_BAR - full)
        lines.append(f"  {line.name:{width}}{line.iou.mean:5.1f}  {bar}  {number(line.iou.std):>4}  {line.queries:7,}")
    lines += [
        "",
        f"  {'mean-IoU':{width}}{table.mean_iou}    {table.published_line('mean-IoU')}",
        f"  {'binary-IoU':{width}}{table.binary_iou}    {table.published_line('binary-IoU')}",
        *(f"  {line}" for line in _below(table)),
        *(f"  note: {note}" for note in tested.notes),
    ]
    return "\n".join(lines)


def _below(table: Table) -> list[str]:
    """Lines under the metrics."""
    lines = []
    if trivial := table.everything_foreground:
        lines.append(f"mean-IoU if everything were foreground: {number(trivial.mean)}")
    if several := table.several:
        lines.append(f"queries that show several of the classes: {several.queries:,}, mean-IoU on them {several.score}")
    if alarms := table.false_alarms:
        lines.append(
            f"queries that show none of the classes, not counted above: {alarms.queries:,}; false-positive rate "
            f"{alarms.pixels} % of their pixels, {alarms.alarmed} % of them with any"
        )
        auc = "" if np.isnan(alarms.auc.mean) else f"; AUC of the presence score {alarms.auc}"
        lines.append(f"mean-IoU with these queries counted: {alarms.counted}{auc}")
    return lines


def as_markdown(table: Table) -> str:
    """A test's table as Markdown."""
    tested = table.tested
    lines = [
        *_title(tested, f" Protocol {tested.protocol}: {tested.how}."),
        "| class | IoU | +- | queries |",
        "| --- | ---: | ---: | ---: |",
    ]
    for line in table.classes:
        lines.append(f"| {line.name} | {number(line.iou.mean)} | {number(line.iou.std)} | {line.queries:,} |")
    for metric, score in (("mean-IoU", table.mean_iou), ("binary-IoU", table.binary_iou)):
        scores = f"**{number(score.mean)}** | {number(score.std)}"
        lines.append(f"| **{metric}** | {scores} | {table.published_line(metric)} |")
    remarks = [f"{line[0].upper()}{line[1:]}." for line in _below(table)] + [f"Note: {note}." for note in tested.notes]
    return "\n".join([*lines, "", "  \n".join(remarks)]) + "\n"


def _title(tested: Tested, more: str = "") -> list[str]:
    """Heading of a page: method, encoder, test and checkpoint."""
    setting = tested.setting
    return [f"# {setting.label}, {setting.encoder}: {tested.what}", "", f"Checkpoint: {tested.origin}.{more}", ""]


_HEADER = ("protocol", "images", "pairs", "size", "compared at", "void", "episodes", "mean-IoU", "binary-IoU", "hash")


def side_by_side(outcomes: Sequence[Outcome]) -> str:
    """One checkpoint under several protocols, for a terminal."""
    tables = [outcome.table for outcome in outcomes if outcome.table]
    cells = [_HEADER, *(_cells(outcome) for outcome in outcomes)]
    widths = [max(len(row[i]) for row in cells if len(row) == len(_HEADER)) for i in range(len(_HEADER))]
    lines = ["  " + "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=False)).rstrip() for row in cells]
    if not tables:
        return "\n".join(lines)
    setting = tables[0].tested.setting
    head = f"{setting.label}  {setting.encoder}  {tables[0].tested.origin}    {tables[0].tested.what}"
    notes = [f"  {note}" for note in _notes(outcomes)]
    return "\n".join([head, "", *lines, *([""] if notes else []), *notes])


def side_by_side_markdown(outcomes: Sequence[Outcome]) -> str:
    """One checkpoint under several protocols, as Markdown."""
    rows = [_cells(outcome) for outcome in outcomes]
    tested = [outcome.table.tested for outcome in outcomes if outcome.table]
    lines = [
        *(_title(tested[0]) if tested else []),
        f"| {' | '.join(_HEADER)} |",
        "| --- | --- | ---: | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join([*row, *[''] * (len(_HEADER) - len(row))])} |" for row in rows),
        "",
        *(f"- {outcome.name}: {outcome.table.tested.how}" for outcome in outcomes if outcome.table),
        *(f"- {note}" for note in _notes(outcomes)),
    ]
    return "\n".join(lines) + "\n"


def side_by_side_json(outcomes: Sequence[Outcome]) -> str:
    """One checkpoint under several protocols, as JSON: a table per protocol, or the reason why there is none."""
    return as_json(contents(outcomes))


def _cells(outcome: Outcome) -> tuple[str, ...]:
    if outcome.table is None:
        return outcome.name, f"not possible: {outcome.refused}"
    tested = outcome.table.tested
    protocol = tested.protocol
    size = {"own": "own"}.get(str(protocol.size), f"{protocol.size}{' padded' if protocol.resize == 'pad' else ''}")
    return (
        outcome.name,
        "of a file" if protocol.draw == "list" else protocol.split,
        f"{tested.pairs:,}",
        size,
        protocol.evaluate_at,
        _void(protocol),
        f"{protocol.runs} x {protocol.episodes:,}",
        str(outcome.table.mean_iou),
        str(outcome.table.binary_iou),
        f"#{protocol.digest}",
    )


def _void(protocol: Protocol) -> str:
    return (
        protocol.void
        if protocol.void == protocol.support_void
        else f"{protocol.void} (supports: {protocol.support_void})"
    )


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Notes of all tables, each once; a note that some tables lack names its protocols."""
    tables = [outcome.table for outcome in outcomes if outcome.table]
    found: dict[str, list[str]] = {}
    for table in tables:
        for note in table.tested.notes:
            found.setdefault(note, []).append(table.tested.protocol.name)
    return [
        f"note: {note}" if len(names) == len(tables) else f"note ({', '.join(names)}): {note}"
        for note, names in found.items()
    ]
