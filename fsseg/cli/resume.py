"""``--resume``: a command that can be started again until it has done its work, as runners and clusters do."""

import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fsseg import atomic
from fsseg.cli import folders
from fsseg.cli.processes import leads
from fsseg.cli.stored import LAST, newest
from fsseg.errors import FssegError
from fsseg.safe import load_json

FINISHED = "run.json"  # of a training that reached its end
_PACKAGES = ("fsseg", "torch", "torchvision", "lightning", "torchmetrics", "numpy")


def left_to_do(command: str, out: str | None, ckpt_path: str | None) -> list[str] | None:
    """What ``--resume`` adds to a command; None where its work is done.

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
        if not all((folder / name).is_file() for name in ("table.json", "rows.csv")):
            if leads():  # another process would take away what the first has begun
                _make_room(folder)
            return []
        print(f"already tested: {folder / 'table.md'}")
        return None
    if ckpt_path is not None:
        raise FssegError("--resume goes on from the last.ckpt in --out; leave --ckpt_path out.")
    return _of_training(folder)


def _of_training(folder: Path) -> list[str] | None:
    """What ``--resume`` adds to a training."""
    for left in folder.glob(".*.ckpt.part") if leads() else ():  # of one that was being written
        left.unlink(missing_ok=True)
    stored = newest(folder)
    if stored and stored.path.name == LAST and finished(folder):
        print(f"already trained: {stored.path}")
        return None
    if stored:
        return [f"--ckpt_path={stored.path}"]
    if leads() and (folder / "config.yaml").is_file():
        _begin_anew(folder)
    return []


def finished(folder: Path) -> dict[str, Any] | None:
    """What a training wrote when it reached its end; None where it has not, or where that file is broken."""
    try:
        content = load_json((folder / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _make_room(folder: Path) -> None:
    """Put what is left of a test that lost its rows or its table aside, so that it can be made again."""
    if folder.is_dir() and any(folder.iterdir()):
        folder.rename(folders.fresh(folder.with_name(f"{folder.name}-broken")))


def _begin_anew(folder: Path) -> None:
    """Take away what a training left that was stopped before its first checkpoint."""
    (folder / "config.yaml").unlink()
    shutil.rmtree(folder / "logs", ignore_errors=True)


@contextmanager
def finishing(folder: Path, trainer: Any, step: int, ended: Callable[[], bool]) -> Iterator[None]:
    """Write that a training is finished, where it is, and what it ran on.

    Args:
        folder: of the run.
        trainer: Lightning's.
        step: where it goes on.
        ended: whether the training reached its end, asked afterwards.
    """
    begun = time.time()
    yield
    if trainer.is_global_zero and not trainer.fast_dev_run and ended():
        seconds = round(time.time() - begun, 1)
        done = {"steps": max(trainer.global_step, step), "seconds": seconds, "resumed_at": step, **environment(trainer)}
        atomic.write_text(folder / FINISHED, json.dumps(done, indent=2) + "\n")


def environment(trainer: Any) -> dict[str, Any]:
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
