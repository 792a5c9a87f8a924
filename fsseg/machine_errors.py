"""One-line messages for faults of the machine: open files, shared memory, memory, processes."""

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
_SHARED = ("shared memory", "</torch_", "bus error")  # torch, when workers pass tensors to the main process
_SOCKET = 32  # bytes: /pymp-xxxxxxxx/listener-xxxxxxxx, the socket through which workers pass tensors
_LONGEST = 107 if sys.platform == "linux" else 103  # bytes of a socket's path: sun_path in <sys/un.h>, without its 0
_STARTING = ("multiprocessing", "subprocess", "threading")  # modules that start processes and threads
_WORKERS = "fewer `data.loading.workers` need less, 0 needs none"


def machine_error(error: BaseException) -> MachineError | None:
    """The fault of the machine that caused an error, as a one-line error; None if another cause is likely."""
    for each in _chain(error):
        if message := _message(each):
            return MachineError(message)
    return None


def reader_has_gone(error: BaseException) -> bool:
    """Whether the reader of standard output has closed the pipe, as in ``fsseg test | head``."""
    if not isinstance(error, BrokenPipeError):
        return False
    with suppress(OSError, ValueError, AttributeError):  # no file, closed, a system without poll
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    return False


def check_temporary_folder() -> None:
    """Refuse to start workers if the path of the temporary folder is too long for their sockets.

    Raises:
        MachineError: the path is too long.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) + _SOCKET > _LONGEST:
        raise MachineError(
            f"the path of the temporary folder {folder} is too long for the sockets of data loading workers: set "
            f"TMPDIR to a path of at most {_LONGEST - _SOCKET} bytes, or give `data.loading.workers` 0."
        )


def _message(error: BaseException) -> str | None:
    number, text = getattr(error, "errno", None), str(error).lower()
    if number in (errno.EMFILE, errno.ENFILE) or "too many open files" in text:
        return (
            f"too many open files; this process may open {_open_files()}. Raise the limit (ulimit -n 4096); {_WORKERS}."
        )
    origin = _origin(error)
    if any(word in text for word in _SHARED) or (number and origin == "multiprocessing.synchronize"):
        return (
            "shared memory (/dev/shm) is too small, full or not writable. Free some, or give more "
            f"(docker run --shm-size 8g); {_WORKERS}."
        )
    if (number in (errno.EAGAIN, errno.ENOMEM) and origin.startswith(_STARTING)) or "start new thread" in text:
        return f"the system cannot start more processes or threads (ulimit -u, or too little memory); {_WORKERS}."
    if isinstance(error, MemoryError) or any(word in text for word in _MEMORY):
        return (
            "out of memory. Use smaller images (`data.images.size`, `size`), fewer episodes per batch "
            "(`data.batch_size`, `data.loading.test_batch_size`), fewer shots or fewer `data.loading.workers`."
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, up to the first that the machine cannot have caused."""
    seen: set[int] = set()
    while isinstance(error, OSError | RuntimeError | MemoryError | ValueError) and id(error) not in seen:
        seen.add(id(error))
        yield error
        # The context too: Lightning's cleanup may fail because of the first error.
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _origin(error: BaseException) -> str:
    """Name of the module that raised the error, e.g. multiprocessing.synchronize for a semaphore in /dev/shm."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return (modules or [""])[-1]


def _open_files() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return "a limited number"
    return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
