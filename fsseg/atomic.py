"""Atomic writes: a file gets its name when it is complete, and a full disk gives one line with exit code 1.

Libraries that write a file in several steps (an image encoder, a graph exporter) write into memory first: their C code
ignores a short write, the first sign of a full disk, or aborts the process.
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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # full disk, quota, file size limit, broken disk
_LONGEST = 255  # bytes of a file name on common file systems (NAME_MAX)


@contextmanager
def write(path: Path, repair: str = "", durable: bool = True, shared: bool = False) -> Iterator[Path]:
    """A hidden file beside ``path`` to write to; it is renamed to ``path`` at the end, or removed after an error.

    Args:
        path: path of the file.
        repair: sentence of the error that says what to do after making room on a full disk.
        durable: flush the content to the disk before the rename, so that the file survives a power cut.
        shared: other processes may write the same file (a cache); each process gets a separate hidden file.

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
    """Write a file; `write` documents arguments and errors."""
    with write(path, repair, durable) as part:
        part.write_bytes(content)


def save(path: Path, write_into: Callable[[BinaryIO], object], repair: str = "", durable: bool = True) -> None:
    """Write a file with a library's function, through memory.

    Args:
        path: path of the file.
        write_into: writes the content into a file in memory.
        repair: see `write`.
        durable: see `write`.

    Raises:
        FssegError: see `write`.
    """
    made = io.BytesIO()
    write_into(made)
    write_bytes(path, made.getvalue(), repair, durable)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 without changing line ends; `write` documents the errors."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def make_folder(folder: Path, repair: str = "") -> None:
    """Make a folder and its parents.

    Raises:
        FssegError: see `write`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(error, folder, repair) from error


@contextmanager
def writing(place: Path, repair: str = "") -> Iterator[None]:
    """Turn an OSError of writing files into a one-line error.

    Args:
        place: path for the error if the operating system names no file.
        repair: see `write`.

    Raises:
        FssegError: an OSError was raised.
    """
    try:
        yield
    except OSError as error:
        raise failure(error, error.filename or place, repair) from error


def failure(error: OSError, path: object, repair: str = "") -> FssegError:
    """The one-line error for an OSError about a file that cannot be written."""
    if error.errno in FULL:
        return MachineError(f"{path} cannot be written: {error.strerror}. Make room. {repair}".strip())
    return FssegError(f"{path} cannot be written: {error.strerror or error}. Choose another place.")


def _part(path: Path, shared: bool) -> Path:
    name = f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part"
    if len(os.fsencode(name)) > _LONGEST:
        name = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.part"
    return path.parent / name


def _remove(part: Path) -> None:
    with suppress(OSError):  # the folder is missing, read-only or no folder: `write` raises the error
        part.unlink(missing_ok=True)
