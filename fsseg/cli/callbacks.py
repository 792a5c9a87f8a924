"""The last checkpoint, and Ctrl-C."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fsseg.errors import DivergedError, FssegError


class LastCheckpoint(Callback):
    """Keeps ``last.ckpt`` whole and up to date: every so many steps and when training ends, also by Ctrl-C.

    The first Ctrl-C lets the step finish, so that no half-made update is saved; a second one stops at once.
    (ModelCheckpoint's own ``save_last`` writes in place, and ``last-v1.ckpt`` beside an older one.)

    Args:
        path: of the checkpoint.
        every: steps between two writes; 0 writes at the end only.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._saved = -1
        self.interrupted = False
        self._before: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over Ctrl-C."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.interrupted = trainer.should_stop = True
            signal.signal(signal.SIGINT, self._before)
            print("\nfsseg: stopping after this step (Ctrl-C again to stop at once)", file=sys.stderr)

        self._before = signal.signal(signal.SIGINT, stop)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time."""
        if self.every and trainer.global_step % self.every == 0:
            self._save(trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave a validation early: no update is under way."""
        if self.interrupted:
            self._save(trainer)
            raise KeyboardInterrupt

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and give Ctrl-C back."""
        self._save(trainer)
        self._restore()

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run or self._saved == trainer.global_step:
            return
        self._saved = trainer.global_step
        part = self.path.with_name(f".{self.path.name}.part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self.path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was trained if it is a file or an option that is wrong, and give Ctrl-C back."""
        wrong_input = isinstance(exception, FssegError) and not isinstance(exception, DivergedError)
        if wrong_input and trainer.world_size == 1 and trainer.global_step > 0:  # other processes wouldn't come along
            self._save(trainer)
            print(
                f"fsseg: step {trainer.global_step:,} is kept in {self.path}; go on with --ckpt_path", file=sys.stderr
            )
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
