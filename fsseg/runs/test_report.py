"""Callback that collects a test's rows and pictures and writes its result files."""

import logging
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer

from fsseg import atomic
from fsseg.datasets import Dataset
from fsseg.episode import Batch, Episode
from fsseg.episodes.draw import Draw
from fsseg.episodes.episode_file import as_text as as_list
from fsseg.episodes.sampler import Key
from fsseg.episodes.unreadable import skipped
from fsseg.metrics import TestOutput
from fsseg.plots.episodes import Panel, draw_episodes, panel_of, query_iou
from fsseg.results.rows import Row, batch_rows, write_rows
from fsseg.results.stream import Stream, Streamed
from fsseg.results.table_file import NAME, table_text
from fsseg.results.tables import Table, make_table
from fsseg.results.test_facts import Tested
from fsseg.results.texts import as_markdown, as_text
from fsseg.runs.partial_test import ROWS

_log = logging.getLogger(__name__)

_PICTURES, _PER_CLASS = 10, 2


class Report(Callback):
    """Writes rows.csv, table.md, table.json, episodes.json and episodes.png.

    Args:
        tested: Facts of the test.
        dataset: Data set, for the names of images and classes.
        folder: Folder of the results.
        taken: Rows of the same test that was stopped before, which this test resumes.
    """

    def __init__(self, tested: Tested, dataset: Dataset, folder: Path, taken: Streamed | None = None) -> None:
        self.tested, self.dataset, self.folder = tested, dataset, folder
        self.expected = tested.protocol.runs * tested.protocol.episodes  # episodes of the complete test
        self.stream = Stream(folder / ROWS, taken)
        self.panels: list[Panel] = []
        self._shown: Counter[int] = Counter()
        self.table: Table | None = None

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: TestOutput, batch: Batch, batch_idx: int
    ) -> None:
        """Write the rows, and collect a few episodes of each class for the picture."""
        with atomic.writing(self.stream.path):
            self.stream.add(
                batch_rows(batch, outputs.counts, outputs.presence), [(key.run, key.number) for key in skipped(batch)]
            )
        for b in range(len(batch.run)):
            classes = batch.classes[b].tolist()
            if len(self.panels) < _PICTURES and all(self._shown[c] < _PER_CLASS for c in classes):
                self._shown.update(classes)
                shown = trainer.datamodule.with_pixels(batch)  # type: ignore[attr-defined]
                self.panels.append(panel(self.dataset, shown, outputs, b))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the rows of all processes and write the result files."""
        streamed = [self.stream.read()]
        if dist.is_available() and dist.is_initialized():
            parts: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, streamed[0])
            streamed = parts
        if not trainer.is_global_zero:
            self.close()
            return
        rows = sorted((row for part in streamed for row in part.rows), key=lambda row: row[:2])
        draw: Draw = trainer.test_dataloaders.dataset.source.episode  # type: ignore[union-attr]
        episodes = {key: draw(Key(*key)) for key in sorted({(row.run, row.episode) for row in rows})}
        self._note(rows, len(episodes), len({key for part in streamed for key in part.left}))
        rows = [self._named(row) for row in rows]
        self.table = make_table(self.tested, rows)
        with atomic.write(self.folder / "rows.csv") as part:
            write_rows(rows, part, self.tested.columns)
        atomic.write_text(self.folder / "table.md", as_markdown(self.table))
        atomic.write_text(self.folder / NAME, table_text(self.table))
        atomic.write_text(self.folder / "episodes.json", self._listed(episodes))
        self._draw()

    def close(self) -> None:
        """Delete the file of partial rows, once the result files are written."""
        self.stream.remove()

    def _note(self, rows: list[Row], episodes: int, left: int) -> None:
        """Add notes about missing episodes and classes to the table."""
        notes = []
        if episodes < self.expected:
            notes.append(f"only {episodes:,} of {self.expected:,} episodes were tested")
        if left:
            were = "1 episode was" if left == 1 else f"{left:,} episodes were"
            notes.append(f"{were} left out: images cannot be read (`data.loading.unreadable_images` skip)")
        drawn = {row.class_id for row in rows} & self.tested.classes.keys()
        if len(drawn) < len(self.tested.classes):
            notes.append(f"{len(drawn)} of {len(self.tested.classes)} classes have queries; the mean is over these")
        self.tested = replace(self.tested, notes=(*self.tested.notes, *notes))

    def _listed(self, episodes: dict[tuple[int, int], Episode]) -> str:
        """Content of episodes.json, from episodes by run and number, in order."""
        runs = [[e for key, e in episodes.items() if key[0] == r] for r in range(self.tested.protocol.runs)]
        return as_list(self.dataset, [run for run in runs if run], str(self.tested.protocol))

    def _draw(self) -> None:
        """Write the picture; a test is finished even if drawing fails."""
        path = self.folder / "episodes.png"
        try:
            atomic.save(path, partial(draw_episodes(self.panels).save, format="PNG"))
        except Exception as error:  # no error here may lose hours of testing
            _log.warning(f"no episodes.png, {error} `fsseg look` draws episodes of a finished test.")

    def text(self, folder: Path) -> str:
        """Text for the terminal, with the files' final paths."""
        if self.table is None:
            return ""
        files = {
            "rows": ("rows.csv",),
            "table": ("table.md", NAME),
            "episodes": ("episodes.json", "episodes.png"),
        }
        there = {what: [folder / name for name in names if (folder / name).is_file()] for what, names in files.items()}
        lines = [f"  {what:10}{'  '.join(map(str, paths))}" for what, paths in there.items()]
        return "\n".join(["", as_text(self.table), "", *lines])

    def _named(self, row: Row) -> Row:
        """Replace image numbers by names, and add the protocol's name."""
        support = " ".join(self.dataset.image_name(int(i)) for i in row.support.split())
        query = self.dataset.image_name(int(row.query))
        return row._replace(support=support, query=query, protocol=str(self.tested.protocol))


def panel(dataset: Dataset, batch: Batch, outputs: TestOutput, b: int) -> Panel:
    """Panel of episode ``b`` of a batch with its prediction."""
    counts = outputs.counts
    names = dataset.class_name, dataset.image_name
    return panel_of(batch, b, 0, *names, outputs.prediction, query_iou(counts.intersection, counts.union, b, 0))
