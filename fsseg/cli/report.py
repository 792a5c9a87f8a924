"""`fsseg report`: writes one page about a run: tables, curves, pictures, configuration, environment."""

import base64
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from fsseg import atomic
from fsseg.cli import curves, look
from fsseg.cli.dashes import with_dashes
from fsseg.cli.options import MOVED, Options
from fsseg.cli.table import class_lines, make_grids, size_rows
from fsseg.errors import FssegError
from fsseg.protocols.protocol import OF_FILES
from fsseg.results.formats import as_html_part
from fsseg.results.intervals import METRICS, interval, replicates
from fsseg.results.results import FinishedTest, find_results
from fsseg.results.tables import number
from fsseg.runs import folders

_SECTIONS = ("results", "training", "pictures", "protocol", "configuration", "environment")
_LOOKED_AT = 1  # number of tests whose episodes are drawn again, which is slow


def options() -> Options:
    """The command's options."""
    made = Options("report")
    made.option("run", Path, "folder of a training, a test or a benchmark")
    made.option("--out", Path, "page to write (RUN/report.html)", metavar="FILE")
    made.option("--quick", bool, "build no method: use the test's own picture of episodes")
    made.option("--data.root", str, MOVED, dest="root", metavar="DIR")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``report``; return the exit code.

    Raises:
        FssegError: An option is wrong, or the folder holds no test.
    """
    given = options().read(arguments)
    out = given.out or given.run / "report.html"
    results = find_results([given.run])
    folders.make(out.parent)
    page = with_dashes(make_page(given.run, results, given.root, quick=given.quick))
    atomic.write_text(out, page)
    print(f"  report    {out}    {len(page) / 2**20:.1f} MB, one file")
    return 0


def make_page(run: Path, results: Sequence[FinishedTest], root: str | None, quick: bool) -> str:
    """The page as text.

    Args:
        run: Folder of a training, a test, or a benchmark.
        results: Tests of the run.
        root: Folder of the data set, if it has moved.
        quick: Draw only from rows and logs; no method is built.
    """
    from jinja2 import Environment

    tested, several = results[0].tested, len(results) > 1
    with tempfile.TemporaryDirectory() as made:
        trainings = _trainings(run)
        drawn, caption = _draw_curves(trainings, Path(made))
        pictures, notes = _pictures(results, Path(made), root, quick)
        source = files("fsseg.cli").joinpath("report.html").read_text(encoding="utf-8")
        template = Environment(autoescape=True).from_string(source)
        return template.render(
            title=f"{tested.setting.label}, {tested.setting.encoder}: {tested.setting.dataset}",
            what=f"{len(results)} test{'s' if several else ''} in {run.name}, made by fsseg",
            sections=[name for name in _SECTIONS if drawn or name != "training"],
            tables=[as_html_part(grid) for grid in make_grids(results, None, intervals=False)] if several else [],
            tests=[_test(run, result) for result in results] if len(results) <= 4 else [],
            curves=drawn,
            curves_caption=caption,
            pictures=pictures,
            picture_notes=notes,
            protocols=list(_protocols(results)),
            configs=list(_configs(run, trainings, results)),
            environment=_environment(trainings),
        ) + "\n"  # fmt: skip


def _trainings(run: Path) -> list[Path]:
    """Folders of trainings in the run's folder or below, or else the parent folder of a test."""
    here = sorted({path.parent for path in run.rglob("logs/version_*")})
    found = [path.parent for path in here]
    return list(dict.fromkeys(found)) or [folder for folder in (run.parent,) if (folder / "logs").is_dir()]


def _draw_curves(trainings: Sequence[Path], made: Path) -> tuple[str, str]:
    """The training curves as a picture, and its caption; both empty without logs."""
    try:
        charts = curves.charts_of(trainings) if trainings else {}
    except FssegError:  # nothing was logged
        charts = {}
    if not charts:
        return "", ""
    from fsseg.plots.charts import draw_curves

    draw_curves(charts, made / "curves.png")
    return _inline(made / "curves.png"), f"{' and '.join(charts)}; training losses smoothed, raw values pale"


def _pictures(
    results: Sequence[FinishedTest], made: Path, root: str | None, quick: bool
) -> tuple[list[dict[str, str]], list[str]]:
    """Charts of the rows, then episodes: drawn again if method and data exist, otherwise the test's picture."""
    from fsseg.experiment.replay import Replay  # imports torch
    from fsseg.plots.charts import draw_class_iou, draw_size_iou

    found, notes = [], []
    draw_class_iou(class_lines(results), made / "classes.png")
    seed = min(result.tested.seed for result in results)
    caption = f"IoU of each class, seed {seed}; whiskers: standard deviation over runs"
    found.append(_picture(made / "classes.png", caption))
    draw_size_iou(size_rows(results), made / "sizes.png")
    found.append(_picture(made / "sizes.png", "IoU against the object's size, pooled over queries of similar size"))
    for result in results[:_LOOKED_AT]:
        try:
            if quick:
                raise FssegError("the test's own picture of episodes (--quick).")
            print("drawing episodes ...", file=sys.stderr, flush=True)
            replay = Replay(result.folder, root)
            names = look.write(replay, look.choose(replay.queries(), 3), made)
            found += [_picture(made / name, f"{what} of {result.folder.name}") for what, name in names.items()]
        except FssegError as error:
            notes.append(f"{result.folder.name}: {error}")
            if folders.is_own(path := result.folder / "episodes.png"):
                found.append(_picture(path, f"episodes of {result.folder.name}"))
    if len(results) > _LOOKED_AT:
        notes.append(f"Episodes of the first test only; `fsseg look` draws those of the other {len(results) - 1}.")
    return found, notes


def _test(run: Path, result: FinishedTest) -> dict[str, Any]:
    table = result.table
    classes = [
        {"name": line.name, "iou": number(line.iou.mean), "std": number(line.iou.std), "queries": line.queries,
         "percent": 0 if line.iou.mean != line.iou.mean else round(line.iou.mean)}
        for line in table.classes
    ]  # fmt: skip
    lines = []
    for metric in METRICS:
        low, high = interval(replicates([result], metric))
        spread = f"95 % bootstrap interval over episodes {low:.1f} to {high:.1f}"
        lines.append(f"{metric}: {spread}; {table.published_line(metric)}")
    return {
        "name": str(result.folder.relative_to(run)) if result.folder != run else run.name,
        "what": f"{result.tested.what}, {result.tested.origin}",
        "classes": classes,
        "mean_iou": number(table.mean_iou.mean),
        "mean_std": number(table.mean_iou.std),
        "binary_iou": number(table.binary_iou.mean),
        "binary_std": number(table.binary_iou.std),
        "notes": [*lines, *result.tested.notes],
    }


def _protocols(results: Sequence[FinishedTest]) -> Iterator[dict[str, Any]]:
    seen = set()
    for result in results:
        protocol = result.tested.protocol
        if str(protocol) not in seen:
            seen.add(str(protocol))
            values = [(name, value) for name, value in asdict(protocol).items() if name not in OF_FILES or value]
            yield {"name": str(protocol), "words": result.tested.how, "fields": values}


def _configs(run: Path, trainings: Sequence[Path], results: Sequence[FinishedTest]) -> Iterator[dict[str, str]]:
    """Configurations: a benchmark's common one, or one per training, or that of an untrained network's test."""
    if folders.is_own(path := run / "benchmark.yaml"):
        yield {"name": path.name, "text": path.read_text(encoding="utf-8", errors="replace")}
        return
    for folder in [*trainings] or [results[0].folder]:
        if folders.is_own(path := folder / "config.yaml"):
            text = path.read_text(encoding="utf-8", errors="replace")
            yield {"name": folder.name if len(trainings) > 1 else "", "text": text}


def _environment(trainings: Sequence[Path]) -> list[tuple[str, Any]]:
    from fsseg.runs.resume import finished

    for folder in trainings:
        if found := finished(folder):
            return list(asdict(found).items())
    return []


def _picture(path: Path, caption: str) -> dict[str, str]:
    return {"source": _inline(path), "caption": caption}


def _inline(path: Path) -> str:
    """A picture as a data URL, so that the page is one file."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
