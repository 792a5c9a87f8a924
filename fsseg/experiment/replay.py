"""A finished test, looked at again: its episodes as tensors, their predictions, their pictures."""

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
from fsseg.results.rows import Row, read_rows
from fsseg.results.table_file import read_table
from fsseg.results.test_facts import Tested, TestedCheckpoint
from fsseg.runs import folders
from fsseg.runs.library_errors import plain_errors, quieten
from fsseg.untrusted.configuration import stored_file

_FILES = ("config.yaml", "episodes.json", "rows.csv", "table.json")
# One process, and nothing written; what decides the numbers, such as the precision, stays as it was.
_QUIET = (
    "--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto", "--trainer.logger=false",
    "--trainer.enable_progress_bar=false", "--trainer.callbacks=null",
)  # fmt: skip


class Query(NamedTuple):
    """A query of a test, and how well it was segmented.

    Attributes:
        run: number of the run.
        number: of the episode within the run.
        query: place of the query within the episode.
        iou: sum of intersections over sum of unions of the ways, in percent; NaN where neither mask nor prediction
            show any.
        ways: IoU of each way, likewise.
        image: name of the query.
        classes: class id of each way.
    """

    run: int
    number: int
    query: int
    iou: float
    ways: tuple[float, ...]
    image: str
    classes: tuple[int, ...]


class Replay:
    """The test of a folder, built again from its configuration, its episodes and its checkpoint.

    Args:
        folder: that `fsseg test` wrote.
        root: folder of the data set, where it is another than the test's.

    Attributes:
        tested: what was tested.
        rows: of ``rows.csv``.
        method: in eval mode, on the device of `fsseg test`.
        data: set up for the test.

    Raises:
        FssegError: the folder is no whole test, or the checkpoint or data are gone or others by now.
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
        self._strategy, self._precision = built.trainer.strategy, built.trainer.precision_plugin
        loader = self.data.test_dataloader()
        self._source: Episodes = loader.dataset.source  # type: ignore[attr-defined]
        episodes = (stored.get("data") or {}).get("episodes") or {}
        if episodes.get("test_file") is None:  # a list would forget the seed, which weak annotations hang on
            self._source.seed = settled.protocol.seed
        self._loader = loader

    def batch(self, run: int, number: int) -> Batch:
        """An episode, on the CPU.

        Raises:
            FssegError: the test has no such episode.
        """
        runs, episodes = self.data.protocol.runs, self.data.protocol.episodes
        if not (0 <= run < runs and 0 <= number < episodes):
            raise FssegError(
                f"{self.folder} has runs 0 to {runs - 1} of episodes 0 to {episodes - 1}, no episode {number} of "
                f"run {run}."
            )
        return collate([self._source[Key(run, number)]])

    def batches(self) -> Iterator[Batch]:
        """All episodes of the test, on the method's device, in its batches."""
        for batch in self._loader:
            yield self.on_device(batch)

    def on_device(self, batch: Batch) -> Batch:
        """A batch where the method is."""
        return Batch(*(tensor.to(self._strategy.root_device) for tensor in batch))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Without gradients, and at the precision of the test."""
        with torch.inference_mode(), self._precision.forward_context():
            yield

    def prediction(self, batch: Batch) -> torch.Tensor:
        """Predicted episode labels ``B Q H W``, on the CPU, at the precision of the test."""
        with self.running():
            return self.method(self.on_device(batch)).argmax(2).cpu()  # type: ignore[no-any-return]

    def panel(self, run: int, number: int, query: int = 0) -> Panel:
        """An episode with one of its queries and its prediction, to be drawn.

        Raises:
            FssegError: see `batch`.
        """
        batch = self.batch(run, number)
        prediction = self.prediction(batch)
        iou = query_iou(*count(prediction, batch.query_mask, batch.classes.shape[1])[:2], 0, query)
        names = self.data.dataset.class_name, self.data.dataset.image_name
        return panel_of(batch, 0, query, *names, prediction, iou)

    def queries(self) -> list[Query]:
        """Queries of all episodes, in the order of the rows."""
        return queries_of(self.rows)


def read_test(folder: Path) -> Tested:
    """What a folder's test was of.

    Raises:
        FssegError: the folder is no whole test.
    """
    if not folder.is_dir():
        raise FssegError(f"{folder}: no such folder. The folder of a test is needed, e.g. runs/quickstart/fold0/test.")
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        inside = folder / "test"
        mend = f"Did you mean {inside}?" if inside.is_dir() else "Give the folder that `fsseg test` wrote."
        raise FssegError(f"{folder} is no test: {missing[0]} is missing. {mend}")
    return read_table(folder).tested


def queries_of(rows: list[Row]) -> list[Query]:
    """Rows of a test, query by query.

    Raises:
        FssegError: they do not follow each other as a test writes them.
    """
    episodes: dict[tuple[int, int], list[list[Row]]] = {}
    for row in rows:  # a query's rows stand together, background first
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
    """What `fsseg test` builds, with the checkpoint's weights in it, on its device."""
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
    """Options in which the replay differs from the test's configuration."""
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
    """The test's checkpoint; beside the test, where a run has moved with its tests."""
    recorded = Path(checkpoint.path)
    beside = folder.resolve().parent / recorded.name
    for path in (recorded, beside):
        if path.is_file():
            return path
    raise FssegError(f"{folder} tested {recorded}, which is gone. Put it back, or beside the test as {beside}.")


def _refuse_other_step(tested: Tested, settled: Configuration) -> None:
    """Refuse a ``last.ckpt`` that went on after the test."""
    if tested.checkpoint and settled.card and tested.checkpoint.step != settled.step:
        raise FssegError(
            f"the test was of step {tested.checkpoint.step:,}, its checkpoint is at step {settled.step:,} by now. "
            f"Test again: fsseg test --ckpt_path {settled.options.ckpt_path}."
        )
