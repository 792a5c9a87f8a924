"""Checkpoints on the disk: written whole or not at all, and the newest one that can be read."""

import hashlib
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

LAST, BEFORE = "last.ckpt", "last-before.ckpt"  # BEFORE: what LAST was until it was replaced


class WholeCheckpoints(TorchCheckpointIO):
    """Writes every checkpoint, also ModelCheckpoint's own, beside its place and renames it once it is on the disk.

    Lightning's writes into the system's folder for temporary files and moves it, which copies, and is not whole while
    it does, where that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one.

        Raises:
            MachineError: the disk is full.
        """
        repair = "The checkpoint before it is as it was: go on with --resume."
        place = Path(path)
        atomic.make_folder(place.parent, repair)
        atomic.save(place, partial(torch.save, checkpoint), repair)


class Stored(NamedTuple):
    """A checkpoint and the step it is at."""

    path: Path
    step: int


def newest(folder: Path) -> Stored | None:
    """The checkpoint that a training goes on from: the last one; where it is broken or lost, the newest that is not.

    It says so where it is not the last. ``best.ckpt`` is written in the middle of a validation and none of them.

    Returns:
        None where the folder holds no checkpoint.

    Raises:
        FssegError: none of them can be read.
    """
    last, others = folder / LAST, [path for path in folder.glob("*.ckpt") if path.name not in (LAST, "best.ckpt")]
    if found := readable(last):
        return found
    if not others and not last.exists():
        return None
    earlier = newest_of(others)
    wrong = "cannot be read (truncated?)" if last.exists() else "is missing"
    if earlier is None:
        raise FssegError(f"{last} {wrong}, and there is no earlier checkpoint: delete {folder} to train anew.")
    note(f"{LAST} of {folder} {wrong}; going on from {earlier.path.name}, step {earlier.step:,}.")
    return earlier


def newest_of(paths: list[Path]) -> Stored | None:
    """The readable one of the highest step; none where there is none."""
    found = [stored for stored in map(readable, paths) if stored]
    return max(found, key=lambda stored: stored.step, default=None)


def readable(path: Path) -> Stored | None:
    """A checkpoint whose bytes are all there and as they were written; None otherwise."""
    try:
        with zipfile.ZipFile(path) as file:
            if file.testzip() is not None:  # a sum over each part is wrong
                return None
        return Stored(path, read_card(str(path)).step)
    except (OSError, zipfile.BadZipFile, EOFError, FssegError):
        return None


def content_digest(path: Path) -> str:
    """Digest of a checkpoint's content, the same wherever the file is moved.

    It is one of the sums that the file itself holds of each of its parts, so that nothing large is read.
    """
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(path) as file:
            for part in file.infolist():
                name = part.filename.partition("/")[2]  # the first part is the name that the file was written under
                digest.update(f"{name} {part.CRC} {part.file_size}\n".encode())
    except (OSError, zipfile.BadZipFile):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    return digest.hexdigest()[:16]


def card_of(ckpt_path: str) -> CheckpointCard:
    """The card of a checkpoint.

    Raises:
        FssegError: it cannot be read; the line names an earlier one of its folder that can.
    """
    try:
        return read_card(ckpt_path)
    except FssegError as error:
        path = Path(ckpt_path)
        others = [other for other in path.parent.glob("*.ckpt") if other != path] if path.is_file() else []
        if earlier := newest_of(others):
            raise FssegError(f"{error} {earlier.path} can be read (step {earlier.step:,}).") from error
        raise
