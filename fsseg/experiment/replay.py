"""Rebuilds a finished test: its episodes as tensors, their predictions, their panels."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fsseg.episode import BACKGROUND, Batch
from fsseg.episodes import EpisodeData
from fsseg.episodes.loading import Episodes, collate
from fsseg.episodes.sampler import Key
from fsseg.errors import FssegError
from fsseg.experiment.configuration import Configuration, read
from fsseg.experiment.objects import Objects, build
from fsseg.iou import percent
from fsseg.methods import Method
from fsseg.metrics import count
from fsseg.plots.episodes import Panel, panel_of, query_iou
from fsseg.refinement import Refinement
from fsseg.results.rows import Row, read_rows
from fsseg.results.table_file import read_table
from fsseg.results.test_facts import Tested, TestedCheckpoint
from fsseg.runs import folders
from fsseg.runs.library_errors import plain_errors, quieten
from fsseg.untrusted.configuration import stored_file

_FILES = ("config.yaml", "episodes.json", "rows.csv", "table.json")
# One process that writes nothing; options that decide the numbers, such as the precision, stay.
_QUIET = (
    "--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto", "--trainer.logger=false",
    "--trainer.enable_progress_bar=false", "--trainer.callbacks=null",
)  # fmt: skip


class Query(NamedTuple):
    """A query of a test and its IoU.

    Attributes:
        run: Number of the run.
        number: Number of the episode within the run.
        query: Position of the query within the episode.
        iou: Sum of intersections over sum of unions of the ways, in percent; NaN if neither mask nor prediction shows
            a way.
        ways: IoU of each way in percent; NaN likewise.
        image: Name of the query image.
        classes: Class id of each way.
    """

    run: int
    number: int
    query: int
    iou: float
    ways: tuple[float, ...]
    image: str
    classes: tuple[int, ...]


class Replay:
    """A finished test, rebuilt from its configuration, its episodes and its checkpoint.

    Args:
        folder: Folder of `fsseg test`.
        root: Folder of the data set, if it has moved since the test.

    Attributes:
        tested: Facts of the test.
        rows: Rows of ``rows.csv``.
        method: The method in eval mode, on the device of `fsseg test`.
        data: Data module, set up for the test.

    Raises:
        FssegError: The folder is no complete test, or checkpoint or data are missing or have changed.
    """

    def __init__(self, folder: Path, root: str | None = None) -> None:
        self.folder = folder
        self.tested = read_test(folder)
        self.rows = read_rows(folder / "rows.csv")
        stored = stored_file(folder / "config.yaml", folder.resolve().parent)
        settled, built = _build(_words(folder, self.tested, stored, root), stored)
        _refuse_other_step(self.tested, settled)
        self.data: EpisodeData = built.data
        self.method: Method = built.task.method
        self._tuning = built.task.fine_tuning()
        self._refinement = Refinement(self.method, built.data) if built.task.refine else None
        self._strategy, self._precision = built.trainer.strategy, built.trainer.precision_plugin
        loader = self.data.test_dataloader()
        self._source: Episodes = loader.dataset.source  # type: ignore[attr-defined]
        episodes = (stored.get("data") or {}).get("episodes") or {}
        if episodes.get("test_file") is None:  # weak annotations depend on the seed, which a list does not hold
            self._source.seed = settled.protocol.seed
        self._loader = loader

    def batch(self, run: int, number: int) -> Batch:
        """One episode as a batch on the CPU.

        Raises:
            FssegError: The test has no such episode.
        """
        runs, episodes = self.data.protocol.runs, self.data.protocol.episodes
        if not (0 <= run < runs and 0 <= number < episodes):
            raise FssegError(
                f"{self.folder} has runs 0 to {runs - 1} of episodes 0 to {episodes - 1}, no episode {number} of "
                f"run {run}."
            )
        return collate([self._source[Key(run, number)]])

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of the test on the method's device."""
        for batch in self._loader:
            yield self.on_device(batch)

    def on_device(self, batch: Batch) -> Batch:
        """The batch on the method's device."""
        return Batch(*(tensor.to(self._strategy.root_device) for tensor in batch))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context without gradients, at the precision of the test."""
        with torch.inference_mode(), self._precision.forward_context():
            yield

    def prediction(self, batch: Batch) -> torch.Tensor:
        """Predicted episode labels ``B Q H W``, on the CPU, at the precision of the test."""
        with self.running():
            shown = self.on_device(batch)
            logits: torch.Tensor = self._tuning.logits(shown) if self._tuning else self.method(shown)
            logits = self._refinement(logits, shown) if self._refinement else logits
            return logits.argmax(2).cpu()

    def panel(self, run: int, number: int, query: int = 0) -> Panel:
        """Panel of an episode with one query and its prediction.

        Raises:
            FssegError: See `batch`.
        """
        batch = self.batch(run, number)
        prediction = self.prediction(batch)
        iou = query_iou(*count(prediction, batch.query_mask, batch.classes.shape[1])[:2], 0, query)
        names = self.data.dataset.class_name, self.data.dataset.image_name
        return panel_of(batch, 0, query, *names, prediction, iou)

    def queries(self) -> list[Query]:
        """Queries of all episodes in the order of the rows."""
        return queries_of(self.rows)


def read_test(folder: Path) -> Tested:
    """Facts of a finished test.

    Raises:
        FssegError: The folder is no complete test.
    """
    if not folder.is_dir():
        raise FssegError(f"{folder}: no such folder. The folder of a test is needed, e.g. runs/quickstart/fold0/test.")
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        inside = folder / "test"
        fix = f"Did you mean {inside}?" if inside.is_dir() else "Give the folder that `fsseg test` wrote."
        raise FssegError(f"{folder} is no test: {missing[0]} is missing. {fix}")
    return read_table(folder).tested


def queries_of(rows: list[Row]) -> list[Query]:
    """Queries of a test from its rows.

    Raises:
        FssegError: The rows are not in the order that a test writes.
    """
    episodes: dict[tuple[int, int], list[list[Row]]] = {}
    for row in rows:  # the rows of a query are consecutive, background first
        queries = episodes.setdefault((row.run, row.episode), [])
        if row.class_id == BACKGROUND:
            queries.append([])
        elif queries:
            queries[-1].append(row)
    if not all(ways for queries in episodes.values() for ways in queries):
        raise FssegError(
            "rows.csv has queries without a class, or in another order than `fsseg test` writes: test again."
        )
    return [_query(q, ways) for queries in episodes.values() for q, ways in enumerate(queries)]


def _query(place: int, ways: list[Row]) -> Query:
    counts = np.array([(way.intersection, way.union) for way in ways])
    every, each = float(percent(*counts.sum(0))), tuple(percent(*counts.T).tolist())
    classes = tuple(way.class_id for way in ways)
    return Query(ways[0].run, ways[0].episode, place, every, each, ways[0].query, classes)


def _build(words: list[str], stored: Mapping[str, Any]) -> tuple[Configuration, Objects]:
    """Build the objects of `fsseg test`, with the checkpoint's weights, on its device."""
    quieten()
    try:
        with plain_errors():
            settled = read("test", words, stored=stored)
            built = build(settled)
    finally:
        folders.forget()
    built.data.setup("test")
    if settled.card is not None:
        state = torch.load(settled.options.ckpt_path, map_location="cpu", weights_only=True)["state_dict"]
        built.task.load_state_dict(state)
    built.trainer.precision_plugin.convert_module(built.task)
    built.task.to(built.trainer.strategy.root_device).eval()
    return settled, built


def _words(folder: Path, tested: Tested, stored: Mapping[str, Any], root: str | None) -> list[str]:
    """Options that differ from the test's configuration."""
    path = _checkpoint_file(folder, tested.checkpoint) if tested.checkpoint else None
    accelerator = "cpu" if (stored.get("trainer") or {}).get("accelerator") == "cpu" else "auto"
    return [
        f"--data.episodes.test_file={folder / 'episodes.json'}",
        f"--trainer.accelerator={accelerator}",
        *_QUIET,
        *([f"--data.root={root}"] if root else []),
        *([f"--ckpt_path={path}"] if path else ["--untrained"]),
    ]


def _checkpoint_file(folder: Path, checkpoint: TestedCheckpoint) -> Path:
    """Path of the test's checkpoint; if a run was moved with its tests, the checkpoint beside the test."""
    recorded = Path(checkpoint.path)
    beside = folder.resolve().parent / recorded.name
    for path in (recorded, beside):
        if path.is_file():
            return path
    raise FssegError(f"{folder} tested {recorded}, which is missing. Put it back, or copy it to {beside}.")


def _refuse_other_step(tested: Tested, settled: Configuration) -> None:
    """Refuse a ``last.ckpt`` that was trained further after the test."""
    if tested.checkpoint and settled.card and tested.checkpoint.step != settled.step:
        raise FssegError(
            f"the test was of step {tested.checkpoint.step:,}, its checkpoint is now at step {settled.step:,}. "
            f"Test again: fsseg test --ckpt_path {settled.options.ckpt_path}."
        )
