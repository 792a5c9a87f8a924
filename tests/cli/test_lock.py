"""One command at a time writes a folder; the second one is told who does."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.runs.lock import locked
from tests.cli.conftest import QUICKSTART

OWNER = {"host": "node7", "pid": 4321, "since": "2026-01-02 03:04:05", "command": "fsseg fit --out run"}
SAID = (
    "fsseg: run is being written by `fsseg fit --out run` (process 4321 on node7, since 2026-01-02 03:04:05). Wait for "
    "it, end it, or choose another --out."
)


@contextmanager
def owned(path, content):
    """A lock as another process holds it."""
    with path.open("w") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def commands(trained, finished_test):
    """Every command that writes a folder; the folder may be a run's, a test's, or none yet."""
    test = ("test", "--ckpt_path", str(trained))
    tested = str(finished_test)
    return {
        "fit": ("fit", *QUICKSTART),
        "fit --resume": ("fit", *QUICKSTART, "--resume"),
        "test": test,
        "test --resume": (*test, "--resume"),
        "benchmark": ("benchmark", *QUICKSTART, "--folds", "0"),
        "sweep": ("sweep", "sweep.yaml", "--local"),
        "export": ("export", "--ckpt_path", str(trained), "--to", "torch"),
        "look": ("look", tested),
        "compare": ("compare", tested, tested),
        "predict": ("predict", "--ckpt_path", str(trained), "--support", "in/a.png:in/mask.png", "--query", "in/a.png"),
    }


SWEEP = """method: grid
metric: {name: val/mean_iou, goal: maximize}
parameters: {model.optimizer.lr: {values: [0.1]}}
command: [fsseg, fit, %s, "${args}"]
"""
NAMES = list(commands("", ""))


@pytest.mark.parametrize("name", NAMES)
def test_a_second_command_is_one_line_that_names_the_first_and_leaves_all_as_it_was(
    fsseg, trained, finished_test, tmp_path, name
):
    (tmp_path / "sweep.yaml").write_text(SWEEP % ", ".join(json.dumps(word) for word in QUICKSTART))
    (tmp_path / "in").mkdir()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "in/a.png")
    Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), 12)).save(tmp_path / "in/mask.png")
    resumed = name == "fit --resume"
    if resumed:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/config.yaml").write_text("of the first one, before its first checkpoint")
    with owned(tmp_path / ".run.lock", json.dumps(OWNER)):
        ran = fsseg(*commands(trained, finished_test)[name], "--out", "run")
        assert (ran.code, ran.line) == (2, SAID)
        assert json.loads((tmp_path / ".run.lock").read_text()) == OWNER
    left = {".run.lock", "in", "sweep.yaml", *(["run"] if resumed else [])}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert not resumed or (tmp_path / "run/config.yaml").is_file()


@pytest.mark.slow
def test_a_stale_file_is_no_obstacle_and_no_file_is_left(fsseg, trained, tmp_path):
    (tmp_path / ".t.lock").write_text(json.dumps(OWNER))
    ran = fsseg("test", "--ckpt_path", str(trained), "--protocol.runs=1", "--out", "t")
    assert ran.code == 0, ran.err
    assert {path.name for path in tmp_path.iterdir()} == {"t"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\xff"])
def test_an_owner_that_cannot_be_read_is_another_command(tmp_path, content):
    with (
        owned(tmp_path / ".a.lock", content),
        pytest.raises(FssegError, match="a is being written by another command"),
        locked(tmp_path / "a"),
    ):
        pass


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".a.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(FssegError, match="cannot be written"), locked(tmp_path / "a"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_folder_is_one_whatever_it_is_called_and_a_command_may_ask_twice(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path / "a")
    with locked(Path()), locked(tmp_path / "link"):
        assert json.loads((tmp_path / ".a.lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".a.lock").exists()


KILLED = """
import os, sys, time
from pathlib import Path
from fsseg.runs.lock import locked
with locked(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_command_frees_its_folder_though_a_process_that_loads_its_data_lives_on(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        with pytest.raises(FssegError, match=f"process {process.pid} on "), locked(tmp_path / "a"):
            pass
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        with locked(tmp_path / "a"):
            assert json.loads((tmp_path / ".a.lock").read_text())["pid"] == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_run_that_was_begun_and_ended_since_we_looked_is_not_overwritten(fsseg, trained, tmp_path, monkeypatch):
    """Between the look at the folder and its lock, another command trains."""
    setup = EpisodeData.setup

    def train_meanwhile(self, stage):
        if not (tmp_path / "run").exists():
            shutil.copytree(trained.parent, tmp_path / "run")
        return setup(self, stage)

    monkeypatch.setattr(EpisodeData, "setup", train_meanwhile)
    ran = fsseg("fit", *QUICKSTART, "--out", "run")
    assert (ran.code, "--out run already holds a run" in ran.line) == (2, True)
    assert (tmp_path / "run/last.ckpt").read_bytes() == trained.read_bytes()
