"""Ten queries of novel classes before and after a training, on photographs of COCO under CC BY.

python benchmarks/photographs/before_after.py COCO OUT.jpg --folds 0 1 2 3 --tests BENCHMARK... [--queries 10]

Each BENCHMARK is a finished `fsseg benchmark` with one shot, e.g. the untrained prototypes and a trained head. Queries
are chosen without a look at any prediction: of each class in the order of the folds, the first episode whose support
and query are both under CC BY 2.0, without persons, and of whose query the class covers at least 1 %; then the second
one of each class.
Prints the mean IoU of each test over the queries, and the addresses of the photographs, for their credit.
"""

import argparse
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from picture import addresses, with_persons

from fsseg.datasets import Coco
from fsseg.experiment.replay import Replay
from fsseg.plots.side_by_side import draw_side_by_side

_SHARE = 0.01  # of the query's pixels
_LARGEST = 400_000  # bytes of the file


class Episode(NamedTuple):
    """An episode with one support and one query."""

    fold: int
    run: int
    episode: int
    support: str
    query: str


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("coco", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", nargs="+", type=int, required=True)
    parser.add_argument("--tests", nargs="+", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=10)
    given = parser.parse_args()
    address = addresses(given.coco)
    replays = {fold: [Replay(test_of(test, fold), str(given.coco)) for test in given.tests] for fold in given.folds}
    data = replays[given.folds[0]][0].data.dataset
    assert isinstance(data, Coco)
    free = set(address) - {data.image_name(int(number)) for number in np.flatnonzero(with_persons(data))}
    by_class = [found for fold in given.folds for found in candidates(fold, replays[fold][0], free)]
    chosen = [one for turn in zip_longest(*by_class) for one in turn if one is not None][: given.queries]
    rows = [[replay.panel(one.run, one.episode) for replay in replays[one.fold]] for one in chosen]
    names = [replay.tested.setting.label for replay in replays[given.folds[0]]]
    draw_side_by_side(rows, names).save(given.out, quality=70, optimize=True)
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        print(f"{name}: mean IoU {sum(panel.iou[0] for panel in column) / len(column):.1f}")
    print(*sorted({address[name] for one in chosen for name in (one.support, one.query)}), sep="\n")
    assert given.out.stat().st_size <= _LARGEST


def test_of(benchmark: Path, fold: int) -> Path:
    """The folder of a fold's test with one shot."""
    (found,) = benchmark.glob(f"fold{fold}-*/test-1shot")
    return found


def candidates(fold: int, replay: Replay, free: set[str]) -> list[list[Episode]]:
    """Episodes of each novel class whose photographs are free to be shown, with distinct queries."""
    found: dict[int, dict[str, Episode]] = {}
    for row in replay.rows:
        if row.class_id == row.query_class and {row.support, row.query} <= free and row.truth >= _SHARE * row.pixels:
            one = Episode(fold, row.run, row.episode, row.support, row.query)
            found.setdefault(row.class_id, {}).setdefault(row.query, one)
    return [list(found[number].values()) for number in sorted(found)]


if __name__ == "__main__":
    main()
