"""Callbacks that write the last and the best checkpoint and that end a training at a signal."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from fsseg.errors import DivergedError, FssegError, MachineError
from fsseg.progress import tell
from fsseg.protocols.protocol import Selection
from fsseg.runs import signals
from fsseg.runs.checkpoint_files import BEFORE, LAST, keep_as
from fsseg.runs.library_errors import lost_worker

_METRIC = "val/mean_iou"  # the best checkpoint has its highest value


class KeptCheckpoints(Callback):
    """Writes ``last.ckpt`` atomically: at regular steps and when training ends, also by a signal.

    If the protocol selects a checkpoint by validation, ``best.ckpt`` is written too. Every checkpoint records the rule
    that selected it. The first signal (Ctrl-C, SIGTERM) lets the step finish, so that no partial update is saved; a
    second signal stops at once. The previous ``last.ckpt`` becomes ``last-before.ckpt``, from which a training resumes
    if ``last.ckpt`` is lost. (ModelCheckpoint's ``save_last`` would write ``last-v1.ckpt`` beside an older file.)

    Args:
        folder: Folder of the checkpoints.
        every: Steps between two writes; 0 writes at the end only.
        selection: The protocol's rule that selects a checkpoint.
    """

    def __init__(self, folder: Path, every: int, selection: Selection) -> None:
        self.path, self.before_path, self.best_path = folder / LAST, folder / BEFORE, folder / "best.ckpt"
        self.every, self.selection = every, selection
        self.best = -1.0
        self._saved = -1
        self.interrupted = False
        self._in_step = False
        self._due = False
        self._averaged: list[WeightAveraging] = []  # callbacks that have replaced the weights during a validation

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over signals, and write into the folder of the first process."""
        folder = trainer.strategy.broadcast(self.path.parent)
        self.path, self.best_path = folder / self.path.name, folder / self.best_path.name

        def stop() -> None:
            self.interrupted = True
            trainer.should_stop = trainer.accumulate_grad_batches == 1  # or else at the end of a step
            print("\nfsseg: stopping after this step (a second signal or Ctrl-C stops at once)", file=sys.stderr)

        signals.gently(stop)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Record that the weights change from here on."""
        self._in_step = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a write is due; a signal to one process ends the same step in all processes.

        With accumulated gradients a step has several batches, and ends with the last of them.
        """
        self._in_step = trainer.fit_loop._should_accumulate()
        if self.interrupted:
            trainer.should_stop = not self._in_step
        if trainer.world_size > 1:
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(trainer.should_stop, all=False)
            self.interrupted = trainer.strategy.reduce_boolean_decision(self.interrupted, all=False)
        if self.every and not self._in_step and trainer.global_step % self.every == 0:
            # A training that is killed during the next validation would skip that validation after it resumes.
            self._due = trainer.is_last_batch and trainer.fit_loop.epoch_loop._should_check_val_epoch()
            if not self._due:
                self.save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint that was delayed until after the validation."""
        if self._due:
            self.save_last(trainer)
        self._due = False

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop during a validation after a signal: no update is in progress."""
        if self.interrupted:
            if not trainer.sanity_checking:
                self.save_last(trainer)
            raise signals.Stopped

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the module holds averaged weights, if the training averages them."""
        self._averaged = [each for each in trainer.callbacks if isinstance(each, WeightAveraging)]  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the module holds the weights of the training again."""
        self._averaged = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best checkpoint."""
        value = float(trainer.callback_metrics.get(_METRIC, -1.0))
        if self.selection != "last" and value > self.best and not trainer.sanity_checking:
            self.best = value
            self._save(trainer, self.best_path, self.selection)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and release the signals."""
        self.save_last(trainer)
        signals.gently(None)

    def state_dict(self) -> dict[str, Any]:
        """The best validation value so far, for a resumed training."""
        return {"best": self.best, "selection": self.selection}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value if it was measured by the same rule."""
        if state_dict.get("selection") == self.selection:
            self.best = float(state_dict["best"])

    def save_last(self, trainer: Trainer) -> None:
        """Write ``last.ckpt``, unless it is of this step."""
        if self._saved != trainer.global_step:
            self._save(trainer, self.path, "last")
            self._saved = trainer.global_step  # after it: the death of a worker may end a write

    def _save(self, trainer: Trainer, path: Path, rule: Selection) -> None:
        if trainer.fast_dev_run:
            return
        module = trainer.lightning_module
        before, module.card = module.card, replace(module.card, selection=rule)
        part = path.with_name(f".{path.name}.part")
        for averaging in self._averaged:
            averaging._swap_models(module)
        trainer.save_checkpoint(part)
        for averaging in self._averaged:
            averaging._swap_models(module)
        module.card = before
        if trainer.is_global_zero:
            if path == self.path and path.is_file():
                keep_as(path, self.before_path)
            part.replace(path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the weights if a file, an option or a data loader caused the error, and release the signals."""
        wrong_input = isinstance(exception, FssegError) and not isinstance(exception, DivergedError | MachineError)
        # The death of a worker is reported by a signal, which may arrive during a step.
        lost = lost_worker(exception) and not self._in_step and not trainer.validating
        if (
            (wrong_input or lost) and trainer.world_size == 1 and trainer.global_step > 0
        ):  # with several processes, the others would not take part
            self.save_last(trainer)
            tell(f"fsseg: step {trainer.global_step:,} is saved in {self.path}; resume with `ckpt_path` or `resume`")
        signals.gently(None)


class SavesBeforeAveraging(Callback):
    """Saves the last checkpoint before other callbacks end the training; the first callback of a trainer.

    Lightning's WeightAveraging replaces the weights by their average when a training ends. A training that is resumed
    continues from the weights.

    Args:
        checkpoints: Callback that writes the checkpoint.
    """

    def __init__(self, checkpoints: KeptCheckpoints) -> None:
        self.checkpoints = checkpoints

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        self.checkpoints.save_last(trainer)


class OwnSignals(Callback):
    """Replaces Lightning's handler of SIGTERM, which Lightning sets before each stage, by ours."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore our handler before the first step."""
        signals.over_lightning()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore our handler before the first episode."""
        signals.over_lightning()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore our handler before the first episode."""
        signals.over_lightning()
