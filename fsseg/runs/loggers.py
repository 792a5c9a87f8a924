"""Loggers of a configuration: prepared before they are built, opened early and closed at the end.

W&B and TensorBoard are imported only if a configuration names them.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from fsseg import atomic, class_paths
from fsseg.errors import FssegError
from fsseg.untrusted.records import as_json, read_json

_log = logging.getLogger(__name__)

_RUN = "wandb.json"  # file in a run's folder


@dataclass(frozen=True)
class WandbRun:
    """Record of the W&B run of a folder, ``wandb.json``."""

    id: str
    project: str | None
    entity: str | None


_HERE = (None, ".")  # Lightning's defaults of ``save_dir``
_UNSENT = ("offline", "dryrun", "disabled")


def prepare(trainer: Any, folder: Path, name: str) -> None:
    """Let the loggers of a configuration write into a run's folder.

    Args:
        trainer: Configuration of the trainer, changed in place.
        folder: Folder of the run.
        name: Name of the run, for display.

    Raises:
        FssegError: A package is missing, or W&B has no login.
    """
    for entry in _entries(trainer):
        kind = class_paths.load(entry.class_path)
        if entry.init_args.get("save_dir") in _HERE:
            entry.init_args.save_dir = str(folder)
        if issubclass(kind, WandbLogger):
            _prepare_wandb(entry.init_args, folder, name)
        if issubclass(kind, TensorBoardLogger) and not (find_spec("tensorboard") or find_spec("tensorboardX")):
            raise FssegError("TensorBoardLogger needs a package that is not installed: pip install tensorboard.")


def without_files(trainer: Any, command: str) -> None:
    """Keep a configuration's loggers for a test, except CSVLogger: a test writes its own result files.

    Args:
        trainer: Configuration of the trainer, changed in place.
        command: ``test`` or ``validate``; validate logs nothing.
    """
    named = _entries(trainer) if command == "test" else []
    kept = [entry for entry in named if not issubclass(class_paths.load(entry.class_path), CSVLogger)]
    trainer.logger = kept or False


def listed(given: Any) -> list[Logger]:
    """The built loggers of a configuration as a list."""
    if isinstance(given, bool | None):
        return []
    return list(given) if isinstance(given, Sequence) else [given]


def with_csv(given: Any, folder: Path) -> list[Logger] | bool:
    """The requested loggers and always CSVLogger, whose files charts and sweeps read; False for no logger at all."""
    if given is False:
        return False
    asked = listed(given)
    return asked if any(isinstance(each, CSVLogger) for each in asked) else [*asked, CSVLogger(folder, name="logs")]


@contextmanager
def opened(loggers: Sequence[Logger], trainer: Trainer, folder: Path) -> Iterator[None]:
    """Open the W&B run of a command before Lightning would, and close it whether the command fails or not.

    An error of W&B thus becomes one line, and the next command of this process gets another W&B run.

    Args:
        loggers: Loggers of the command.
        trainer: Lightning's trainer; only its first process logs.
        folder: Folder of the run, where ``wandb.json`` records the W&B run.

    Raises:
        FssegError: W&B refuses.
    """
    failed, loggers = True, loggers if trainer.is_global_zero else ()
    try:
        _open(loggers, folder)
        yield
        failed = False
    finally:
        for logger in loggers:
            # The property `experiment` would start a run if none exists.
            if isinstance(logger, WandbLogger) and logger._experiment is not None:
                logger.experiment.finish(exit_code=int(failed))


def _open(loggers: Sequence[Logger], folder: Path) -> None:
    """Start a W&B run, log its address, and record it in ``wandb.json``."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            try:
                run = logger.experiment
            except wandb.errors.Error as error:
                text = " ".join(str(error).split()).rstrip(".")
                raise FssegError(f"W&B: {text}. Set WANDB_MODE=offline to log without a server.") from error
            if getattr(run, "disabled", False):
                continue
            atomic.write_text(folder / _RUN, as_json(WandbRun(run.id, run.project, run.entity)))
            _log.info(f"W&B: {run.url or f'wandb sync {Path(run.dir).parent}'}")


def _entries(trainer: Any) -> list[Any]:
    """Configurations of the loggers, each with a class path."""
    every = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    return [entry for entry in every if hasattr(entry, "class_path")]


def _prepare_wandb(options: Any, folder: Path, name: str) -> None:
    os.environ.setdefault("WANDB_SILENT", "true")  # `_open` logs the address of the run
    try:
        import wandb
    except ImportError as error:
        raise FssegError("WandbLogger needs a package that is not installed: pip install wandb.") from error
    options.project = options.project or os.environ.get("WANDB_PROJECT") or "fsseg"
    known = _known_run(folder)
    same = known and known.project == options.project and options.get("entity") in (None, known.entity)
    if known and same and not (options.id or options.version or "WANDB_RUN_ID" in os.environ):
        options.id, options.resume = known.id, "allow"  # without it W&B would overwrite the run
        if known.entity:
            options.entity = known.entity
    elif options.name is None and not {"WANDB_NAME", "WANDB_SWEEP_ID"} & os.environ.keys():
        options.name = name
    mode = options.get("mode") or wandb.setup().settings.mode
    if options.offline or mode in _UNSENT:
        return
    try:
        logged_in = wandb.login(prompt=False)
    except wandb.errors.Error as error:
        raise FssegError(f"W&B refuses the login: {' '.join(str(error).split())}") from error
    if not logged_in:
        raise FssegError(
            "WandbLogger has no login: run `wandb login`, or set WANDB_MODE=offline; `trainer.logger` true needs none."
        )


def _known_run(folder: Path) -> WandbRun | None:
    """The W&B run of a run's folder; None if the file is missing or broken."""
    try:
        known = read_json(folder / _RUN, WandbRun)
    except (OSError, ValueError):
        return None
    return known if known.id else None
