"""Collects a test's rows and pictures, and writes what a person reads."""

import hashlib
import json
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
import yaml
from lightning import Callback, LightningModule, Trainer

from fsseg import atomic
from fsseg.datasets import Dataset
from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.episodes import EpisodeData
from fsseg.episodes.episode_file import as_text as as_list
from fsseg.episodes.option_roles import Decides
from fsseg.episodes.unreadable import skipped
from fsseg.plots.episodes import Panel, draw_episodes, panel_of, query_iou
from fsseg.results.published import Setting
from fsseg.results.rows import Row, batch_rows, write_rows
from fsseg.results.stream import Episodes, Stream, Streamed, episodes_of
from fsseg.results.tables import Table, Tested, make_table
from fsseg.results.texts import as_json, as_markdown, as_text
from fsseg.runs.identity import identity
from fsseg.runs.partial_test import ROWS
from fsseg.task import Task, TestOutput

_PICTURES, _PER_CLASS = 10, 2
_SHORT = {
    "last": "last",
    "base_val": "best on base classes",
    "novel_val": "best on novel classes",
    "by hand": "chosen by hand",
}
_RULES = {
    "last": "the last one",
    "base_val": "the best on base classes",
    "novel_val": "the best on the novel classes",
    "by hand": "a numbered one, chosen by hand",
}


class Report(Callback):
    """Writes rows.csv, table.md, table.json, episodes.json and episodes.png.

    Args:
        tested: what is tested.
        dataset: names images and classes.
        folder: to write into.
        taken: rows of an earlier test that was stopped, which this one goes on from.
    """

    def __init__(self, tested: Tested, dataset: Dataset, folder: Path, taken: Streamed | None = None) -> None:
        self.tested, self.dataset, self.folder = tested, dataset, folder
        self.expected = tested.protocol.runs * tested.protocol.episodes  # that make the test whole
        self.stream = Stream(folder / ROWS, taken)
        self.panels: list[Panel] = []
        self._shown: Counter[int] = Counter()
        self.table: Table | None = None

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: TestOutput, batch: Batch, batch_idx: int
    ) -> None:
        """Write the rows, and keep a few episodes of each class for the picture."""
        try:
            self.stream.add(batch_rows(batch, outputs.counts), [(key.run, key.number) for key in skipped(batch)])
        except OSError as error:
            raise atomic.failure(error, self.stream.path) from error
        for b in range(len(batch.run)):
            classes = batch.classes[b].tolist()
            if len(self.panels) < _PICTURES and all(self._shown[c] < _PER_CLASS for c in classes):
                self._shown.update(classes)
                shown = trainer.datamodule.with_pixels(batch)  # type: ignore[attr-defined]
                self.panels.append(panel(self.dataset, shown, outputs, b))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the rows of all processes together and write."""
        streamed = [self.stream.read()]
        if dist.is_available() and dist.is_initialized():
            parts: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, streamed[0])
            streamed = parts
        if not trainer.is_global_zero:
            self.close()
            return
        rows = sorted((row for part in streamed for row in part.rows), key=lambda row: row[:2])
        episodes = episodes_of(rows)
        self._note(rows, len(episodes), len({key for part in streamed for key in part.left}))
        rows = [self._named(row) for row in rows]
        self.table = make_table(self.tested, rows)
        with atomic.write(self.folder / "rows.csv") as part:
            write_rows(rows, part, self.tested.columns)
        atomic.write_text(self.folder / "table.md", as_markdown(self.table))
        atomic.write_text(self.folder / "table.json", as_json(self.table))
        atomic.write_text(self.folder / "episodes.json", self._listed(episodes))
        self._draw()

    def close(self) -> None:
        """Take the rows as they came away, once all that is made of them is written."""
        self.stream.remove()

    def _note(self, rows: list[Row], episodes: int, left: int) -> None:
        """Say below the table what is missing."""
        notes = []
        if episodes < self.expected:
            notes.append(f"only {episodes:,} of {self.expected:,} episodes were tested")
        if left:
            were = "1 episode was" if left == 1 else f"{left:,} episodes were"
            notes.append(f"{were} left out, as images cannot be read (--data.unreadable_images skip)")
        drawn = {row.class_id for row in rows} & self.tested.classes.keys()
        if len(drawn) < len(self.tested.classes):
            notes.append(f"{len(drawn)} of {len(self.tested.classes)} classes have queries; the mean is over these")
        self.tested = replace(self.tested, notes=(*self.tested.notes, *notes))

    def _listed(self, episodes: Episodes) -> str:
        """What goes into episodes.json."""
        runs = [[e for key, e in sorted(episodes.items()) if key[0] == r] for r in range(self.tested.protocol.runs)]
        return as_list(self.dataset, [run for run in runs if run], str(self.tested.protocol))

    def _draw(self) -> None:
        """The picture, without which a test is finished all the same."""
        path = self.folder / "episodes.png"
        try:
            atomic.save(path, partial(draw_episodes(self.panels).save, format="PNG"))
        except Exception as error:  # whatever it is, hours of testing stand against it
            print(f"note: no episodes.png, {error} `fsseg look` draws episodes of a finished test.", file=sys.stderr)

    def text(self, folder: Path) -> str:
        """What the terminal shows, once the files are under their final name."""
        if self.table is None:
            return ""
        files = {
            "rows": ("rows.csv",),
            "table": ("table.md", "table.json"),
            "episodes": ("episodes.json", "episodes.png"),
        }
        there = {what: [folder / name for name in names if (folder / name).is_file()] for what, names in files.items()}
        lines = [f"  {what:10}{'  '.join(map(str, paths))}" for what, paths in there.items()]
        return "\n".join(["", as_text(self.table), "", *lines])

    def _named(self, row: Row) -> Row:
        """Image numbers to names, and the protocol's name."""
        support = " ".join(self.dataset.image_name(int(i)) for i in row.support.split())
        query = self.dataset.image_name(int(row.query))
        return row._replace(support=support, query=query, protocol=str(self.tested.protocol))


def panel(dataset: Dataset, batch: Batch, outputs: TestOutput, b: int) -> Panel:
    """Episode ``b`` of a batch with what was predicted, to be drawn."""
    counts = outputs.counts
    names = dataset.class_name, dataset.image_name
    return panel_of(batch, b, 0, *names, outputs.prediction, query_iou(counts.intersection, counts.union, b, 0))


def describe(
    model: Task,
    data: EpisodeData,
    ckpt_path: str | None,
    card: dict[str, Any] | None,
    seed: int,
    precision: str,
) -> Tested:
    """What is about to be tested; without a card the method as it starts, from the seed."""
    names = {c: data.dataset.class_name(c) for c in data.novel}
    method = model.method
    name = method.name if card else f"{type(method).__name__}-init"
    annotation = data.test_support_annotation
    setting = Setting(name, _encoder(method.encoder, card), data.dataset.name, data.way, data.test_shot, annotation)
    chosen = card.get("selection", "by hand") if card else None
    origin = f"{ckpt_path} (step {card['step']:,}, {_SHORT[chosen]})" if card and chosen else "untrained"
    details = [
        *(["boxes of random instances"] if annotation == "box" and data.box_instance == "random" else []),
        *([f"{data.query} queries"] if data.query > 1 else []),
        *(["supports padded to the largest"] if data.protocol.size == "own" and data.way * data.test_shot > 1 else []),
        *([] if precision.startswith("32") else [f"precision {precision}"]),
    ]
    notes = [note for note in (data.dataset.note, _pairs_note(data)) if note]
    if data.skipped:
        notes.append("too few images, left out: " + ", ".join(names[c] for c in data.skipped))
    notes += _training_notes(data, card, chosen) if card and chosen else []
    trained = yaml.safe_load(card["config"]) if card else None
    return Tested(
        setting,
        data.fold,
        names,
        origin,
        data.protocol,
        data.pair_count,
        tuple(details),
        tuple(notes),
        chosen,
        int(trained["seed_everything"] if trained else seed),
        trained["data"]["shot"] if trained else None,
        recipe(trained) if trained else "",
        data.dataset.folds,
        str(Path(ckpt_path).resolve()) if ckpt_path and card else None,
    )


_EACH = ("fold", "shot", "seed")  # what trainings of one recipe may differ in


def recipe(config: dict[str, Any]) -> str:
    """Six digits that differ wherever two trainings differ in more than fold, shots, seed and machine."""
    found = identity(config, Decides.TRAINING | Decides.LENGTH)
    data = {name: value for name, value in found["data"].items() if name not in _EACH}
    text = json.dumps([found["model"], data, found["trainer"]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _training_notes(data: EpisodeData, card: dict[str, Any], chosen: str) -> list[str]:
    """Where the checkpoint's training is not what the protocol has, which a test cannot change."""
    notes, protocol = [], data.protocol
    if chosen == "novel_val":
        notes.append("the checkpoint was chosen on the novel classes, so that they are not new to it: expect less")
    if chosen != protocol.selection:
        notes.append(f"the protocol tests {_RULES[protocol.selection]}; this checkpoint is {_RULES[chosen]}")
    dropped = "drop" if yaml.safe_load(card["config"])["data"].get("drop_novel") else "keep"
    if dropped != protocol.base_images:
        did, does = ("left out", "keeps them") if dropped == "drop" else ("kept", "leaves them out")
        notes.append(f"the training {did} images that show a novel class; the protocol {does}")
    if protocol.split == "train" and dropped == "keep" and card["dataset"] == data.dataset.name:
        notes.append("tested images are of the train split; those that show a base class too may have been trained on")
    return notes


def _pairs_note(data: EpisodeData) -> str:
    return data.dataset.pairs_note if data.protocol.pairs == "official" else ""


def _encoder(encoder: Encoder, card: dict[str, Any] | None) -> str:
    """Name of an encoder; published numbers are of ImageNet weights, so other starts are part of the name."""
    weights = encoder.weights
    if card is not None and weights is not None:  # where the checkpoint's training began, whatever is asked for now
        trained = yaml.safe_load(card["config"])["model"]["method"]["init_args"]["encoder"]
        weights = (trained.get("init_args") or {}).get("weights", weights)
    if weights in (None, "imagenet"):
        return encoder.name
    return f"{encoder.name} ({'random start' if weights == 'none' else Path(str(weights)).name})"
