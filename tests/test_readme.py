"""The README as a newcomer follows it: every command and its Python, in order, in one folder.

Networks and numbers are tiny; what must be downloaded and your own images are made here.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fsseg.cli import main
from fsseg.encoders import ConvNet
from fsseg.segmenter import default_method
from tests.cli.conftest import TINY, jobs_here  # noqa: F401 - a fixture
from tests.conftest import needs, own_photos
from tests.prepare.conftest import contents, server  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[1]
ENCODER = (
    "--model.method.encoder", "ConvNet", "--model.method.encoder.widths=[8,8]",
    "--model.method.encoder.strides=[2,2]",
)  # fmt: skip
SMALL = (*ENCODER, *(flag for flag in TINY if "dataset." not in flag and "encoder" not in flag))
SHAPES = tuple(flag for flag in TINY if "dataset." in flag)
PICTURES = (*ENCODER, "--size", "48", "--device", "cpu")
# What is added to a command, by how it begins; a checkpoint has the small numbers of its training.
ADDED = {
    "fsseg fit --config experiments/quickstart.yaml": TINY,
    "fsseg fit --config experiments/panet_voc_1shot.yaml": SMALL,
    "fsseg fit --config experiments/rpmm_coco_5shot.yaml": (
        *SMALL, "--model.method.channels=8", "--data.images.test_size=32", "--data.test_shot=1",
        "--data.episodes.missing_classes=skip",
    ),
    "fsseg test --ckpt_path runs/panet_voc": (
        "--protocol.pairs=any", "--protocol.min_pixels=1", "--protocol.size=32", "--protocol.runs=1",
        "--protocol.episodes=4",
    ),
    "fsseg benchmark": (*SMALL, *SHAPES, "--folds", "0", "--seeds", "0"),
    "fsseg predict": PICTURES,
    "fsseg demo": ("--port", "0"),
}  # fmt: skip


def commands_and_code() -> tuple[list[str], str]:
    """Lines of the README's shell blocks in order, and its Python."""
    page = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```(sh|python)\n(.*?)```", page, flags=re.DOTALL)
    lines = "".join(text for language, text in blocks if language == "sh").replace("\\\n", " ").splitlines()
    (code,) = (text for language, text in blocks if language == "python")
    return [line.partition("#")[0].strip() for line in lines if line.strip()], code


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, but for those that make the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "-n", "VENV=.venv", *target.split()[1:]]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lines = ran.stdout.replace("\\\n", " ").splitlines()
    return [line.removeprefix(".venv/bin/") for line in lines if line.startswith(".venv/bin/fsseg ")]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """A command in the folder; what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fsseg.demo.server.serve", lambda *given: print("  serves", given[3]))

    def run(command: str) -> str:
        monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
        added = [word for begin, words in ADDED.items() if command.startswith(begin) for word in words]
        code = main([*shlex.split(command)[1:], *added])
        ran = capsys.readouterr()
        assert code == 0, f"{command}: {ran.err}"
        return ran.out

    return run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.usefixtures("server", "jobs_here")
def test_every_command_runs_in_order_and_finds_what_the_one_before_has_left(
    run, tmp_path, fake_voc, fake_coco, monkeypatch
):
    needs("uvicorn", "demo")
    lines, code = commands_and_code()
    assert lines[:2] == ["make quickstart", "make test"]
    for command in recipe("make quickstart"):
        run(command)
    assert (tmp_path / "runs/quickstart/fold0/test/table.md").is_file()
    assert fake_coco == tmp_path / "coco"
    own_photos(tmp_path)
    said = {}
    for command in lines[2:]:
        assert command.startswith("fsseg "), command
        said[command] = run(command)
        if command.startswith("fsseg data prepare"):  # its few images are no data set to train on
            shutil.rmtree(tmp_path / "data")
            fake_voc.rename(tmp_path / "data")
    assert any("runs/panet_voc_1shot/fold0/protocols" in out for out in said.values())
    assert (tmp_path / "runs/panet_shapes/report.html").is_file()
    assert any("  serves PANet on" in out for out in said.values())
    assert len(list((tmp_path / "out").rglob("*.png"))) >= 2
    monkeypatch.setattr(default_method, "build", lambda name, **arguments: ConvNet((8, 16), (4, 4)))  # not downloaded
    exec(compile(code, "README", "exec"), {"__name__": "readme"})
    assert (tmp_path / "found.jpg").is_file()
