"""The last checkpoint, the best one, and signals that end a training."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fsseg.errors import DivergedError, FssegError, MachineError
from fsseg.protocols.protocol import Selection
from fsseg.runs import signals
from fsseg.runs.checkpoint_files import BEFORE, LAST
from fsseg.runs.library_errors import lost_worker

_METRIC = "val/mean_iou"  # that the best checkpoint has most of


class KeptCheckpoints(Callback):
    """Writes ``last.ckpt`` atomically: every so many steps and when training ends, also by a signal.

    Where the protocol chooses a checkpoint by validation, ``best.ckpt`` is written too. Every checkpoint records the
    rule that chose it. The first signal (Ctrl-C, SIGTERM) lets the step finish, so that no half-made update is saved; a
    second one stops at once. What ``last.ckpt`` replaces becomes ``last-before.ckpt``: should the last one be lost,
    a training resumes from there. (ModelCheckpoint's own ``save_last`` writes ``last-v1.ckpt`` beside an older one.)

    Args:
        folder: of the checkpoints.
        every: steps between two writes; 0 writes at the end only.
        selection: the protocol's rule.
    """

    def __init__(self, folder: Path, every: int, selection: Selection) -> None:
        self.path, self.before_path, self.best_path = folder / LAST, folder / BEFORE, folder / "best.ckpt"
        self.every, self.selection = every, selection
        self.best = -1.0
        self._saved = -1
        self.interrupted = False
        self._in_step = False
        self._due = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over signals, and write where the first process does, whoever started the others."""
        folder = trainer.strategy.broadcast(self.path.parent)
        self.path, self.best_path = folder / self.path.name, folder / self.best_path.name

        def stop() -> None:
            self.interrupted = trainer.should_stop = True
            print("\nfsseg: stopping after this step (a second signal or Ctrl-C stops at once)", file=sys.stderr)

        signals.gently(stop)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """From here on weights change."""
        self._in_step = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time; a signal to one process ends the same step of all."""
        self._in_step = False
        if trainer.world_size > 1:
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(trainer.should_stop, all=False)
            self.interrupted = trainer.strategy.reduce_boolean_decision(self.interrupted, all=False)
        if self.every and trainer.global_step % self.every == 0:
            # Killed in the validation that follows, a resumed training would skip it.
            self._due = trainer.is_last_batch and trainer.fit_loop.epoch_loop._should_check_val_epoch()
            if not self._due:
                self._save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what waited for the epoch's validation."""
        if self._due:
            self._save_last(trainer)
        self._due = False

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave a validation early: no update is under way."""
        if self.interrupted:
            self._save_last(trainer)
            raise signals.Stopped

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best."""
        value = float(trainer.callback_metrics.get(_METRIC, -1.0))
        if self.selection != "last" and value > self.best:
            self.best = value
            self._save(trainer, self.best_path, self.selection)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and give signals back."""
        self._save_last(trainer)
        signals.gently(None)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, for a resumed training."""
        return {"best": self.best, "selection": self.selection}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best value, if it was measured by the same rule."""
        if state_dict.get("selection") == self.selection:
            self.best = float(state_dict["best"])

    def _save_last(self, trainer: Trainer) -> None:
        if self._saved != trainer.global_step:
            self._saved = trainer.global_step
            self._save(trainer, self.path, "last")

    def _save(self, trainer: Trainer, path: Path, rule: Selection) -> None:
        if trainer.fast_dev_run:
            return
        module = trainer.lightning_module
        before, module.card = module.card, replace(module.card, selection=rule)
        part = path.with_name(f".{path.name}.part")
        trainer.save_checkpoint(part)
        module.card = before
        if trainer.is_global_zero:
            if path == self.path and path.is_file():
                path.replace(self.before_path)
            part.replace(path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was trained if it is a file, an option or a loader that is wrong, and give signals back."""
        wrong_input = isinstance(exception, FssegError) and not isinstance(exception, DivergedError | MachineError)
        # A signal reports a worker's death, at any moment.
        lost = lost_worker(exception) and not self._in_step and not trainer.validating
        if (
            (wrong_input or lost) and trainer.world_size == 1 and trainer.global_step > 0
        ):  # other processes wouldn't come along
            self._save_last(trainer)
            print(
                f"fsseg: step {trainer.global_step:,} is kept in {self.path}; go on with --ckpt_path or --resume",
                file=sys.stderr,
            )
        signals.gently(None)


class OwnSignals(Callback):
    """Keeps Lightning's handler of SIGTERM, which it sets before any of these, from taking the place of ours."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first step."""
        signals.over_lightning()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first episode."""
        signals.over_lightning()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first episode."""
        signals.over_lightning()
