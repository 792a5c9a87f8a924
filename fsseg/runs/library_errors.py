"""Messages of Lightning and torch: needless warnings are silenced, errors become one line."""

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
    "This DataLoader will create .* worker processes.*",  # two are the default, on one core too
    "Checkpoint directory .* exists",
    ".*self.log.*batch_size.*",
    ".*sync_dist=True.*",  # the metrics already hold the sum over all processes
    ".*returned 0 length.*",
    ".*defined a `validation_step`.*",
    ".*callbacks used to create the checkpoint",
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # the sampler continues at the same episode
    "The dirpath has changed from .*",  # the run's folder was moved
    "Total length of `list` across ranks is zero",
    "Found .* in eval mode at the start of training.*",  # BatchNorm of encoders that keep their statistics
    "You passed `Trainer.accelerator='cpu', precision='16-mixed'.*",  # fsseg prints its own note
    ".*WeightAveraging callback, but loading a checkpoint outside the 'fit' stage.*",  # a test needs the average only
    "The number of training batches .* is smaller than the logging interval",
)
_LOST = "a process that loads data was killed, most often for lack of memory. Lower `data.loading.workers`."


def quieten() -> None:
    """Silence needless warnings of libraries; warnings that a user can act on stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _CHATTER:
        warnings.filterwarnings("ignore", message=message)


_RESTORING = (
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
    "lightning.pytorch.utilities.migration.utils",
)
_LENGTH = 150  # most characters of a library's error that are shown


@contextmanager
def machine_errors() -> Iterator[None]:
    """Turn an error of the machine, e.g. too many open files, into one line.

    Raises:
        MachineError: The system reported such an error.
    """
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        if fault := machine_error(error):
            raise fault from error
        raise


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors of Lightning and of the operating system into one line.

    Raises:
        FssegError: One of them refused.
    """
    # Imported here: commands on data need neither torch nor Lightning.
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
        if plain := _plain(error):
            raise plain from error
        raise


def _plain(error: RuntimeError) -> FssegError | None:
    """The line for an error of another process, a data loader or one of Lightning's callbacks; None for others."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and "peer" in str(error):
        return FssegError("another process has stopped; its error message gives the reason.")
    if lost_worker(error):
        return MachineError(_LOST)
    if _origin(error).startswith("lightning.pytorch.callbacks"):  # e.g. EarlyStopping without its metric
        return FssegError(_line(error))
    return None


def lost_worker(error: BaseException) -> bool:
    """Whether an error reports that a data loading process was killed: torch's error, or a broken connection."""
    killed = isinstance(error, RuntimeError) and "DataLoader worker (pid" in str(error)
    return killed or (isinstance(error, OSError | EOFError) and _origin(error).startswith("multiprocessing."))


@contextmanager
def restoring() -> Iterator[None]:
    """Turn any error that Lightning or torch raises while it restores a checkpoint's states into one line.

    Raises:
        FssegError: The states are broken.
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
    """Turn the error of a constructor that refuses its arguments into one line.

    Args:
        what: Start of the line.

    Raises:
        FssegError: The constructor raised TypeError, ValueError or ImportError.
    """
    try:
        yield
    except (TypeError, ValueError, ImportError) as error:
        raise FssegError(f"{what}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _origin(error: BaseException) -> str:
    """Name of the module that raised the error."""
    return (_modules(error) or [""])[-1]


def _modules(error: BaseException) -> list[str]:
    """Names of the modules of an error's traceback; the module that raised the error is last."""
    return [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
