"""Atomic writes: a file gets its name only once it is complete, and a full disk is one line with exit code 1.

Whatever has several writes (an encoder of pictures, an exporter of graphs) writes into memory first: their own code in
C takes a short write, the first sign of a full disk, for a whole one, or aborts the process.
"""

import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fsseg.errors import FssegError, MachineError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # no room, a quota, a limit, a broken disk
_LONGEST = 255  # bytes of a file name on the usual file systems


@contextmanager
def write(path: Path, repair: str = "", durable: bool = True, shared: bool = False) -> Iterator[Path]:
    """A hidden file to write to, beside ``path``; it is renamed to ``path`` at the end, or removed after an error.

    Args:
        path: of the file.
        repair: what a person does next who has made room on a full disk.
        durable: flush the content to the disk before the rename, so that the file survives a power cut.
        shared: other processes may write the same file at this moment (a cache): each has a hidden file of its own.

    Raises:
        FssegError: the file cannot be written; `MachineError` where the disk is full.
    """
    part = _part(path, shared)
    try:
        if path.exists() and not path.is_file():
            raise FssegError(f"{path} cannot be written: it is a folder or a device. Choose another place.")
        part.unlink(missing_ok=True)  # it may be an untrusted link to another file
        yield part
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise failure(error, path, repair) from error
    finally:
        _remove(part)


def write_bytes(path: Path, content: bytes, repair: str = "", durable: bool = True) -> None:
    """Write a file; `write` names arguments and errors."""
    with write(path, repair, durable) as part:
        part.write_bytes(content)


def save(path: Path, write_into: Callable[[BinaryIO], object], repair: str = "", durable: bool = True) -> None:
    """Write what a library writes into a file, by way of memory.

    Args:
        path: of the file.
        write_into: the library's function, which is given a file in memory.
        repair: see `write`.
        durable: see `write`.

    Raises:
        FssegError: see `write`.
    """
    made = io.BytesIO()
    write_into(made)
    write_bytes(path, made.getvalue(), repair, durable)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, line ends as they are; `write` names the errors."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def make_folder(folder: Path, repair: str = "") -> None:
    """Make a folder and those above it.

    Raises:
        FssegError: see `write`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(error, folder, repair) from error


@contextmanager
def writing(place: Path, repair: str = "") -> Iterator[None]:
    """What the operating system refuses while files are written, as one line.

    Args:
        place: named by the error where the operating system names no file.
        repair: see `write`.

    Raises:
        FssegError: in place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise failure(error, error.filename or place, repair) from error


def failure(error: OSError, path: object, repair: str = "") -> FssegError:
    """The operating system's error about a file that could not be written, as one line."""
    if error.errno in FULL:
        return MachineError(f"{path} cannot be written: {error.strerror}. Make room. {repair}".strip())
    return FssegError(f"{path} cannot be written: {error.strerror or error}. Choose another place.")


def _part(path: Path, shared: bool) -> Path:
    name = f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part"
    if len(os.fsencode(name)) > _LONGEST:
        name = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.part"
    return path.parent / name


def _remove(part: Path) -> None:
    with suppress(OSError):  # the folder is gone, read-only, or no folder: `write` has said so
        part.unlink(missing_ok=True)
