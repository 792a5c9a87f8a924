"""Folders of tests with made-up counts, as `fsseg test` writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fsseg.protocols.protocol import Chosen, Protocol
from fsseg.results.published import Setting
from fsseg.results.rows import Row, write_rows
from fsseg.results.table_file import table_text
from fsseg.results.tables import make_table
from fsseg.results.test_facts import Tested, TestedCheckpoint

PIXELS = 1000
PANETS = Protocol(name="panet", runs=2, episodes=12)


def made_up_rows(fold: int, number: int, runs: int = 2, episodes: int = 12) -> list[Row]:
    """Rows of 1-way episodes over five classes; the number decides the predictions, not the episodes."""
    drawn, predicted = np.random.default_rng(fold), np.random.default_rng([fold, number])
    rows = []
    for run in range(runs):
        for episode in range(episodes):
            class_id = int(5 * fold + 1 + drawn.integers(5))
            truth = int(drawn.integers(50, 400))
            support, query = (str(drawn.integers(100)) for _ in range(2))
            found = int(predicted.integers(0, truth))
            false = int(predicted.integers(0, 200))
            own = Row(run, episode, class_id, class_id, found, truth + false, truth, PIXELS, support, query)
            back = PIXELS - truth
            union = back + truth - found
            rows += [Row(run, episode, 0, class_id, back - false, union, back, PIXELS, support, query), own]
    return rows


def make_test(
    folder: Path,
    method: str = "PANet",
    encoder: str = "VGG16",
    dataset: str = "PASCAL-5i",
    way: int = 1,
    shot: int = 1,
    annotation: str = "mask",
    fold: int = 0,
    seed: int = 0,
    trained_shot: int | None = 1,
    training: str = "abc123",
    number: int = 0,
    protocol: Protocol = PANETS,
    episodes: int = 12,
    selection: Chosen = "last",
    departures: Mapping[str, str] = {},
    **more: Any,
) -> Path:
    """A finished test."""
    folder.mkdir(parents=True)
    checkpoint = TestedCheckpoint("last.ckpt", "/gone/last.ckpt", 3, selection)
    tested = Tested(
        Setting(method, encoder, dataset, way, shot, annotation, departures), fold,
        {c: f"class {c}" for c in range(5 * fold + 1, 5 * fold + 6)}, checkpoint, protocol, 100,
        seed=seed, trained_shot=trained_shot, training=training, **more,
    )  # fmt: skip
    rows = made_up_rows(fold, number, episodes=episodes)
    write_rows(rows, folder / "rows.csv", tested.columns)
    (folder / "table.json").write_text(table_text(make_table(tested, rows)))
    return folder
