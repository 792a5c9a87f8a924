"""Callbacks that log configuration, learning rate, episode pictures, tables and checkpoints to every logger."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from fsseg import atomic
from fsseg.episode import Batch
from fsseg.metrics import TestOutput
from fsseg.plots.episodes import Panel, draw_episodes
from fsseg.results.tables import Table
from fsseg.results.texts import as_markdown
from fsseg.runs.test_report import Report, panel

_PICTURES = 4  # drawn episodes of a validation; the same ones each time
_COLUMNS = ["class", "iou", "std", "queries"]


class LoggedFit(Callback):
    """Logs a training's configuration, learning rate, validation episodes and, if requested, checkpoints.

    The `Task` logs losses and metrics.

    Args:
        config: Content of config.yaml.
        folder: Folder of the run.
    """

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config, self.folder = config, folder
        self.panels: list[Panel] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the configuration."""
        for logger in trainer.loggers:
            logger.log_hyperparams(self.config)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log the step's learning rate."""
        pl_module.log("lr", pl_module.learning_rate, batch_size=1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the episodes of the previous validation."""
        self.panels = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: TestOutput,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the first episodes."""
        if not trainer.is_global_zero or trainer.sanity_checking or len(self.panels) >= _PICTURES:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        shown = data.with_pixels(batch)
        for b in range(len(batch.run)):
            if len(self.panels) < _PICTURES and batch.number[b] >= 0:
                self.panels.append(panel(data.dataset, shown, outputs, b))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and log the collected episodes."""
        if self.panels and not trainer.fast_dev_run:
            picture = draw_episodes(self.panels)
            for logger in trainer.loggers:
                log_picture(logger, "val/episodes", picture, trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Upload the last and the best checkpoint to W&B if its logger has ``log_model``."""
        for logger in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(logger, WandbLogger) and logger._log_model:
                for kind in ("best", "last"):
                    if (path := self.folder / f"{kind}.ckpt").is_file():
                        log_checkpoint(logger, path, kind, trainer.global_step)


class LoggedTest(Callback):
    """Logs a test's numbers, table and episodes.

    Args:
        loggers: Loggers of the test; the trainer has none, because it would log at step 0.
        report: Report of the test; its callback runs before this one.
        config: Configuration of the test.
        step: Step of the checkpoint.
        key: Prefix of all logged names.
    """

    def __init__(self, loggers: Sequence[Logger], report: Report, config: dict[str, Any], step: int, key: str) -> None:
        self.loggers, self.report, self.config, self.step, self.key = loggers, report, config, step, key

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the report's numbers, table and episodes."""
        table = self.report.table
        if table is None:  # only the first process has the table
            return
        scores = {f"iou/{line.name}": line.iou for line in table.classes}
        scores |= {"mean_iou": table.mean_iou, "binary_iou": table.binary_iou}
        numbers = {f"{self.key}/{name}": s.mean / 100 for name, s in scores.items() if not np.isnan(s.mean)}
        sheet = draw_episodes(self.report.panels) if self.report.panels else None
        for logger in self.loggers:
            logger.log_hyperparams({self.key: self.config})
            logger.log_metrics(numbers, step=self.step)
            log_table(logger, f"{self.key}/table", table, self.step)
            if sheet is not None:
                log_picture(logger, f"{self.key}/episodes", sheet, self.step)
            logger.finalize("success")


def log_picture(logger: Logger, key: str, picture: PIL.Image.Image, step: int) -> None:
    """Log a picture; CSVLogger gets a file ``pictures/KEY-stepSTEP.png`` beside its metrics.csv."""
    if isinstance(logger, WandbLogger):
        logger.log_image(key, [picture], step=step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(key, np.asarray(picture), step, dataformats="HWC")
    elif isinstance(logger, CSVLogger):
        folder = Path(logger.log_dir) / "pictures"
        atomic.make_folder(folder)
        atomic.save(folder / f"{key.replace('/', '-')}-step{step:06}.png", partial(picture.save, format="PNG"))


def log_table(logger: Logger, key: str, table: Table, step: int) -> None:
    """Log a test's table: a W&B table with the numbers of table.json, or text for TensorBoard."""
    if isinstance(logger, WandbLogger):
        logger.log_table(key, columns=_COLUMNS, data=table_lines(table), step=step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text(key, as_markdown(table), step)


def table_lines(table: Table) -> list[list[Any]]:
    """Rows of class, IoU, deviation, queries; mean-IoU and binary-IoU last. IoU in percent; None if undefined."""
    every = sum(line.queries for line in table.classes)
    lines = [(line.name, line.iou, line.queries) for line in table.classes]
    lines += [("mean-IoU", table.mean_iou, every), ("binary-IoU", table.binary_iou, every)]
    return [[name, *(None if np.isnan(value) else value for value in score), count] for name, score, count in lines]


def log_checkpoint(logger: WandbLogger, path: Path, kind: str, step: int) -> None:
    """Upload a checkpoint as an artifact of the W&B run, with the name that Lightning gives ModelCheckpoint's files."""
    import wandb

    artifact = wandb.Artifact(f"model-{logger.version}", type="model", metadata={"step": step, "kind": kind})
    artifact.add_file(str(path), name=path.name)
    logger.experiment.log_artifact(artifact, aliases=[kind])
