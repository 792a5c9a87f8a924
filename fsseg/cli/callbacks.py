"""What happens around training: the last checkpoint, Ctrl-C, progress without a terminal."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

_LINES = 10  # progress lines of a run without a terminal


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
            trainer.limit_val_batches = 0  # no validation epoch between the person and the prompt
            signal.signal(signal.SIGINT, self._before)
            print("\nfsseg: stopping after this step (Ctrl-C again to stop at once)", file=sys.stderr)

        self._before = signal.signal(signal.SIGINT, stop)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time."""
        if self.every and trainer.global_step % self.every == 0:
            self._save(trainer)

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
        """Give Ctrl-C back."""
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


class LineProgress(Callback):
    """Progress as a few plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self._start, self._first, self._done = 0.0, 0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start, self._first = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A line for every tenth of the steps."""
        steps = trainer.max_steps if trainer.max_steps > 0 else int(trainer.estimated_stepping_batches)
        self._line("step", trainer.global_step, steps, self._first, trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start, self._first, self._done = time.monotonic(), 0, 0

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A line for every tenth of the batches."""
        self._line("test batch", batch_idx + 1, int(sum(trainer.num_test_batches)), 0, trainer)

    def _line(self, what: str, done: int, total: int, first: int, trainer: Trainer) -> None:
        if done == self._done or (done * _LINES) // total == (self._done * _LINES) // total:
            return
        self._done = done
        speed = (done - first) / max(time.monotonic() - self._start, 1e-9)
        left = time.strftime("%H:%M:%S", time.gmtime((total - done) / speed))
        metrics = {k: float(v) for k, v in trainer.progress_bar_metrics.items()}
        shown = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        if trainer.is_global_zero:
            print(f"{what} {done:,}/{total:,}  {speed:.1f}/s  {left} left  {shown}", file=sys.stderr, flush=True)
