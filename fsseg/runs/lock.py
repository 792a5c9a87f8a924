"""A lock that lets one command at a time write a folder.

The lock is the operating system's (flock). It ends when its process ends, so that the lock file of a killed process
does not block the next command. On a shared file system such as NFS, the lock holds between hosts. (The library
filelock erases the owner's description at every attempt, and its locks survive their owner in data loading processes.)
"""

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.runs import folders
from fsseg.runs.ranks import leads, note
from fsseg.untrusted.text import load_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HELD: dict[Path, int] = {}  # descriptors of this process's lock files


def _release_in_child() -> None:
    """Release the parent's locks in a forked process, e.g. one that loads data."""
    for descriptor in _HELD.values():
        os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder while it is written; only the first process of a command takes the lock.

    Args:
        folder: Folder to lock; it need not exist yet.

    Raises:
        FssegError: Another command holds the lock, or the lock file cannot be written.
    """
    if not leads() or fcntl is None:
        yield
        return
    path = _file_of(folder)
    if path in _HELD:  # this command already holds the lock
        yield
        return
    descriptor = _take(path, folder)
    if descriptor is None:
        yield
        return
    _HELD[path] = descriptor
    try:
        yield
    finally:
        if _HELD.pop(path, None) is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _file_of(folder: Path) -> Path:
    """Path of the lock file: beside the folder, which may not exist yet, or inside if its parent is not writable."""
    folder = folder.resolve()
    if folder.is_dir() and not os.access(folder.parent, os.W_OK):
        return folder / ".lock"
    return folder.with_name(f".{folder.name}.lock")


def _take(path: Path, folder: Path) -> int | None:
    """Take the lock and return its descriptor; None if the file system has no locks."""
    folders.make(path.parent, folder)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise atomic.failure(error, path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise FssegError(
                f"{folder} is being written by {owner}. Wait for it, end it, or choose another `out`."
            ) from error
        except OSError:
            os.close(descriptor)
            note(f"{path.parent} is on a file system without locks: start nothing else with `out` {folder}.")
            return None
        if _is_there(path, descriptor):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)  # the owner deleted the file after we opened it


def _is_there(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _sign(descriptor: int) -> None:
    """Write the owner of the lock into the file, for the error of a second command."""
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(["fsseg", *sys.argv[1:]]),
    }
    with contextlib.suppress(OSError):  # the disk is full; the lock holds nevertheless
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _owner(descriptor: int) -> str:
    """Description of the command that holds a lock."""
    try:
        owner = load_json(os.pread(descriptor, 1 << 16, 0).decode())
        return f"`{owner['command']}` (process {owner['pid']} on {owner['host']}, since {owner['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
