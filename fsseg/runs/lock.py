"""One command at a time writes a folder.

The lock is the operating system's (flock): it ends with its owner, however that ends, so that a file left by a killed
process is no obstacle, on this host or, where the file system hands locks on as NFS does, on another one.
(The library filelock truncates the file on every try, with what it says of its owner, and its locks live on in the
processes that load data while their parent is dead.)
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

_HELD: dict[Path, int] = {}  # lock files of this process, with their descriptors


def _release_in_child() -> None:
    """A forked process, as one that loads data, holds no lock of its parent's."""
    for descriptor in _HELD.values():
        os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that is going to be written; of several processes of one command, the first does.

    Args:
        folder: that need not exist yet.

    Raises:
        FssegError: another command holds it, or the lock's file cannot be written.
    """
    if not leads() or fcntl is None:
        yield
        return
    path = _file_of(folder)
    if path in _HELD:  # by this command, a moment ago
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
    """Beside the folder, since results get theirs only in the end; inside where there is no place beside."""
    folder = folder.resolve()
    if folder.is_dir() and not os.access(folder.parent, os.W_OK):
        return folder / ".lock"
    return folder.with_name(f".{folder.name}.lock")


def _take(path: Path, folder: Path) -> int | None:
    """The descriptor of a lock that is ours now; None where the file system has no locks."""
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
                f"{folder} is being written by {owner}. Wait for it, end it, or choose another --out."
            ) from error
        except OSError:
            os.close(descriptor)
            note(f"{path.parent} is on a file system without locks: start nothing else with --out {folder}.")
            return None
        if _is_there(path, descriptor):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)  # its owner took the file away between our opening and locking it


def _is_there(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _sign(descriptor: int) -> None:
    """Write who holds the lock, for whoever comes second."""
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(["fsseg", *sys.argv[1:]]),
    }
    with contextlib.suppress(OSError):  # a full disk; the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _owner(descriptor: int) -> str:
    """Who holds a lock, in words."""
    try:
        told = load_json(os.pread(descriptor, 1 << 16, 0).decode())
        return f"`{told['command']}` (process {told['pid']} on {told['host']}, since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
