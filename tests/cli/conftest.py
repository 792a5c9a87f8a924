"""Command line in this process: fast, and its output can be read."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NamedTuple

import pytest

from fsseg.cli import main
from fsseg.datasets import shapes
from fsseg.experiment.files import experiment_folder
from fsseg.jobs import local

TINY = (
    "--data.dataset.size=32", "--data.dataset.train=200", "--data.dataset.val=120", "--data.images.size=32",
    "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]", "--data.loading.workers=0",
    "--data.episodes.val=2", "--protocol.runs=2", "--protocol.episodes=10", "--data.episodes.train=8",
    "--data.batch_size=2", "--trainer.max_steps=4", "--trainer.accelerator=cpu",
)  # fmt: skip
FSSEG = [sys.executable, "-m", "fsseg"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "FSSEG_RUN_FOLDER")}
QUICKSTART = ("--config", str(experiment_folder() / "quickstart.yaml"), *TINY)


_drawn_once = cache(shapes.draw)  # an image is a function of its size, seed and number, as tests/data shows


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The error as the person reads it."""
        return self.err.strip().splitlines()[-1]


@pytest.fixture(autouse=True, scope="package")
def _shapes_drawn_once() -> Iterator[None]:
    """Hundreds of commands begin with the same images, and the data set hands out copies of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "draw", lambda size, seed, number: _drawn_once(size, seed, number))
        yield


@pytest.fixture
def fsseg(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
        code = main(list(arguments))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    yield run
    monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[Sequence[str]], subprocess.Popen]]:
    """Start a command as a process; it ends with the test at the latest."""
    with contextlib.ExitStack() as started:

        def run(arguments: Sequence[str]) -> subprocess.Popen:
            process = subprocess.Popen(
                [*FSSEG, *arguments], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=tmp_path
            )
            started.enter_context(process)  # waits, and closes its pipe
            started.callback(process.kill)
            return process

        yield run


class _Here:
    """What a runner of jobs takes for a process: the command has run in this one when it is made."""

    def __init__(self, command: list[str], stdout: IO[bytes], env: dict[str, str], **_: object) -> None:
        with pytest.MonkeyPatch.context() as patch, open(stdout.fileno(), "w", closefd=False) as log:
            patch.delenv("FSSEG_RUN_FOLDER", raising=False)
            patch.setenv("OMP_NUM_THREADS", env["OMP_NUM_THREADS"])
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                self.returncode = main(command[3:])
            os.environ.pop("FSSEG_RUN_FOLDER", None)

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a benchmark or a sweep run in this process; tests/jobs and killed benchmarks are about processes."""
    others = {"STDOUT": subprocess.STDOUT, "DEVNULL": subprocess.DEVNULL}
    monkeypatch.setattr(local, "subprocess", SimpleNamespace(Popen=_Here, **others))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a tiny training on fold 0 of Shapes."""
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FSSEG_RUN_FOLDER", raising=False)
        assert main(["fit", *QUICKSTART, "--out", str(out)]) == 0
        patch.delenv("FSSEG_RUN_FOLDER", raising=False)
    return out / "last.ckpt"


@pytest.fixture(scope="session")
def finished_test(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a test of two runs of ten episodes, in a copy of the run that no other test writes to."""
    run = tmp_path_factory.mktemp("finished") / "run"
    trained = shutil.copytree(trained.parent, run, ignore=shutil.ignore_patterns("test*")) / trained.name
    out = run / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FSSEG_RUN_FOLDER", raising=False)
        assert main(["test", "--ckpt_path", str(trained), "--out", str(out)]) == 0
    return out


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
