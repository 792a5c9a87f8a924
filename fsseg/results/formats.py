"""A table of many tests as text, Markdown, LaTeX, CSV, HTML and JSON."""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import groupby, zip_longest
from textwrap import wrap
from typing import Any

import numpy as np

from fsseg.results.grid_lines import Cell, GridLine
from fsseg.results.grids import Grid
from fsseg.results.papers import Column
from fsseg.untrusted.records import as_json as json_text
from fsseg.untrusted.records import plain
from fsseg.untrusted.text import csv_cell

_WIDTH = 118  # characters of a line
_LABEL, _HEAD = 34, 24  # characters of a name or label, and of a column's head, above which they are wrapped
Row = Sequence[Sequence[str]]  # lines of each cell
_PLUS_MINUS = {"text": " +- ", "markdown": " ± ", "latex": r" $\pm$ ", "html": " ± "}


def title(grid: Grid) -> str:
    """Source, title and data set of a table."""
    layout = grid.layout
    where = f"{layout.source}: " if layout.source else ""
    of = f", {layout.dataset}" if layout.dataset else ""
    return f"{where}{layout.title}{of}"


def groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Heads that span several columns, each with the number of its columns."""
    several = len({column.metric for column in columns if not column.name}) > 1

    def head(column: Column) -> str:
        return f"{column.metric}, {column.shot}-shot" if several else f"{column.shot}-shot"

    return [(name, len(list(found))) for name, found in groupby(columns, head)]


def shown(cell: Cell | None, kind: str, style: str, intervals: bool = False) -> str:
    """A cell as text, for the formats that people read."""
    if cell is None:
        return "-"
    sign = "+" if kind == "difference" else ""
    text = f"{cell.value:{sign}.1f}"
    if not np.isnan(cell.seed_std):
        text += f"{_PLUS_MINUS[style]}{cell.seed_std:.1f}"
    if intervals and not np.isnan(cell.low):
        text += f" [{cell.low:.1f}, {cell.high:.1f}]"
    return text


def as_text(grid: Grid, intervals: bool = False) -> str:
    """A table for a terminal of 120 columns: long names are wrapped, and columns without room follow below."""
    columns, last = grid.layout.columns, None
    cells = [[[""], [""], *(wrap(column.head, _HEAD) for column in columns)]]
    for line in grid.lines:
        texts = (shown(cell, line.kind, "text", intervals) for cell in line.cells)
        cells.append([_wrapped(_name(line, last)), _wrapped(line.label), *([text] for text in texts)])
        last = line
    widths = [max(len(text) for row in cells for text in row[i]) for i in range(len(columns) + 2)]
    lines = [title(grid)]
    for part in _parts(columns, widths):
        lines += ["", *_part(columns, cells, widths, part)]
    notes = [
        line
        for note in _notes(grid, intervals, "text")
        for line in wrap(f"note: {note}", _WIDTH, subsequent_indent="  ")
    ]
    return "\n".join([*lines, "", *notes]) + "\n"


def _wrapped(text: str) -> list[str]:
    return wrap(text, _LABEL, break_on_hyphens=False) or [""]


def _needed(widths: Sequence[int], head: str = "") -> int:
    """Characters of neighbouring columns, with two spaces between them."""
    return max(sum(widths) + 2 * (len(widths) - 1), len(head))


def _parts(columns: Sequence[Column], widths: Sequence[int]) -> list[list[int]]:
    """Numbers of the columns of each part of a table that fits a line; a group of columns stays together if it fits."""
    room, start = _WIDTH - widths[0] - widths[1] - 2, 0
    parts: list[list[int]] = []
    used = room
    for head, count in groups(columns):
        group = range(start, start + count)
        fits = _needed(widths[start + 2 : start + 2 + count], head) + 2 <= room
        for unit in [group] if fits else [[column] for column in group]:
            needed = _needed([widths[column + 2] for column in unit], head) + 2
            used += needed
            if used > room:
                parts.append([])
                used = needed
            parts[-1] += unit
        start += count
    return parts


def _part(columns: Sequence[Column], cells: Sequence[Row], widths: Sequence[int], part: Sequence[int]) -> list[str]:
    """Lines of a part of a table: heads of groups, heads of columns, and a line or more for each line."""
    own, above, place = [widths[0], widths[1], *(widths[column + 2] for column in part)], [], 2
    for name, count in groups([columns[column] for column in part]):
        own[place] += max(0, len(name) - _needed(own[place : place + count]))
        above.append(f"{name:^{_needed(own[place : place + count])}}")
        place += count
    lines = ["  ".join([" " * own[0], " " * own[1], *above]).rstrip()]
    for row in cells:
        shown_cells = [row[0], row[1], *(row[column + 2] for column in part)]
        for texts in zip_longest(*shown_cells, fillvalue=""):
            padded = [f"{c:{w}}" if i < 2 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(texts, own, strict=True))]
            lines.append("  ".join(padded).rstrip())
    return lines


def _name(line: GridLine, last: GridLine | None) -> str:
    return "" if last and last.line == line.line else line.line.name


def _notes(grid: Grid, intervals: bool, style: str) -> list[str]:
    more = ["[low, high]: 95 % bootstrap interval over episodes"] if intervals else []
    sign = _PLUS_MINUS[style].strip()  # the cells' own
    return [*more, *(note.replace("+-", sign) for note in grid.notes)]


def as_markdown(grid: Grid, intervals: bool = False) -> str:
    """A table as Markdown."""
    columns = grid.layout.columns
    flat = [name for name, count in groups(columns) for name in [name] * count]
    heads = [f"{name}, {column.head}" for name, column in zip(flat, columns, strict=True)]
    lines = [f"**{title(grid)}**", "", f"| method | | {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * len(heads)}"]
    last = None
    for line in grid.lines:
        cells = [shown(cell, line.kind, "markdown", intervals) for cell in line.cells]
        names = [text.replace("|", r"\|") for text in (_name(line, last), line.label)]
        lines.append(f"| {' | '.join([*names, *cells])} |")
        last = line
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(grid, intervals, "markdown"))]) + "\n"


def as_latex(grid: Grid, intervals: bool = False) -> str:
    """A table as LaTeX, for the package booktabs."""
    columns = grid.layout.columns
    spans = groups(columns)
    above = " & ".join(rf"\multicolumn{{{count}}}{{c}}{{{_tex(name)}}}" for name, count in spans)
    ends = np.cumsum([count for _, count in spans]) + 2
    rules = "".join(rf"\cmidrule(lr){{{end - count + 1}-{end}}}" for end, (_, count) in zip(ends, spans, strict=True))
    lines = [
        rf"% {title(grid)}",
        rf"\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        r"\toprule",
        rf" & & {above} \\",
        rules,
        rf"method & & {' & '.join(_tex(column.head) for column in columns)} \\",
        r"\midrule",
    ]
    last = None
    for line in grid.lines:
        cells = [shown(cell, line.kind, "latex", intervals) for cell in line.cells]
        lines.append(rf"{_tex(_name(line, last))} & {_tex(line.label)} & {' & '.join(cells)} \\")
        last = line
    notes = [f"% {' '.join(note.split())}" for note in _notes(grid, intervals, "latex")]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes]) + "\n"


def _tex(text: str) -> str:
    replaced = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    replaced |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(replaced.get(sign, sign) for sign in text)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse } th, td { padding: .25em .6em; text-align: right; white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left } thead th { border-bottom: 1px solid #999 }
tr.first td { border-top: 1px solid #ddd } tr.ours td { font-weight: 600 } tr.published td { color: #555 }
ul { color: #555; max-width: 70em }
</style></head><body>
{{ table }}
</body></html>
"""
_TABLE = """<h2>{{ title }}</h2>
<table class="grid"><thead>
<tr><th></th><th></th>
{%- for name, count in groups %}<th colspan="{{ count }}" style="text-align:center">{{ name }}</th>{% endfor %}</tr>
<tr><th>method</th><th></th>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
</thead><tbody>
{% for name, kind, label, cells in lines -%}
<tr class="{{ kind }}{{ ' first' if name else '' }}"><td>{{ name }}</td><td>{{ label }}</td>
{%- for cell, why in cells %}<td{% if why %} title="{{ why }}"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>"""


def as_html_part(grid: Grid, intervals: bool = False) -> str:
    """A table as HTML, without the page around it."""
    lines, last = [], None
    for line in grid.lines:
        cells = [(shown(cell, line.kind, "html", intervals), cell.source if cell else "") for cell in line.cells]
        lines.append((_name(line, last), line.kind, line.label, cells))
        last = line
    heads = [column.head for column in grid.layout.columns]
    from jinja2 import Environment  # imported late: the import takes a third of the time of a table as text

    template = Environment(autoescape=True).from_string(_TABLE)
    return template.render(
        title=title(grid),
        groups=groups(grid.layout.columns),
        heads=heads,
        lines=lines,
        notes=_notes(grid, intervals, "html"),
    )


def as_html(grid: Grid, intervals: bool = False) -> str:
    """A table as a complete HTML page that loads nothing from the network."""
    from jinja2 import Environment
    from markupsafe import Markup

    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(title=title(grid), table=Markup(as_html_part(grid, intervals))) + "\n"  # escaped already


def _records(grid: Grid) -> list[dict[str, Any]]:
    """One record per number."""
    found = []
    for line in grid.lines:
        for column, cell in zip(grid.layout.columns, line.cells, strict=True):
            if cell is None:
                continue
            series = line.of or column.of
            of = series.setting if series else grid.layout.setting(line.line, column)
            fold = line.line.fold if column.of else column.fold
            found.append(
                {
                    "table": grid.layout.source or "own",
                    "line": line.line.name,
                    "kind": line.kind,
                    "method": of.label,
                    "encoder": of.encoder,
                    "dataset": of.dataset,
                    "way": column.way,
                    "shot": column.shot,
                    "annotation": column.annotation or line.line.annotation,
                    "metric": column.metric,
                    "fold": "mean" if fold is None else fold,
                    **({"class_id": line.line.class_id} if column.of else {}),
                    "trained": series.trained if series else "",
                    "selection": (series.selection or "") if series else "",
                    **cell._asdict(),
                    "seeds": " ".join(map(str, cell.seeds)),
                }
            )
    return found


def as_csv(grid: Grid, intervals: bool = False) -> str:
    """A table as CSV, one line per number, with all spreads."""
    records = plain(_records(grid))
    file = io.StringIO()
    if records:
        writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in record.items()} for record in records)
    return file.getvalue()


def as_json(grid: Grid, intervals: bool = False) -> str:
    """A table as JSON: the records of `as_csv`, and the notes."""
    content = {"title": title(grid), "numbers": _records(grid), "notes": list(grid.notes)}
    return json_text(content)


FORMATS: dict[str, Callable[[Grid, bool], str]] = {
    "text": as_text, "markdown": as_markdown, "latex": as_latex, "csv": as_csv, "html": as_html, "json": as_json,
}  # fmt: skip
ENDINGS = {".txt": "text", ".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html", ".json": "json"}
