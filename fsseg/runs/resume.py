"""``resume``: the same command can be started again until its work is done, e.g. by a cluster."""

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
from fsseg.runs import folders, git
from fsseg.runs.checkpoint_files import LAST, newest
from fsseg.runs.identity import length
from fsseg.runs.partial_test import is_finished
from fsseg.runs.ranks import leads
from fsseg.untrusted.records import Natural, as_json, read_json

FINISHED = "run.json"  # file of a finished training


@dataclass(frozen=True, kw_only=True)
class FinishedTraining:
    """Record of a finished training, ``run.json``.

    The fields after ``fsseg_commit`` describe the machine and the versions of the packages.

    Attributes:
        steps: Steps of the training.
        asked: Options of the trainer that decide its end, as text, because JSON has no time spans.
        seconds: Seconds since the training began or was resumed.
        resumed_at: Step at which the training was resumed; 0 if it was not.
        train_images: Train images of each class of the training, by the name of the class.
        command: The last command line.
        commit: Git commit of the working folder, see `fsseg.runs.git`.
        fsseg_commit: Git commit of fsseg's checkout; "" for an installed package.
    """

    steps: Natural
    asked: dict[str, str]
    seconds: float
    resumed_at: Natural
    train_images: dict[str, Natural]
    command: str
    commit: str
    fsseg_commit: str
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


_PACKAGE = Path(__file__).parents[1]
_PACKAGES = ("fsseg", "torch", "torchvision", "lightning", "torchmetrics", "numpy")


def left_to_do(command: str, out: str | None, ckpt_path: str | None) -> Path | None:
    """Checkpoint from which ``resume`` continues, if any. The command checks later whether the work is finished.

    Args:
        command: ``fit`` or ``test``.
        out: Its ``out``.
        ckpt_path: Its ``ckpt_path``.

    Raises:
        FssegError: ``out`` is missing, or an option does not fit ``resume``.
    """
    if command == "validate":
        raise FssegError("`resume` is for `fit` and `test`.")
    if out is None:
        raise FssegError(f"`resume` needs `out` DIR, the folder of the {command} that is resumed.")
    folder = Path(out)
    if command == "test":
        if leads() and not is_finished(folder):  # only the first process may move files
            _make_room(folder)
        return None
    if ckpt_path is not None:
        raise FssegError("`resume` uses the last.ckpt in `out`; leave `ckpt_path` out.")
    return _of_training(folder)


def _of_training(folder: Path) -> Path | None:
    """Checkpoint from which a training continues, if any."""
    for left in folder.glob(".*.ckpt.part") if leads() else ():  # partial files of a killed training
        left.unlink(missing_ok=True)
    stored = newest(folder)
    if stored:
        return stored.path
    if leads() and (folder / "config.yaml").is_file():
        _begin_anew(folder)
    return None


def is_trained(ckpt_path: Path, own: Mapping[str, Any]) -> bool:
    """Whether a training has reached the end that its configuration requests.

    Args:
        ckpt_path: Its checkpoint; only ``last.ckpt`` can be the end.
        own: The configuration.
    """
    found = finished(ckpt_path.parent)
    return ckpt_path.name == LAST and found is not None and found.asked == _asked(own)


def finished(folder: Path) -> FinishedTraining | None:
    """The record of a finished training; None if the training is not finished or the file is broken."""
    try:
        return read_json(folder / FINISHED, FinishedTraining, free=("command", "asked", "device"))
    except (OSError, ValueError):
        return None


def _asked(own: Mapping[str, Any]) -> dict[str, str]:
    """The options that decide the end of a training, as text, because JSON has no time spans."""
    return {name: str(value) for name, value in length(own).items()}


def _make_room(folder: Path) -> None:
    """Rename the folder of a test that lost its rows or its table, so that the test can run again."""
    if folder.is_dir() and any(folder.iterdir()):
        folder.rename(folders.fresh(folder.with_name(f"{folder.name}-broken")))


def _begin_anew(folder: Path) -> None:
    """Delete the files of a training that was stopped before its first checkpoint."""
    (folder / "config.yaml").unlink()
    shutil.rmtree(folder / "logs", ignore_errors=True)


@contextmanager
def finishing(
    folder: Path,
    own: Mapping[str, Any],
    trainer: Any,
    step: int,
    train_images: dict[str, int],
    ended: Callable[[], bool],
) -> Iterator[None]:
    """Write the record ``run.json`` if the training in the body reaches its end.

    Args:
        folder: Folder of the run.
        own: Configuration of the run.
        trainer: Lightning's trainer.
        step: Step at which the training begins or resumes.
        train_images: See `FinishedTraining`.
        ended: Whether the training reached its end; called after the body.
    """
    commits: dict[str, Any] = {}
    recorded = trainer.is_global_zero and not trainer.fast_dev_run
    begun = time.time()
    if recorded:
        (folder / FINISHED).unlink(missing_ok=True)  # an earlier end, which this training passes
        commits = {"commit": git.commit(Path.cwd()), "fsseg_commit": git.commit_of_package(_PACKAGE)}  # may change
    yield
    if recorded and ended():
        done = FinishedTraining(
            steps=max(trainer.global_step, step),
            asked=_asked(own),
            seconds=round(time.time() - begun, 1),
            resumed_at=step,
            train_images=train_images,
            **commits,
            **_environment(trainer),
        )
        atomic.write_text(folder / FINISHED, as_json(done))


def _environment(trainer: Any) -> dict[str, Any]:
    """Command line, device, processes, threads, precision, system and versions of packages."""
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
