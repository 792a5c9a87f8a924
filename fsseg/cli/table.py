"""`fsseg table`: makes a table of many tests in the layout of the papers' tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fsseg import atomic
from fsseg.cli.dashes import with_dashes
from fsseg.cli.options import Options
from fsseg.errors import FssegError
from fsseg.results.classes import make_class_grid
from fsseg.results.formats import ENDINGS, FORMATS
from fsseg.results.grids import Grid, make_grid, series_words
from fsseg.results.papers import LATER, LAYOUTS, absent_layout, own_layout
from fsseg.results.results import FinishedTest, find_results, series
from fsseg.results.rows import Row
from fsseg.results.tables import ClassScore
from fsseg.runs import folders

_WRITTEN = ("md", "csv", "json")  # formats that a benchmark writes


def options() -> Options:
    """The command's options."""
    made = Options("table")
    made.option("runs", Path, "folders of benchmarks, runs or tests", nargs="+")
    like = "panet-table1..6 or pmms-table1..6, with the published numbers"
    made.option("--like", Literal[*sorted(LAYOUTS)], like, metavar="PAPER-tableN")
    made.option("--later", bool, "add methods published later, or on these data sets")
    made.option("--format", Literal[*FORMATS], "format (default: text)")
    made.option("--intervals", bool, "add 95 %% bootstrap intervals over episodes")
    made.option("--classes", bool, "one line per class")
    made.option("--absent", bool, "false alarms of tests with `protocol.absent_queries`")
    made.option("--out", Path, "file to write; its ending decides the format", metavar="FILE")
    made.option("--picture", Path, "draw IoU per class and IoU against object size", metavar="FILE")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``table``; return the exit code.

    Raises:
        FssegError: An option is wrong, or a folder holds no tests.
    """
    given = options().read(arguments)
    form = given.format or (ENDINGS.get(given.out.suffix) if given.out else "text")
    if form is None:
        raise FssegError(f"--out {given.out}: an ending of {', '.join(ENDINGS)} is needed, or --format.")
    _refuse_two_tables(given)
    results = find_results(given.runs)
    if given.absent:
        _refuse_without_absent(results)
    intervals = given.intervals or form in ("csv", "json")
    grids = (
        [make_class_grid(results)]
        if given.classes
        else make_grids(results, given.like, intervals, given.later, given.absent)
    )
    text = _shown(grids, form, given.intervals)
    if given.out is None:
        print(text, end="")
    else:
        folders.make(given.out.parent)
        atomic.write_text(given.out, text)
        print(f"  table     {given.out}")
    if given.picture and given.absent:
        _draw_absent(results, given.picture)
    elif given.picture:
        _draw(results, given.picture)
    return 0


def _refuse_two_tables(given: Any) -> None:
    asked = [f"--{name}" for name in ("classes", "absent", "later", "like") if getattr(given, name)]
    if len(asked) > 1 and asked != ["--later", "--like"]:
        raise FssegError(f"{asked[0]} and {asked[1]} are two tables: give one of them.")


def _refuse_without_absent(results: Sequence[FinishedTest]) -> None:
    for result in results:
        if result.table.false_alarms is None:
            raise FssegError(
                f"--absent: every query of {result.folder} shows a class. Test with --protocol.absent_queries 0.5."
            )


def _draw_absent(results: Sequence[FinishedTest], path: Path) -> None:
    """Draw false alarms.

    Raises:
        FssegError: The file cannot be written.
    """
    from fsseg.plots.studies import draw_absent  # imports matplotlib

    folders.make(path.parent)
    with folders.named("--picture", path):
        draw_absent(_named(results), path)
    print(f"  picture   {path}")


def _named(results: Sequence[FinishedTest]) -> dict[str, list[FinishedTest]]:
    """Tests by the name of their line and their shots."""
    every = series(results)
    shots = {result.tested.setting.shot for result in results}
    found: dict[str, list[FinishedTest]] = {}
    for of in every:
        for result in of.results:
            shot = [f"{result.tested.setting.shot}-shot"] if len(shots) > 1 else []
            more = series_words(of, every) if len({one.setting.label for one in every}) < len(every) else []
            found.setdefault(", ".join([of.setting.label, *shot, *more]), []).append(result)
    return found


def _draw(results: Sequence[FinishedTest], path: Path) -> None:
    """Draw IoU per class and, in a second file, IoU against object size.

    Raises:
        FssegError: A file cannot be written.
    """
    from fsseg.plots.charts import draw_class_iou, draw_size_iou  # imports matplotlib

    sizes = path.with_name(f"{path.stem}_sizes{path.suffix}")
    folders.make(path.parent)
    with folders.named("--picture", path):
        draw_class_iou(class_lines(results), path)
        draw_size_iou(size_rows(results), sizes)
    print(f"  pictures  {path}  {sizes}")


def class_lines(results: Sequence[FinishedTest]) -> dict[str, list[ClassScore]]:
    """IoU of the classes by method, shots and annotation; of one seed, so that deviations are over runs."""
    lines: dict[str, list[ClassScore]] = {}
    every = series(results)
    for of in every:
        first = min(result.tested.seed for result in of.results)
        for result in of.results:
            setting = result.tested.setting
            weak = "" if setting.annotation == "mask" else f", {setting.annotation}"
            if result.tested.seed == first:
                more = series_words(of, every) if len(every) > 1 else []
                name = ", ".join([f"{setting.label} {setting.shot}-shot{weak}", *more])
                lines.setdefault(name, []).extend(result.table.classes)
    return lines


def size_rows(results: Sequence[FinishedTest]) -> dict[str, list[Row]]:
    """Rows by name of the tests' series."""
    every = series(results)
    rows: dict[str, list[Row]] = {}
    for of in every:
        name = ", ".join([of.setting.label, *series_words(of, every)])
        rows.setdefault(name, []).extend(row for result in of.results for row in result.rows)
    return rows


def make_grids(
    results: Sequence[FinishedTest], like: str | None, intervals: bool, later: bool = False, absent: bool = False
) -> list[Grid]:
    """A paper's table, or one table per number of ways; ``absent``: with the columns of false alarms.

    Raises:
        FssegError: No later methods are known for the paper's table, or for the data sets of the tests.
    """
    if like is not None:
        if later and not LAYOUTS[like].later:
            raise FssegError(f"--later: no methods published later are known for {like}.")
        return [make_grid(LAYOUTS[like], results, intervals, later)]
    datasets = sorted({result.tested.setting.dataset for result in results})
    if later and not LATER.keys() & {*datasets}:
        raise FssegError(
            f"--later: no published methods are known on {', '.join(datasets)}, only on {' and '.join(LATER)}. Give "
            "--like, e.g. --like pmms-table4, for a paper's table with your methods below."
        )
    grids = []
    for way in sorted({result.tested.setting.way for result in results}):
        found = [result for result in results if result.tested.setting.way == way]
        folds = sorted({result.tested.fold for result in found})
        of = absent_layout if absent else own_layout
        layout = of([r.tested.setting for r in found], folds, max(r.tested.folds for r in found))
        grids.append(make_grid(layout, found, intervals, later))
    return grids


def _shown(grids: Sequence[Grid], form: str, intervals: bool = False) -> str:
    """Text of one or several tables in a format."""
    texts = [with_dashes(FORMATS[form](grid, intervals)) for grid in grids]
    if len(texts) == 1:
        return texts[0]
    if form == "json":
        return "[\n" + ",\n".join(text.rstrip() for text in texts) + "\n]\n"
    if form == "csv":
        return texts[0] + "".join(text.partition("\n")[2] for text in texts[1:])
    return "\n".join(texts)


def write_tables(runs: Sequence[Path], out: Path) -> str:
    """Write the table of some tests in several formats, and return its text for the terminal.

    Raises:
        FssegError: A folder holds no tests.
    """
    results = find_results(runs)
    grids = make_grids(results, None, intervals=True)
    for ending in _WRITTEN:
        atomic.write_text(out / f"table.{ending}", _shown(grids, ENDINGS[f".{ending}"]))
    return f"{_shown(grids, 'text')}\n  table     {out}/table.md  table.csv  table.json"
