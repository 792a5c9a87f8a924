"""How far a run is: a bar on a terminal, a few plain lines in a log or a pipe."""

import sys
import time
from collections.abc import Iterator
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fsseg.episode import Batch

_LINES = 10  # lines of a run without a terminal


class EpisodeProgress(Callback):
    """Steps done, episodes per second, time left and the metrics so far.

    Args:
        terminal: draw a bar; otherwise print a line for every tenth.
    """

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the step that a checkpoint brought."""
        total = trainer.max_steps if trainer.max_steps > 0 else int(trainer.estimated_stepping_batches)
        self._begin(trainer, "training", total, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Show the step."""
        self._advance(trainer, trainer.global_step, len(batch.run))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, unless it is a validation within a training."""
        if trainer.state.fn == "validate":
            self._begin(trainer, "validation", int(sum(trainer.num_val_batches)), 0)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Show the batch."""
        if trainer.state.fn == "validate":
            self._advance(trainer, batch_idx + 1, len(batch.run))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        if trainer.state.fn == "validate":
            self._end()

    def watched(self, trainer: Trainer, starts: range, what: str) -> Iterator[int]:
        """First numbers of batches of images, each batch shown once it is done."""
        self._begin(trainer, what, starts.stop, 0)
        for start in starts:
            yield start
            done = min(start + starts.step, starts.stop)
            self._advance(trainer, done, done - start, "images")
        self._end()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin; images may have been encoded before."""
        self._begin(trainer, "test", int(sum(trainer.num_test_batches)), 0)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Show the batch."""
        self._advance(trainer, batch_idx + 1, len(batch.run))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the bar away, so that the error stands on a line of its own."""
        self._end()

    def _begin(self, trainer: Trainer, what: str, total: int, done: int) -> None:
        self._what, self._total, self._done = what, max(total, 1), done
        self._start, self._counted = time.monotonic(), 0
        if self.terminal and trainer.is_global_zero:
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
            told = [TextColumn("{task.fields[told]}"), TimeRemainingColumn()]
            self._bar = Progress(*columns, *told, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=self._total, completed=done, told="")
            self._bar.start()

    def _advance(self, trainer: Trainer, done: int, more: int, unit: str = "episodes") -> None:
        self._counted += more * trainer.world_size
        before, self._done = self._done, done
        tenth = done * _LINES // self._total > before * _LINES // self._total
        if not trainer.is_global_zero or not (self._bar or tenth):
            return
        speed = self._counted / max(time.monotonic() - self._start, 1e-9)
        metrics = [f"{name} {float(value):.3f}" for name, value in trainer.progress_bar_metrics.items()]
        pace = f"{speed:.1f} {unit}/s" if speed >= 1 else f"{1 / speed:.1f} s/{unit[:-1]}"
        told = "  ".join([pace, *metrics])
        if self._bar:
            self._bar.update(self._task, completed=done, told=told)
        else:
            print(f"{self._what} {done:,}/{self._total:,}  {told}", file=sys.stderr, flush=True)

    def _end(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
