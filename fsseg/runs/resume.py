"""``--resume``: a command that can be started again until it has done its work, as runners and clusters do."""

import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.runs import folders
from fsseg.runs.checkpoint_files import LAST, newest
from fsseg.runs.identity import length
from fsseg.runs.partial_test import is_finished
from fsseg.runs.ranks import leads
from fsseg.untrusted.records import Natural, as_json, read_json

FINISHED = "run.json"  # of a training that reached its end


@dataclass(frozen=True, kw_only=True)
class FinishedTraining:
    """The record of a training that reached its end, ``run.json``.

    Attributes:
        steps: that it reached.
        asked: the options of the trainer that decide its end, as text: JSON has no spans of time.
        seconds: since it was begun or resumed.
        resumed_at: step where it was resumed, 0 otherwise.
        command: the last one, as it was typed; the other fields say what it ran on, with versions of packages.
    """

    steps: Natural
    asked: dict[str, str]
    seconds: float
    resumed_at: Natural
    command: str
    device: str
    processes: Natural
    threads: Natural
    precision: str
    system: str
    python: str
    fsseg: str
    torch: str
    torchvision: str
    lightning: str
    torchmetrics: str
    numpy: str


_PACKAGES = ("fsseg", "torch", "torchvision", "lightning", "torchmetrics", "numpy")


def left_to_do(command: str, out: str | None, ckpt_path: str | None) -> Path | None:
    """Checkpoint that ``--resume`` continues from, if any. Whether the work is done, the command finds out later.

    Args:
        command: ``fit`` or ``test``.
        out: its ``--out``.
        ckpt_path: its ``--ckpt_path``.

    Raises:
        FssegError: nothing says where the work would be.
    """
    if command == "validate":
        raise FssegError("--resume is for `fit` and `test`.")
    if out is None:
        raise FssegError(f"--resume needs --out DIR, the folder where the {command} may have been before.")
    folder = Path(out)
    if command == "test":
        if leads() and not is_finished(folder):  # another process would take away what the first has begun
            _make_room(folder)
        return None
    if ckpt_path is not None:
        raise FssegError("--resume goes on from the last.ckpt in --out; leave --ckpt_path out.")
    return _of_training(folder)


def _of_training(folder: Path) -> Path | None:
    """Checkpoint that a training continues from, if any."""
    for left in folder.glob(".*.ckpt.part") if leads() else ():  # of one that was being written
        left.unlink(missing_ok=True)
    stored = newest(folder)
    if stored:
        return stored.path
    if leads() and (folder / "config.yaml").is_file():
        _begin_anew(folder)
    return None


def is_trained(ckpt_path: Path, own: Mapping[str, Any]) -> bool:
    """Whether a training has reached the end that it is asked for.

    Args:
        ckpt_path: its checkpoint; only its last one is the end.
        own: configuration that asks.
    """
    found = finished(ckpt_path.parent)
    return ckpt_path.name == LAST and found is not None and found.asked == _asked(own)


def finished(folder: Path) -> FinishedTraining | None:
    """The record of a training that reached its end; None where it has not, or where the file is broken."""
    try:
        return read_json(folder / FINISHED, FinishedTraining, free=("command", "asked", "device"))
    except (OSError, ValueError):
        return None


def _asked(own: Mapping[str, Any]) -> dict[str, str]:
    """Where a training is to end, as text, since JSON has no spans of time."""
    return {name: str(value) for name, value in length(own).items()}


def _make_room(folder: Path) -> None:
    """Put what is left of a test that lost its rows or its table aside, so that it can be made again."""
    if folder.is_dir() and any(folder.iterdir()):
        folder.rename(folders.fresh(folder.with_name(f"{folder.name}-broken")))


def _begin_anew(folder: Path) -> None:
    """Take away what a training left that was stopped before its first checkpoint."""
    (folder / "config.yaml").unlink()
    shutil.rmtree(folder / "logs", ignore_errors=True)


@contextmanager
def finishing(
    folder: Path, own: Mapping[str, Any], trainer: Any, step: int, ended: Callable[[], bool]
) -> Iterator[None]:
    """Write that a training is finished, where it is, what end it was asked for, and what it ran on.

    Args:
        folder: of the run.
        own: its configuration.
        trainer: Lightning's.
        step: where it goes on.
        ended: whether the training reached its end, asked afterwards.
    """
    begun = time.time()
    if trainer.is_global_zero and not trainer.fast_dev_run:
        (folder / FINISHED).unlink(missing_ok=True)  # of an earlier end, which this training goes beyond
    yield
    if trainer.is_global_zero and not trainer.fast_dev_run and ended():
        done = FinishedTraining(
            steps=max(trainer.global_step, step),
            asked=_asked(own),
            seconds=round(time.time() - begun, 1),
            resumed_at=step,
            **_environment(trainer),
        )
        atomic.write_text(folder / FINISHED, as_json(done))


def _environment(trainer: Any) -> dict[str, Any]:
    """What a command ran on: versions, device, processes, threads, precision."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "command": " ".join(["fsseg", *sys.argv[1:]]),
        "device": f"{device.type} ({name})",
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }
