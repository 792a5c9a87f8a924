"""Builds method, data and trainer from a configuration."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import yaml
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import CheckpointIO

import fsseg
from fsseg.encoders import without_pretrained_weights
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.experiment import compatibility
from fsseg.experiment.configuration import Configuration, parser_of
from fsseg.experiment.warm_start import earlier_trainings, load_weights
from fsseg.progress import tell
from fsseg.protocols.protocol import Chosen, Protocol
from fsseg.runs import loggers
from fsseg.runs.checkpoint_callbacks import KeptCheckpoints, OwnSignals, SavesBeforeAveraging
from fsseg.runs.checkpoint_files import WholeCheckpoints
from fsseg.runs.library_errors import building
from fsseg.runs.logger_callbacks import LoggedFit
from fsseg.runs.progress import EpisodeProgress
from fsseg.runs.ranks import note, settle_slurm
from fsseg.runs.skipped_episodes import Skipped
from fsseg.task import Task
from fsseg.untrusted.card import Card, Earlier, Origin

_LAST_EVERY = 1000  # most steps between two writes of last.ckpt


class Objects(NamedTuple):
    """Objects of a command.

    Attributes:
        task: The LightningModule, with the method.
        data: Data module, not set up yet.
        trainer: Lightning's trainer.
        checkpoints: Callback that writes last.ckpt and best.ckpt.
        loggers: Loggers of a test, which get its results; a training's loggers belong to the trainer.
    """

    task: Task
    data: EpisodeData
    trainer: Trainer
    checkpoints: KeptCheckpoints
    loggers: list[Logger]


def build(c: Configuration) -> Objects:
    """Build method, data and trainer; with a checkpoint, no pretrained weights are downloaded.

    Raises:
        FssegError: An argument is refused, or the checkpoint does not fit.
    """
    options = c.options
    if options.seed_everything is not False:
        seed_everything(options.seed_everything, workers=True)
    with (
        c.classes(),
        without_pretrained_weights() if c.card is not None or c.start is not None else nullcontext(),
        building("the configuration"),
    ):
        made = parser_of(c.command).instantiate(options)
    every = min(options.checkpoint.every_n_train_steps or _LAST_EVERY, _LAST_EVERY)
    checkpoints = KeptCheckpoints(c.folder, every, c.protocol.selection)
    trainer = _trainer(c, made, checkpoints)
    task, data = made.model, made.data
    data.protocol = c.protocol
    _refuse_checkpoint(c, task, data)
    load_weights(c, task, data)
    _introduce(task, trainer)
    task.card = card(c, data, _selection(made.checkpoint, c.protocol), earlier_trainings(c))
    return Objects(task, data, trainer, checkpoints, loggers.listed(made.trainer.logger))


def card(
    c: Configuration, data: EpisodeData, selection: Chosen, earlier: list[Earlier], origin: Origin | None = None
) -> Card:
    """The card of the checkpoints of a configuration; `Card` says what the arguments are."""
    return Card(
        version=fsseg.__version__,
        config=yaml.safe_dump(c.saved, sort_keys=False),
        dataset=data.dataset.name,
        fold=data.fold,
        trained_on=[data.dataset.class_name(number) for number in data.base],
        selection=selection,
        earlier=earlier,
        origin=origin,
    )


def _selection(checkpoint: ModelCheckpoint, protocol: Protocol) -> Chosen:
    """How the file of Lightning's ModelCheckpoint was chosen: by validation if it keeps the best one of a metric."""
    if checkpoint.save_top_k != 1 or not (checkpoint.monitor or "").startswith("val/"):
        return "by hand"
    return "novel_val" if protocol.selection == "novel_val" else "base_val"


def _trainer(c: Configuration, made: Any, checkpoints: KeptCheckpoints) -> Trainer:
    """The trainer with fsseg's progress bar and, for a training, its logger and checkpoints."""
    settle_slurm()
    options = vars(made.trainer)
    asked = options["callbacks"] or []
    callbacks = [*asked] if isinstance(asked, list) else [asked]
    if c.command == "fit":
        callbacks.append(made.checkpoint)
    callbacks.append(OwnSignals())
    if options["enable_progress_bar"] is not False:
        callbacks.append(EpisodeProgress())
    changed: dict[str, Any] = {"enable_progress_bar": False}
    if c.command == "fit":
        callbacks = [SavesBeforeAveraging(checkpoints), *callbacks, Skipped(), checkpoints]
        changed |= {
            "default_root_dir": c.folder,
            "plugins": _with_whole_checkpoints(options["plugins"]),
            "logger": loggers.with_csv(options["logger"], c.folder),
        }
        if changed["logger"]:
            callbacks.append(LoggedFit(c.saved, c.folder))
    else:
        changed |= {"logger": False, "enable_checkpointing": False}  # loggers get a test's results, not its steps
    with building("`trainer`"):
        trainer = Trainer(**{**options, **changed, "callbacks": callbacks})
    _check_processor(made.trainer, trainer)
    return trainer


def _introduce(task: Task, trainer: Trainer) -> None:
    """Give the task functions that print a line and show progress."""
    task.say = lambda line: tell(line) if trainer.is_global_zero else None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EpisodeProgress):
            task.tracked = callback.tracker(trainer)


def _refuse_checkpoint(c: Configuration, task: Task, data: EpisodeData) -> None:
    if c.card is None:
        return
    compatibility.refuse_other_weights(c.options.ckpt_path, c.card, task)
    if c.command == "validate":
        compatibility.refuse_other_fold(c.options.ckpt_path, c.card, data)
    if c.command == "test" and c.protocol.seen_classes == "refuse":
        compatibility.refuse_seen_classes(c.options.ckpt_path, c.card, data)


def _check_processor(options: Any, trainer: Trainer) -> None:
    """Refuse, or note, options that a CPU does not support."""
    if options.sync_batchnorm and trainer.strategy.root_device.type != "cuda":
        raise FssegError(
            "`trainer.sync_batchnorm` works on GPUs only: leave it out, or give `trainer.accelerator` gpu."
        )
    if str(options.precision) in ("16", "16-mixed") and trainer.precision == "bf16-mixed":
        note("`trainer.precision` 16-mixed is bf16-mixed on a CPU.")


def _with_whole_checkpoints(plugins: Any) -> list[Any]:
    """The given plugins, and `WholeCheckpoints` unless one of them stores checkpoints."""
    asked = plugins if isinstance(plugins, list) else [plugins] if plugins else []
    return asked if any(isinstance(plugin, CheckpointIO) for plugin in asked) else [*asked, WholeCheckpoints()]
