"""Faults of the machine as one line each: open files, shared memory, memory, processes."""

import errno
import os
import select
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress

from fsseg.errors import MachineError

_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "unable to allocate",
)
_SHARED = ("shared memory", "</torch_", "bus error")  # of torch: the tensors that workers hand over
_SOCKET = 32  # of a socket's path: /pymp-xxxxxxxx/listener-xxxxxxxx, by which workers hand over tensors
_LONGEST = 107 if sys.platform == "linux" else 103  # bytes of such a path
_STARTING = ("multiprocessing", "subprocess", "threading")  # modules that start processes and threads
_WORKERS = "fewer --data.loading.workers need less, 0 needs none"


def machine_error(error: BaseException) -> MachineError | None:
    """What an error says of the machine, as a line; None where it says nothing of it."""
    for each in _chain(error):
        if said := _said(each):
            return MachineError(said)
    return None


def reader_has_gone(error: BaseException) -> bool:
    """Whether an error says that nobody reads standard output any more, as behind ``fsseg test | head``."""
    if not isinstance(error, BrokenPipeError):
        return False
    with suppress(OSError, ValueError, AttributeError):  # no file, closed, a system without poll
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    return False


def check_temporary_folder() -> None:
    """Refuse to start workers where the path of the temporary folder leaves no room for the names of their sockets.

    Raises:
        MachineError: it leaves none.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) + _SOCKET > _LONGEST:
        raise MachineError(
            f"the temporary folder {folder} has too long a path for the sockets of processes that load data: set "
            f"TMPDIR to one of at most {_LONGEST - _SOCKET} bytes, or give --data.loading.workers 0."
        )


def _said(error: BaseException) -> str | None:
    number, text = getattr(error, "errno", None), str(error).lower()
    if number in (errno.EMFILE, errno.ENFILE) or "too many open files" in text:
        return f"too many open files; this shell allows {_open_files()}. Raise it (ulimit -n 4096); {_WORKERS}."
    origin = _origin(error)
    if any(word in text for word in _SHARED) or (number and origin == "multiprocessing.synchronize"):
        return (
            "shared memory (/dev/shm) is too small, full or cannot be written. Make room or give more "
            f"(docker run --shm-size 8g); {_WORKERS}."
        )
    if (number in (errno.EAGAIN, errno.ENOMEM) and origin.startswith(_STARTING)) or "start new thread" in text:
        return f"the system starts no more processes or threads, or lacks memory for one (ulimit -u); {_WORKERS}."
    if isinstance(error, MemoryError) or any(word in text for word in _MEMORY):
        return (
            "memory is not enough. Smaller images (--data.images.size, --size), fewer episodes a batch "
            "(--data.batch_size, --data.loading.test_batch_size), fewer shots or fewer "
            "--data.loading.workers need less."
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and the ones that it came from."""
    seen: set[int] = set()
    while isinstance(error, OSError | RuntimeError | MemoryError | ValueError) and id(error) not in seen:
        seen.add(id(error))
        yield error
        # Lightning may fail itself while it ends, on account of the first error.
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _origin(error: BaseException) -> str:
    """Name of the module that raised; a semaphore that the system refuses, which lies in /dev/shm, is one's."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return (modules or [""])[-1]


def _open_files() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return "no more"
    return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
