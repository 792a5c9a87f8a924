"""What Lightning, torch and jsonargparse say: their chatter is silenced, their errors become one line."""

import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from fsseg import atomic
from fsseg.errors import FssegError, MachineError
from fsseg.machine_errors import machine_error, reader_has_gone

_CHATTER = (
    ".*LeafSpec.*",
    ".*isinstance.treespec.*",
    ".*does not have many workers.*",
    "Checkpoint directory .* exists",
    ".*self.log.*batch_size.*",
    ".*sync_dist=True.*",  # the metrics have already added up all processes
    ".*returned 0 length.*",
    ".*defined a `validation_step`.*",
    ".*callbacks used to create the checkpoint",
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # episodes continue where they were
    "The dirpath has changed from .*",  # of a run whose folder was moved
    "Total length of `list` across ranks is zero",
    "Found .* in eval mode at the start of training.*",  # BatchNorm of encoders that keep their statistics
    "You passed `Trainer.accelerator='cpu', precision='16-mixed'.*",  # a note says it
    "The number of training batches .* is smaller than the logging interval",
)
_LOST = "a process that loads data was killed, most often for want of memory: fewer --data.loading.workers need less."


def quieten() -> None:
    """Silence chatter of libraries; warnings that a user can act on stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _CHATTER:
        warnings.filterwarnings("ignore", message=message)


_RESTORING = (
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
    "lightning.pytorch.utilities.migration.utils",
)
_LENGTH = 150  # letters of a library's error


@contextmanager
def machine_errors() -> Iterator[None]:
    """A fault of the machine, e.g. too many open files, as one line.

    Raises:
        MachineError: in place of the system's.
    """
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        if fault := machine_error(error):
            raise fault from error
        raise


@contextmanager
def plain_errors() -> Iterator[None]:
    """What Lightning or the operating system refuses, as one line.

    Raises:
        FssegError: in place of theirs.
    """
    import torch.distributed as dist  # late: commands on data touch neither torch nor Lightning
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    try:
        with machine_errors():
            yield
    except MisconfigurationException as error:
        raise FssegError(_line(error)) from error
    except (OSError, EOFError) as error:
        if lost_worker(error):
            raise MachineError(_LOST) from error
        if not isinstance(error, OSError) or error.strerror is None or reader_has_gone(error):
            raise
        kind = MachineError if error.errno in atomic.FULL else FssegError
        raise kind(f"{error.filename or 'a file'} cannot be read or written: {error.strerror}.") from error
    except (TypeError, ValueError, ImportError) as error:
        if "lightning" not in _origin(error):
            raise
        raise FssegError(_line(error)) from error
    except RuntimeError as error:
        if dist.is_available() and dist.is_initialized() and "peer" in str(error):
            raise FssegError("another process has stopped; its line says why.") from error
        if lost_worker(error):
            raise MachineError(_LOST) from error
        raise


def lost_worker(error: BaseException) -> bool:
    """Whether an error says that a process that loads data was killed: torch's, or that its connection is broken."""
    killed = isinstance(error, RuntimeError) and "DataLoader worker (pid" in str(error)
    return killed or (isinstance(error, OSError | EOFError) and _origin(error).startswith("multiprocessing."))


@contextmanager
def restoring() -> Iterator[None]:
    """Whatever Lightning or torch raises while they take over the states of a broken checkpoint, as one line.

    Raises:
        FssegError: in place of theirs.
    """
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    try:
        yield
    except (FssegError, MisconfigurationException):
        raise
    except Exception as error:
        if not any(name in _RESTORING for name in _modules(error)):
            raise
        text = f"{type(error).__name__}: {_line(error)}"[:_LENGTH]
        raise FssegError(f"the states in the checkpoint are broken ({text}). Use an earlier one.") from error


@contextmanager
def building(what: str) -> Iterator[None]:
    """Arguments that a constructor refuses, as one line.

    Raises:
        FssegError: in place of TypeError, ValueError or ImportError.
    """
    try:
        yield
    except (TypeError, ValueError, ImportError) as error:
        raise FssegError(f"{what}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _origin(error: BaseException) -> str:
    """Name of the module that raised."""
    return (_modules(error) or [""])[-1]


def _modules(error: BaseException) -> list[str]:
    """Names of the modules that an error came through, the one that raised last."""
    return [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
