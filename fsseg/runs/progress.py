"""Callback that shows the progress of a run, see `fsseg.progress`."""

from collections.abc import Callable, Iterator
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fsseg.episode import Batch
from fsseg.progress import Progress


class EpisodeProgress(Callback):
    """Shows finished steps, episodes per second, remaining time and the metrics so far.

    Args:
        terminal: See `fsseg.progress.Progress`.
    """

    def __init__(self, terminal: bool | None = None) -> None:
        self.terminal = terminal
        self._progress: Progress | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the step of the checkpoint, or at 0, after images are encoded."""
        if self._progress is not None:
            return
        total = trainer.max_steps if trainer.max_steps > 0 else int(trainer.estimated_stepping_batches)
        self._begin(trainer, "training", total, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Show the step."""
        self._advance(trainer, trainer.global_step, len(batch.run))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._end()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, except for a validation within a training; before a training, the encoder's prototypes are tested."""
        if _alone(trainer):
            what = "untrained" if trainer.sanity_checking else "validation"
            batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
            self._begin(trainer, what, int(sum(batches)), 0)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Show the batch."""
        if _alone(trainer):
            self._advance(trainer, batch_idx + 1, len(batch.run))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        if _alone(trainer):
            self._end()

    def watched(self, trainer: Trainer, starts: range, what: str) -> Iterator[int]:
        """Yield the first image number of each batch, and show each batch once it is done."""
        self._begin(trainer, what, starts.stop, 0)
        for start in starts:
            yield start
            done = min(start + starts.step, starts.stop)
            self._advance(trainer, done, done - start, "images")
        self._end()

    def tracker(self, trainer: Trainer) -> Callable[[range, str], Iterator[int]]:
        """`watched` as a function of starts and label.

        A copy of a function is the function itself, without a copy of the trainer: callbacks that average weights copy
        the task, which holds the function.
        """
        return lambda starts, what: self.watched(trainer, starts, what)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the test; images may have been encoded before."""
        self._begin(trainer, "test", int(sum(trainer.num_test_batches)), 0)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Show the batch."""
        self._advance(trainer, batch_idx + 1, len(batch.run))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar, so that the error gets its own line."""
        self._end()

    def _begin(self, trainer: Trainer, what: str, total: int, done: int) -> None:
        self._counted = 0
        self._progress = Progress(what, total, done=done, shown=trainer.is_global_zero, terminal=self.terminal)

    def _advance(self, trainer: Trainer, done: int, more: int, unit: str = "episodes") -> None:
        progress = self._progress
        if progress is None:
            return
        self._counted += more * trainer.world_size
        speed = self._counted / progress.seconds
        metrics = [f"{name} {float(value):.3f}" for name, value in trainer.progress_bar_metrics.items()]
        pace = f"{speed:.1f} {unit}/s" if speed >= 1 else f"{1 / speed:.1f} s/{unit[:-1]}"
        progress.to(done, "  ".join([f"{done:,}/{progress.total:,}", pace, *metrics]))

    def _end(self) -> None:
        if self._progress:
            self._progress.end()
            self._progress = None


def _alone(trainer: Trainer) -> bool:
    """Whether a validation has a bar: outside of a training, or before it."""
    return trainer.state.fn == "validate" or bool(trainer.sanity_checking)
