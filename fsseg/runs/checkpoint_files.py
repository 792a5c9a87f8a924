"""Checkpoint files: atomic writes, and the newest readable checkpoint of a folder."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.runs.ranks import note
from fsseg.untrusted.card import CheckpointCard, read_card

LAST, BEFORE = "last.ckpt", "last-before.ckpt"  # BEFORE is the previous LAST


class WholeCheckpoints(TorchCheckpointIO):
    """Writes every checkpoint atomically: into the target folder under a temporary name, which is then renamed.

    Lightning writes into the system's temporary folder and moves the file. If that folder is on another disk, the move
    is a copy, and the checkpoint is incomplete while it is copied.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            MachineError: The disk is full.
        """
        fix = "The checkpoint before it is unchanged: resume with `resume`."
        target = Path(path)
        atomic.make_folder(target.parent, fix)
        atomic.save(target, partial(torch.save, checkpoint), fix)


class Stored(NamedTuple):
    """A checkpoint file and its step."""

    path: Path
    step: int


def keep_as(path: Path, before: Path) -> None:
    """Give a checkpoint that will be replaced a second name, so that its own name is never missing."""
    second = before.with_name(f".{before.name}.part")
    try:
        second.unlink(missing_ok=True)
        second.hardlink_to(path)
        second.replace(before)
    except OSError:  # a file system without hard links
        path.replace(before)


def newest(folder: Path) -> Stored | None:
    """The checkpoint from which a training resumes: ``last.ckpt``, or else the newest readable one.

    A note names the checkpoint if it is not ``last.ckpt``. Files whose name begins with ``best`` are ignored: they are
    written during a validation, where no training resumes.

    Returns:
        The checkpoint; None if the folder holds none.

    Raises:
        FssegError: No checkpoint of the folder can be read.
    """
    last, every = folder / LAST, folder.glob("*.ckpt")
    others = [path for path in every if path.name != LAST and not path.name.startswith("best")]
    if found := readable(last):
        return found
    if not others and not last.exists():
        return None
    earlier = newest_of(others)
    wrong = "cannot be read (truncated?)" if last.exists() else "is missing"
    if earlier is None:
        raise FssegError(f"{last} {wrong}, and there is no earlier checkpoint: delete {folder} to train again.")
    note(f"{LAST} of {folder} {wrong}; resuming from {earlier.path.name}, step {earlier.step:,}.")
    return earlier


def newest_of(paths: list[Path]) -> Stored | None:
    """The readable checkpoint of the highest step; None if none is readable."""
    found = [stored for stored in map(readable, paths) if stored]
    return max(found, key=lambda stored: stored.step, default=None)


def readable(path: Path) -> Stored | None:
    """The checkpoint of a path if the file is complete and its checksums match; None otherwise."""
    try:
        with zipfile.ZipFile(path) as file:
            if file.testzip() is not None:  # a checksum does not match
                return None
        return Stored(path, read_card(str(path)).step)
    except (OSError, zipfile.BadZipFile, EOFError, FssegError):
        return None


def card_of(ckpt_path: str, option: str = "`ckpt_path`") -> CheckpointCard:
    """The card of a checkpoint.

    Args:
        ckpt_path: Path of the checkpoint.
        option: Option that gives the path, for errors.

    Raises:
        FssegError: The file cannot be read; the message names an earlier readable checkpoint of the folder, if any.
    """
    try:
        return read_card(ckpt_path, option)
    except FssegError as error:
        path = Path(ckpt_path)
        others = [other for other in path.parent.glob("*.ckpt") if other != path] if path.is_file() else []
        if earlier := newest_of(others):
            raise FssegError(f"{error} {earlier.path} can be read (step {earlier.step:,}).") from error
        raise
