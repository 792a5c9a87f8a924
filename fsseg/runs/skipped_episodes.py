"""Callback that counts and reports episodes that are skipped because their images cannot be read."""

import logging
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from fsseg.episode import Batch
from fsseg.episodes.unreadable import skipped

_log = logging.getLogger(__name__)

_NAMED = 10  # most reasons that are logged


class Skipped(Callback):
    """Logs the reason for each skipped episode and, after a training, the number of skipped episodes.

    The number of a test's skipped episodes is in its table, see `fsseg.runs.test_report.Report`.
    """

    def __init__(self) -> None:
        self.trained = 0  # skipped training episodes
        self.left: set[tuple[int, int]] = set()  # skipped validation episodes, by run and number
        self._logged: set[str] = set()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Count skipped training episodes."""
        self.trained += len(self._found(batch, trainer.train_dataloader))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count skipped validation episodes once; they are the same in every epoch."""
        self.left |= self._found(batch, trainer.val_dataloaders)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the reasons for skipped test episodes."""
        self._found(batch, trainer.test_dataloaders)

    def _found(self, batch: Batch, loader: Any) -> set[tuple[int, int]]:
        keys = skipped(batch)
        for key in keys if len(self._logged) < _NAMED else []:
            if (reason := loader.dataset.reason(key)) not in self._logged:
                self._logged.add(reason)
                _log.warning(f"an episode is skipped: {reason}")
        return {(key.run, key.number) for key in keys}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the numbers of skipped episodes."""
        trained, left = (_of_all(trainer, count) for count in (self.trained, len(self.left)))
        if trainer.is_global_zero:
            for count, what in ((trained, "training"), (left, "validation")):
                if count:
                    _log.warning(f"{_counted(count, f'{what} episode')} skipped: their images cannot be read")

    def state_dict(self) -> dict[str, Any]:
        """The count, which a resumed training continues."""
        return {"trained": self.trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count."""
        self.trained = state_dict["trained"]


def _of_all(trainer: Trainer, count: int) -> int:
    """Sum over all processes."""
    return int(trainer.strategy.reduce(torch.tensor(count, device=trainer.strategy.root_device), reduce_op="sum"))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s were' if count > 1 else ' was'}"
