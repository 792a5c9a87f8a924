"""Names from files of strangers: none becomes a path out of --out, a formula in a table, or markup in a page.

Files with hostile names in all places go through the commands, in this process, which is watched: what it opens for
writing, makes, renames and removes, and what lies around --out before and after. ``make fuzz`` tries more names.
"""

import csv
import html.parser
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsseg.cli import main
from fsseg.encoders import ConvNet
from fsseg.files.names import plain
from fsseg.jobs.sweep import Sweep
from fsseg.jobs.sweep_results import PointResult, write
from fsseg.methods import PANet
from fsseg.results.rows import read_rows, write_rows
from fsseg.segmenter import Segmenter
from fsseg.untrusted import text
from tests.results.folders import made_up_rows, make_test
from tests.test_fuzz import MANY, SEGMENTER, tries

HOSTILE = (
    "../victim", "../../victim", "../../victims",
    "a/../../victim", "..\\..\\victim", "{world}/victim", "/victim", "", ".", "..", "...",
    "a\x00b", "a\nb", "a\r\nb", "\t=1+1", "x" * 300, "ä" * 200, "CON", "nul.png", "a.", "a ", " a", ".hidden",
    "~", "~root",
    "a\u2028b", "a\u2029b", "a\u202eb", "a\u202fb", "a\u00a0b", "\ud800", "-rf", "--out=victim", "=cmd()", "+1+cmd()",
    "@SUM(1)",
    "-2+3", "a;=cmd()", "\uff1dcmd()", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}",
    "${HOME}",
    "$(touch victim)", "`touch victim`", "victim | touch victim", "%2e%2e%2fvictim", "C:\\victim", "//host/victim",
    "a:b",
    "a*b?", "100%", "cat", "\x1b[31mred",
)  # fmt: skip
names = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.text("./\\~-=+@;%'<>\"\t\r\n a", max_size=12))


@given(name=names, other=names)
@tries(60)
@pytest.mark.slow
def test_a_name_is_one_part_of_a_path_on_any_system(name: str, other: str) -> None:
    found = text.file_name(name)
    assert len(found.encode()) <= 160  # and is UTF-8
    assert found not in ("", ".", "..")
    assert PurePosixPath(found).parts == PureWindowsPath(found).parts == (found,)
    assert not PureWindowsPath(found).is_reserved()
    assert text.is_line(found)
    assert found[0] not in ".-~ "
    assert found[-1] not in ". "
    assert not set(found) & set('/\\:*?"<>|')
    assert text.is_relative_path(found)
    assert (found == text.file_name(other)) == (name == other)
    both = text.relative_path(f"{name}/{other}")
    assert not text.leads_out(both)
    assert text.is_relative_path(both)
    assert text.is_relative_path(name) <= (not text.leads_out(name))


@pytest.mark.parametrize("name", ["cat", "my cat", "a.b", "ä", "猫", "photo (1)", "100%", "5% off", "a\u202fb", "x-1"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert text.file_name(name) == name
    assert text.csv_cell(name) == name


@given(name=names)
@tries(60)
@pytest.mark.slow
def test_a_cell_is_no_formula_and_gives_its_text_back(name: str) -> None:
    cell = text.csv_cell(name)
    assert isinstance(cell, str)
    assert_no_formula(cell)
    assert text.csv_text(cell) == name


@pytest.mark.parametrize("value", ["-0.5", "+3", "-1e-5", ".5", "-.5", "-inf", "nan", -0.5, 3, None, True])
def test_numbers_stay_numbers(value: object) -> None:
    assert text.csv_cell(value) is value


def assert_no_formula(cell: str) -> None:
    """For a spreadsheet that splits at commas (which `csv` quotes), semicolons, tabs or line ends."""
    for part in [cell, *re.split(r"[;\t\r\n]", cell)]:
        is_number = re.fullmatch(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|nan)", cell, re.IGNORECASE | re.ASCII)
        assert is_number or not part or part[0] not in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20", cell


# Places of paths among the arguments of an audit event.
EVENTS = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.link": (0, 1), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,), "os.utime": (0,), "shutil.rmtree": (0,),
}  # fmt: skip
COMMANDS = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"}


class Watch:
    """What this process writes, as Python's audit events tell it."""

    def __init__(self) -> None:
        self.written: set[str] | None = None
        sys.addaudithook(self._see)

    def _see(self, event: str, given: tuple[Any, ...]) -> None:
        if self.written is None:
            return
        if event == "open" and isinstance(given[0], str | bytes) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.written.add(os.path.abspath(os.fsdecode(given[0])))
        if event in COMMANDS:
            self.written.add(f"/the command {given[0]}")
        for place in EVENTS.get(event, ()):
            if (isinstance(given[place], str | bytes) and os.path.isabs(given[place])) or -1 in given[place + 1 :]:
                self.written.add(os.path.abspath(os.fsdecode(given[place])))  # others are in an open folder


WATCH = Watch()


def tree(folder: Path, but: Path) -> dict[str, bytes | None]:
    """All that lies around a folder."""
    around = (p for p in folder.rglob("*") if p != but and but not in p.parents)
    return {str(p): p.read_bytes() if p.is_file() and not p.is_symlink() else None for p in around}


@contextmanager
def watched(world: Path, out: Path) -> Iterator[None]:
    """Nothing but --out, and what the program keeps for itself, is made, changed or removed."""
    before, top = tree(world, out), set(os.listdir("/"))
    WATCH.written = set()
    try:
        yield
    finally:
        written, WATCH.written = WATCH.written, None
    free = (out, Path(os.environ["XDG_CACHE_HOME"]), Path(tempfile.gettempdir()), Path("/dev/null"),
            out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.lock"))  # fmt: skip
    outside = {p for p in written if not any(Path(p) == f or f in Path(p).parents for f in free)}
    outside = {p for p in outside if not p.startswith(f"{out.parent}/.{out.name}-")}  # until the folder is complete
    # Whether a folder can be written is tried with a file that has a random name, or none.
    tried = re.compile(re.escape(str(out.parent)) + r"(/tmp\w{8})?")
    outside = {p for p in outside if not tried.fullmatch(p)}
    outside = {p for p in outside if not p.startswith(f"/proc/{os.getpid()}/") and not p.endswith(".pyc")}
    outside = {p for p in outside if Path(p).name != "__pycache__" and Path(p).parent.name != "__pycache__"}
    assert not outside
    assert (tree(world, out), set(os.listdir("/"))) == (before, top)


@pytest.mark.parametrize("how", ["write", "rename", "make", "remove", "touch"])
def test_the_watch_sees_what_happens_elsewhere(world: Path, how: str) -> None:
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: Path("../new").write_text("x"), "rename": lambda: Path("q.png").rename("../q.png"),
        "make": lambda: Path("../folder").mkdir(), "remove": lambda: Path("../victim").unlink(),
        "touch": lambda: os.utime(Path("../victim").resolve()),
    }  # fmt: skip
    with pytest.raises(AssertionError), watched(world, Path("out").absolute()):
        acts[how]()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A person's files, which are not to be touched, around the working folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    folder = tmp_path / "world"
    here = folder / "home" / "work"
    here.mkdir(parents=True)
    for place in (folder, folder / "home", here):
        for name in ("victim", "victim.png", "victims/q.png"):
            (place / name).parent.mkdir(exist_ok=True)
            PIL.Image.new("L", (4, 4), 77).save(place / name, "PNG")
    PIL.Image.new("RGB", (12, 9), "red").save(here / "q.png")
    monkeypatch.chdir(here)
    return folder


def run(world: Path, *arguments: str, out: str = "out") -> int:
    """A command that may refuse, in one line, and writes into --out alone."""
    with watched(world, Path(out).absolute()):
        code = main([*arguments, "--out", out])
    assert code in (0, 2)
    return code


def cells(path: Path) -> list[list[str]]:
    """A CSV file, each of whose cells is no formula."""
    found = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    for cell in (cell for row in found for cell in row):
        assert_no_formula(cell)
    return found


class Page(html.parser.HTMLParser):
    """Refuses what could run, or load, anything."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "link")
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "src" or (value or "").startswith("data:image/")
            assert name != "href" or (value or "").startswith("#")


def filled(name: str, world: Path) -> str:
    return name.replace("{world}", str(world))


LINES = [name for name in HOSTILE if text.is_line(name) and name]


def segmenter_with(classes: list[str]) -> Segmenter:
    """One that has learnt so many classes, whose names are put in afterwards."""
    segmenter = Segmenter(PANet(ConvNet(widths=(8,), strides=(4,), convolutions=1)), 32, device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mask = np.arange(16 * 16).reshape(16, 16) % (len(classes) + 1)
    segmenter.learn(image, mask.astype(np.uint8), [f"class {number}" for number in range(len(classes))])
    segmenter.save("x.fsseg")
    torch.save({**torch.load("x.fsseg", weights_only=True), "classes": classes}, "x.fsseg")
    return segmenter


PREDICT = ("predict", "--ckpt_path", "x.fsseg", "--device", "cpu", "--query")


def test_classes_of_a_segmenters_file(world: Path) -> None:
    """The folder of their maps may have been a user's own image's place."""
    classes = [filled(name, world) for name in LINES]
    segmenter_with(classes)
    assert run(world, *PREDICT, "q.png", "--probabilities") == 0
    header, *rows = cells(Path("out/scores.csv"))
    assert [text.csv_text(row[header.index("class")]) for row in rows] == classes
    assert len(list(Path("out/probabilities").iterdir())) == len(classes)
    assert len(list(Path("out/probabilities").glob("*/q.png"))) == len(classes)
    categories = json.loads(Path("out/annotations.json").read_text())["categories"]
    assert [category["name"] for category in categories] == classes
    assert run(world, *PREDICT, "q.png", "--probabilities") == 0


@given(name=names)
@tries(5)
@pytest.mark.slow
def test_a_class_of_a_segmenters_file(name: str, world: Path) -> None:
    shutil.rmtree("out", ignore_errors=True)
    torch.save({**SEGMENTER, "classes": [filled(name, world)]}, "x.fsseg")
    code = run(world, *PREDICT, "q.png", "--probabilities")
    assert code == (0 if text.is_line(name) and name else 2)
    assert Path("out").exists() == (code == 0)


def test_files_of_images(world: Path) -> None:
    """As far as a file system takes the name; those with line ends or other controls are left out."""
    torch.save(SEGMENTER, "x.fsseg")
    Path("photos").mkdir()
    known = set()
    for name in (filled(name, world).replace("/", "_") for name in HOSTILE):
        try:
            shutil.copy("q.png", Path("photos", f"{name}.png"))
        except (OSError, ValueError):
            continue
        known |= set() if text.has_controls(name) or name.startswith(".") or not name else {f"photos/{name}.png"}
    assert len(known) > 30
    assert run(world, *PREDICT, "photos", "--probabilities") == 2
    header, *rows = cells(Path("out/scores.csv"))
    assert {text.csv_text(row[header.index("image")]) for row in rows} == known
    for name in (text.csv_text(row[header.index("name")]) for row in rows):
        assert text.is_relative_path(name)
        assert Path("out/masks", f"{name}.png").is_file()
    stamps = {path: path.stat().st_mtime_ns for path in Path("out/masks").iterdir()}
    assert run(world, *PREDICT, "photos", "--probabilities") == 2
    assert stamps == {path: path.stat().st_mtime_ns for path in Path("out/masks").iterdir()}


def test_rows_of_scores_in_a_folder_of_results(world: Path) -> None:
    """Of results that a stranger has made, and that a person goes on with."""
    torch.save(SEGMENTER, "x.fsseg")
    assert run(world, *PREDICT, "q.png") == 0
    made = io.StringIO()
    csv.writer(made).writerows([filled(name, world), "gone.png", 9, 12, "cat", 3, ""] for name in HOSTILE)
    with Path("out/scores.csv").open("a", encoding="utf-8", errors="replace", newline="") as file:
        file.write(made.getvalue())
    assert run(world, *PREDICT, "q.png") == 0
    assert [row[0] for row in cells(Path("out/scores.csv"))] == ["name", "q"]


TABLES: list[Callable[[dict[str, Any], str], None]] = [
    lambda table, name: table.update(method=name), lambda table, name: table.update(encoder=name),
    lambda table, name: table.update(dataset=name), lambda table, name: table.update(annotation=name),
    lambda table, name: table["checkpoint"].update(name=name), lambda table, name: table.update(training=name),
    lambda table, name: table["classes"][0].update(name=name), lambda table, name: table.update(notes=[name]),
    lambda table, name: table.update(details=[name]),
]  # fmt: skip


def hostile_test(folder: Path, names: Sequence[str]) -> str:
    """A finished test with a name in each of the places."""
    make_test(folder)
    path = folder / "table.json"
    table = json.loads(path.read_text())
    for put, name in zip(TABLES, names, strict=True):
        put(table, name)
    path.write_text(json.dumps(table))
    return str(folder)


@given(given_names=st.lists(st.one_of(st.sampled_from(LINES), names), min_size=len(TABLES), max_size=len(TABLES)))
@tries(5)
@pytest.mark.slow
def test_tables_of_a_test(given_names: list[str], world: Path) -> None:
    show_tables(given_names, world)


@pytest.mark.parametrize("first", range(0, len(LINES), 8))
def test_tables_of_a_test_whose_names_are_lines(first: int, world: Path) -> None:
    given_names = [LINES[(first + place) % len(LINES)] for place in range(len(TABLES))]
    assert show_tables(given_names, world)


def show_tables(given_names: Sequence[str], world: Path) -> bool:
    for folder in ("runs", "out"):
        shutil.rmtree(folder, ignore_errors=True)
    given_names = [filled(name, world) for name in given_names]
    first, second = (hostile_test(Path("runs", n), given_names) for n in ("a", "b"))
    if run(world, "table", first, out="table.csv") != 0:
        return False
    cells(Path("table.csv"))
    assert run(world, "table", first, out="table.html") == 0
    Page().feed(Path("table.html").read_text(encoding="utf-8"))
    return run(world, "compare", first, second) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "../../victim"])
def test_a_report_escapes_what_a_test_is_called(name: str, world: Path) -> None:
    first = hostile_test(Path("runs"), [name] * len(TABLES))
    assert run(world, "report", first, "--quick", out="report.html") == 0
    Page().feed(Path("report.html").read_text(encoding="utf-8"))


@given(name=names)
@tries(20)
def test_rows_of_a_test_give_their_names_back(name: str, tmp_path: Path) -> None:
    name = " ".join(name.encode(errors="replace").decode().split())
    rows = [row._replace(support=name, query=name, protocol=name) for row in made_up_rows(0, 0)]
    write_rows(rows, tmp_path / "rows.csv", {"a": name, name: -0.5})
    assert "-0.5" in cells(tmp_path / "rows.csv")[1]
    assert text.csv_cell(name) in cells(tmp_path / "rows.csv")[1]
    if text.is_line(name):
        assert read_rows(tmp_path / "rows.csv") == rows


def test_parameters_of_a_sweep(tmp_path: Path) -> None:
    sweep = Sweep("grid", "val/mean_iou", "maximize", {"-x": {}, "=y": {}}, ())
    write(tmp_path, sweep, [PointResult(1, {"-x": -0.25, "=y": "@SUM(1)"}, "done", 0.5, -0.5)])
    assert cells(tmp_path / "results.csv")[0][-2:] == ["'-x", "'=y"]
    assert cells(tmp_path / "results.csv")[1] == ["1", "done", "0.5", "-0.5", "-0.25", "'@SUM(1)"]


OWN = [name for name in LINES if name.strip() and name.strip(".")]


def own_folder(root: Path, world: Path) -> set[str]:
    """A data set whose images and folders of classes have all the hostile names that a file system takes.

    Of names that differ in composed letters or kinds of spaces only, it has one: a data set with both is refused.
    """
    known = set()
    (root / "images").mkdir(parents=True)
    names = {plain(name): name for name in (filled(name, world).replace("/", "_") for name in OWN)}
    for number, name in enumerate(names.values()):
        try:
            (root / "masks" / name).mkdir(parents=True)
        except (OSError, ValueError):
            continue
        for image in (name, f"extra{number}"):
            PIL.Image.new("RGB", (24, 24), (number, 99, 200)).save(root / "images" / f"{image}.png")
            mask = np.zeros((24, 24), np.uint8)
            mask[4:20, 6:18] = 255
            PIL.Image.fromarray(mask).save(root / "masks" / name / f"{image}.png")
        known.add(plain(name))
    return known


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_data_set_with_hostile_names_is_tested_and_shown(world: Path) -> None:
    known = own_folder(Path("own"), world)
    assert len(known) > 20
    data = ("--data.dataset=Folder", "--data.root=own", "--data.dataset.folds=1", "--data.dataset.val_share=1")
    options = (
        "--config", "experiments/quickstart.yaml", *data, "--data.images.size=24", "--protocol.size=24",
        "--protocol.runs=1",
        f"--protocol.episodes={3 * len(known)}", "--trainer.accelerator=cpu", "--untrained", "--data.loading.workers=0",
    )  # fmt: skip
    assert run(world, "test", *options) == 0
    header, *rows = cells(Path("out/rows.csv"))
    queries = {text.csv_text(row[header.index("query")]) for row in rows}
    assert {name for name in queries if not name.startswith("extra")} <= known
    assert len(queries & known) > 10
    classes = {line["name"] for line in json.loads(Path("out/table.json").read_text())["classes"]}
    assert len(classes & known) > 10
    for out in ("t.csv", "t.html", "c.csv", "c.html"):
        assert run(world, "table", "out", *["--classes"] * out.startswith("c"), out=out) == 0
    cells(Path("t.csv"))
    assert known & {text.csv_text(cell) for row in cells(Path("c.csv")) for cell in row}
    assert run(world, "report", "out", "--quick", out="r.html") == 0
    for path in ("t.html", "c.html", "r.html"):
        Page().feed(Path(path).read_text(encoding="utf-8"))


def test_more_names_are_tried_by_make_fuzz() -> None:
    text = (Path(__file__).parents[1] / "Makefile").read_text()
    assert "pytest tests/test_fuzz.py tests/test_names.py" in text
    assert MANY >= 0
