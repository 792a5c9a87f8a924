"""`fsseg look`: draws episodes of a test, the similarity to each prototype, or the same queries by several tests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsseg import atomic, limits
from fsseg.cli.options import MOVED, Options
from fsseg.errors import FssegError
from fsseg.runs import folders
from fsseg.runs.lock import locked

if TYPE_CHECKING:
    from fsseg.experiment.replay import Query, Replay
    from fsseg.plots.prototypes import Seen


def options() -> Options:
    """The command's options."""
    made = Options("look")
    folder = "folders of `fsseg test`; several show the same queries"
    made.option("folders", Path, folder, nargs="+", metavar="TEST_FOLDER")
    made.option("--count", int, "best, median and worst episodes each (3), or queries of several tests (10)")
    made.option("--out", Path, "folder of the pictures (default: look/ in the first test's folder)", metavar="DIR")
    made.option("--data.root", str, MOVED, dest="root", metavar="DIR")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``look``; return the exit code.

    Raises:
        FssegError: An option is wrong, or the test cannot be rebuilt.
    """
    given = options().read(arguments)
    several = len(given.folders) > 1
    count = (10 if several else 3) if given.count is None else given.count
    limits.check({"count": count}, {"count": limits.PICTURES}, "--{}")
    out = folders.empty(given.out) if given.out else folders.fresh(given.folders[0] / "look")
    from fsseg.experiment.replay import Replay  # imports torch

    replays = [Replay(folder, given.root) for folder in given.folders]
    if several:
        shared = same_queries([replay.queries() for replay in replays], given.folders, count)
        with locked(out), folders.result_folder(out) as part:
            names = write_side_by_side(replays, shared, part)
    else:
        chosen = choose(replays[0].queries(), count)
        with locked(out), folders.result_folder(out) as part:
            names = write(replays[0], chosen, part)
    for what, name in names.items():
        print(f"  {what:15}{out / name}")
    if len(names) == 1 and not several:
        print(f"  {type(replays[0].method).__name__} has no prototypes to show.")
    return 0


def same_queries(tests: Sequence[Sequence[Query]], names: Sequence[Path], count: int) -> list[Query]:
    """The first queries of the first test, with distinct images and equally many of each class.

    Args:
        tests: queries of each test.
        names: folder of each test, for the error.
        count: number of queries; fewer if the test has fewer.

    Raises:
        FssegError: A test has other episodes.
    """
    keys = [{(q.run, q.number, q.query, q.image, q.classes) for q in queries} for queries in tests]
    for name, other in zip(names, keys, strict=True):
        if other != keys[0]:
            raise FssegError(
                f"{name} has other episodes than {names[0]}: give tests of one fold, protocol and number of shots."
            )
    by_class: dict[tuple[int, ...], list[Query]] = {}
    for query in _apart(tests[0], len(tests[0])):
        by_class.setdefault(query.classes, []).append(query)
    turns = [query for turn in zip_longest(*by_class.values()) for query in turn if query is not None]
    return turns[:count]


def write_side_by_side(replays: Sequence[Replay], queries: Sequence[Query], folder: Path) -> dict[str, str]:
    """Draw the same queries by several tests; return the file's name by content."""
    from fsseg.plots.side_by_side import draw_side_by_side

    rows = []
    for number, query in enumerate(queries, 1):
        print(f"drawing query {number} of {len(queries)}", file=sys.stderr, flush=True)
        rows.append([replay.panel(query.run, query.number, query.query) for replay in replays])
    labels = [replay.tested.setting.label for replay in replays]
    same = len(set(labels)) < len(labels)
    names = [f"{label} {replay.folder}" if same else label for label, replay in zip(labels, replays, strict=True)]
    atomic.save(folder / "side_by_side.png", partial(draw_side_by_side(rows, names).save, format="PNG"))
    return {"side by side": "side_by_side.png"}


def choose(queries: Sequence[Query], count: int) -> dict[str, list[Query]]:
    """The best, the median and the worst queries; each section has distinct images and classes.

    Raises:
        FssegError: No query has an IoU.
    """
    known = sorted((query for query in queries if not np.isnan(query.iou)), key=lambda query: query.iou)
    if not known:
        raise FssegError("no query of this test has an IoU: neither masks nor predictions show a class.")
    middle = (len(known) - 1) / 2
    by_middle = sorted(range(len(known)), key=lambda place: abs(place - middle))
    orders = {"best": known[::-1], "median": [known[place] for place in by_middle], "worst": known}
    return {name: _apart(order, count) for name, order in orders.items()}


def _apart(order: Sequence[Query], count: int) -> list[Query]:
    found: dict[tuple[str, tuple[int, ...]], Query] = {}
    for query in order:
        found.setdefault((query.image, query.classes), query)
        if len(found) == count:
            break
    return list(found.values())


def write(replay: Replay, chosen: dict[str, list[Query]], folder: Path) -> dict[str, str]:
    """Draw the pictures; return their file names by content."""
    from fsseg.methods import Method
    from fsseg.plots.episodes import draw_sections
    from fsseg.plots.prototypes import draw_probabilities, draw_regions

    print("drawing ...", file=sys.stderr, flush=True)
    panels = [
        (_heading(name, queries), [replay.panel(q.run, q.number, q.query) for q in queries])
        for name, queries in chosen.items()
    ]
    names = {"episodes": "best_median_worst.png"}
    atomic.save(folder / names["episodes"], partial(draw_sections(panels).save, format="PNG"))
    if type(replay.method).explain is Method.explain:
        return names
    firsts = [(_heading(name, queries[:1]), queries[0]) for name, queries in chosen.items()]
    seen = [seen for heading, query in firsts for seen in seen_in(replay, query, heading)]
    names |= {"probabilities": "probabilities.png", "regions": "regions.png"}
    atomic.save(folder / names["probabilities"], partial(draw_probabilities(seen).save, format="PNG"))
    atomic.save(folder / names["regions"], partial(draw_regions(seen).save, format="PNG"))
    return names


def seen_in(replay: Replay, query: Query, heading: str) -> list[Seen]:
    """Prototype maps of each way for a query; empty for a method without prototypes."""
    from fsseg.plots.prototypes import Seen

    batch = replay.on_device(replay.batch(query.run, query.number))
    with replay.running():
        support, queries = replay.method.features(batch)
        explanation = replay.method.explain(support, batch.support_mask, queries)
    if explanation is None:
        return []
    panel = replay.panel(query.run, query.number, query.query)
    probability, region = explanation.probability[0].float().cpu(), explanation.region[0].cpu()
    ways = range(len(panel.names))
    return [Seen(heading, panel, n, probability[n, query.query], region[n], explanation.foreground) for n in ways]


def _heading(name: str, queries: Sequence[Query]) -> str:
    low, high = min(query.iou for query in queries), max(query.iou for query in queries)
    return f"{name}: IoU {high:.0f}" if round(low) == round(high) else f"{name}: IoU {high:.0f} to {low:.0f}"
