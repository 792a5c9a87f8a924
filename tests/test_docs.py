"""What README and docs show works: every Python block runs, every command parses."""

import re
import shlex
import subprocess
import sys
import urllib.request
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from fsseg.cli import main
from fsseg.cli.help import OTHERS
from fsseg.encoders import ConvNet
from fsseg.prepare import download
from fsseg.protocols.choice import Choice
from fsseg.protocols.presets import PRESETS
from fsseg.protocols.protocol import Protocol
from fsseg.protocols.suites import SUITES
from fsseg.segmenter import default_method
from tests.cli import conftest
from tests.conftest import own_photos

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


jobs_here = conftest.jobs_here


def blocks(language: str) -> list:
    found = []
    for page in PAGES:
        texts = re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)
        found += [pytest.param(text, id=f"{page.stem}-{i}") for i, text in enumerate(texts)]
    return found


def commands() -> list[str]:
    """Lines of shell blocks, and commands between backticks in tables."""
    lines = [line for block in blocks("sh") for line in block.values[0].replace("\\\n", " ").splitlines()]
    lines += [code for page in PAGES for code in re.findall(r"\| `(fsseg [^`]+)`", page.read_text())]
    return sorted({line.split("#")[0].strip() for line in lines if line.startswith("fsseg ")})


def preset_table(presets: dict[str, dict[str, Choice]]) -> str:
    """Protocols by field, with what is their own on some data sets."""

    def cell(name: str, field: str) -> str:
        choice = presets[name].get(field)
        if choice is None:
            return ""
        own = {"PASCAL-5i": choice.pascal, "COCO-20i": choice.coco, "SUIM": choice.suim}
        return ", ".join([f"{choice.value}", *(f"{data}: {value}" for data, value in own.items() if value is not None)])

    names = [field.name for field in fields(Protocol) if any(field.name in preset for preset in presets.values())]
    lines = [f"| field | {' | '.join(f'`{name}`' for name in presets)} |", "| --- |" + " --- |" * len(presets)]
    lines += [f"| `{field}` | {' | '.join(cell(name, field) for name in presets)} |" for field in names]
    return "\n".join(lines)


def test_the_table_of_protocols_is_that_of_the_code():
    page = (ROOT / "docs/4-protocols.md").read_text()
    assert preset_table(PRESETS) in page
    assert preset_table(SUITES) in page


# That of docs/export.md needs exported graphs: tests/test_export.py runs it.
@pytest.mark.parametrize("code", [block for block in blocks("python") if not block.id.startswith("export-")])
def test_python_block_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_photos(tmp_path)
    monkeypatch.setattr(default_method, "build", lambda name, **arguments: ConvNet((8, 16), (4, 4)))  # not downloaded
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_block_is_yaml(text):
    assert isinstance(yaml.safe_load(text), dict)


# Of these, options are tried elsewhere: they need a checkpoint, or data.
_APART = ("--ckpt_path", ".help", "mine.Margin", "fsseg data", "fsseg zoo", *(f"fsseg {name}" for name in OTHERS))


@pytest.mark.parametrize("command", [c for c in commands() if not any(words in c for words in _APART)])
def test_command_parses(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [word for word in shlex.split(command)[1:] if word != "--print_config"]
    assert main([*arguments, "--print_config"]) == 0


@pytest.mark.slow
def test_the_walk_through_own_images_works(tmp_path, monkeypatch, capsys):
    """The page's own words, with a smaller training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
    page = (ROOT / "docs/3-data.md").read_text()
    code = next(block.values[0] for block in blocks("python") if block.id.startswith("3-data"))
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})
    parts = page.split("<!-- tests/test_docs.py runs these -->\n```sh\n")[1:]
    lines = [line for part in parts for line in part.split("```")[0].splitlines()]
    small = {"fit": ["--trainer.max_steps=2", "--data.loading.workers=0", "--data.episodes.val=2",
                     "--trainer.accelerator=cpu"],
             "test": ["--data.loading.workers=0", "--trainer.accelerator=cpu"], "data": [],
             "validate": ["--data.episodes.val=2", "--trainer.accelerator=cpu"], "predict": []}  # fmt: skip
    assert len(lines) == 8
    for line in lines:
        words = shlex.split(line)[1:]
        assert main([*words, *small[words[0]]]) == 0, capsys.readouterr().err
        monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
    assert "mine: clean" in capsys.readouterr().out
    assert (tmp_path / "runs/mine/test/table.md").is_file()
    assert (tmp_path / "episodes.png").is_file()


@pytest.mark.slow
def test_the_way_of_a_researcher_works(tmp_path, monkeypatch, capsys, jobs_here):
    """From an own file in an empty folder to a table, with smaller trainings of one fold."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    exec(compile(next(b.values[0] for b in blocks("python") if b.id == "researcher-0"), "docs", "exec"), {})
    page = (ROOT / "docs/researcher.md").read_text()
    lines = page.split("<!-- tests/test_docs.py runs these -->\n```sh\n")[1].split("```")[0].splitlines()
    small = ["--trainer.max_steps=1", "--data.loading.workers=0", "--data.images.size=32", "--data.episodes.train=8",
             "--data.episodes.val=2", "--protocol.runs=1", "--protocol.episodes=4",
             "--trainer.accelerator=cpu"]  # fmt: skip
    for line in lines:
        words = shlex.split(line.replace("0 1 2 3", "0"))[1:]
        assert main([*words, *(small if words[0] not in ("check", "table") else [])]) == 0, capsys.readouterr().err
        monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
        if words[0] == "fit":
            assert f"next: {lines[2]}" in capsys.readouterr().out.splitlines()
    table = capsys.readouterr().out
    assert re.search(r"^Margin +ours, ConvNet, Shapes +[\d.]+", table[table.index("PMMs table 4") :], re.MULTILINE)
    assert re.search(r"^PANet .*published, VGG16 ", table, re.MULTILINE)
    sys.modules.pop("mine", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "name"),
    [
        ("5-extending-0", "Distance"),
        ("5-extending-1", "Margin"),
        ("5-extending-2", "Blobs"),
        ("your-own-encoder-0", "TwoScales"),
    ],
)
def test_classes_of_the_pages_pass_their_checks(block, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    module = f"page_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(next(each.values[0] for each in blocks("python") if each.id == block))
    assert main(["check", f"{module}.{name}"]) == 0, capsys.readouterr()
    assert " checks passed\n" in capsys.readouterr().out


def data_commands() -> list[str]:
    return [c for c in commands() if c.startswith("fsseg data") and "DATASET" not in c]


@pytest.mark.parametrize("command", data_commands())
def test_data_command_parses(command, tmp_path, monkeypatch, capsys):
    """It is the data that is missing here, not an option; the disk is large, and nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "downloads").mkdir()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**12))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # one made here keeps the proxies for all later tests
    assert main(shlex.split(command)[1:]) == 2
    said = capsys.readouterr().err
    missing = ("is no VOCdevkit", "is no FSS-1000", "is no COCO tree", "has no val images", "has no patches",
               "no such folder", "has no folder", "is missing", "cannot be reached")  # fmt: skip
    assert any(words in said for words in missing), said


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("fsseg zoo")])
def test_zoo_command_parses(command, tmp_path, monkeypatch, capsys):
    """It is the zoo that is missing here, not an option; nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert main(shlex.split(command)[1:]) == 2
    assert re.search("no such f|cannot be reached|no official zoo", capsys.readouterr().err)


# The pages' own commands on mine.Margin need its file: test_the_way_of_a_researcher_works runs them.
@pytest.mark.parametrize("command", [c for c in commands() if c.split()[1] in OTHERS and "mine.Margin" not in c])
@pytest.mark.slow
def test_command_on_what_is_finished_parses(command, tmp_path, monkeypatch, capsys):
    """It is the test or the run that is missing here, not an option."""
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    if arguments[0] in ("benchmark", "sweep") and "DIR" not in arguments:
        assert main([*arguments, "--dry_run"]) == 0
        return
    assert main(arguments) == 2
    assert re.search("no such folder|has no logs|is missing|no such file|cannot be imported", capsys.readouterr().err)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_method_help(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "fsseg", "fit", "--model.method.help", "PANet"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "factor of the cosine" in ran.stdout
