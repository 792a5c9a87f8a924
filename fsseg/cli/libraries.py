"""What Lightning, torch and jsonargparse say: silenced where a person did not ask, one line where they refuse."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from fsseg.errors import FssegError

_CHATTER = (
    "LightningCLI's args",
    ".*LeafSpec.*",
    ".*isinstance.treespec.*",
    ".*does not have many workers.*",
    "Checkpoint directory .* exists",
    ".*self.log.*batch_size.*",
    ".*sync_dist=True.*",  # the metrics have already added up all processes
    ".*returned 0 length.*",
    ".*defined a `validation_step`.*",
    ".*callbacks used to create the checkpoint",
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # episodes go on where they were
    "Total length of `list` across ranks is zero",
    "Found .* in eval mode at the start of training.*",  # BatchNorm of encoders that keep their statistics
    "You passed `Trainer.accelerator='cpu', precision='16-mixed'.*",  # a note says it
    "The number of training batches .* is smaller than the logging interval",
)


def quieten() -> None:
    """Silence what libraries chat about; warnings that a person can act on stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _CHATTER:
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def plain_errors() -> Iterator[None]:
    """What Lightning or the operating system refuses, as one line.

    Raises:
        FssegError: in place of theirs.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise FssegError(_line(error)) from error
    except OSError as error:
        if error.strerror is None:
            raise
        raise FssegError(f"{error.filename or 'a file'} cannot be read or written: {error.strerror}.") from error
    except (TypeError, ValueError, ImportError) as error:
        if "lightning" not in _origin(error):
            raise
        raise FssegError(_line(error)) from error
    except RuntimeError as error:
        if dist.is_available() and dist.is_initialized() and "peer" in str(error):
            raise FssegError("another process has stopped; its line says why.") from error
        raise


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
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace else ""
