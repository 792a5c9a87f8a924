"""`fsseg compare`: two tests, paired over the same episodes."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fsseg.benchmark.compare import Comparison, compare, comparison_text
from fsseg.benchmark.results import find_results
from fsseg.benchmark.texts import without_nan
from fsseg.cli import folders
from fsseg.cli.options import Options
from fsseg.cli.replay import Replay
from fsseg.errors import FssegError
from fsseg.pictures import Panel, draw_sections


def run(arguments: Sequence[str]) -> int:
    """Compare; returns the exit code.

    Raises:
        FssegError: an option is wrong, or the tests are not of the same episodes.
    """
    options = Options("compare")
    options.add_argument("tests", nargs=2, type=Path)
    options.add_argument("--out", type=Path, default=None)
    options.add_argument("--count", type=int, default=6)
    options.add_argument("--data.root", dest="root", default=None)
    given = options.parse_intermixed_args(list(arguments))
    if given.count < 0:
        raise FssegError(f"compare: --count {given.count}: a number from 0 on is needed.")
    out = folders.empty(given.out) if given.out else None
    first, second = (find_results([folder]) for folder in given.tests)
    comparison = compare(first, second)
    names = tuple(f"{results[0].tested.setting.method}, {folder}" for results, folder in
                  zip((first, second), given.tests, strict=True))  # fmt: skip
    text = comparison_text(comparison, (names[0], names[1]), given.count)
    print(text)
    if out is not None:
        with folders.result_folder(out) as part:
            (part / "compare.txt").write_text(f"{text}\n")
            (part / "compare.json").write_text(as_json(comparison, given.tests))
            drawn = _draw(comparison, part, given.count, given.root)
        print(f"\n  numbers   {out}/compare.json")
        print(f"  pictures  {out}/differences.png" if drawn is None else f"  no pictures: {drawn}")
    return 0


def _draw(comparison: Comparison, folder: Path, count: int, root: str | None) -> str | None:
    """The episodes that differ most, A's prediction beside B's; returns why, where they cannot be drawn."""
    replays: dict[Path, Replay] = {}
    sections: list[tuple[str, list[Panel]]] = []
    try:
        for pair in comparison.episodes[:count]:
            print(f"drawing episode {len(sections) + 1} of {count}", file=sys.stderr, flush=True)
            for result in pair.results:
                if result.folder not in replays:
                    replays[result.folder] = Replay(result.folder, root)
            panels = [replays[result.folder].panel(pair.run, pair.episode) for result in pair.results]
            values = f"A {pair.first:.0f}, B {pair.second:.0f}"
            sections.append((f"fold {pair.fold}, run {pair.run}, episode {pair.episode}: {values}", panels))
    except FssegError as error:
        return str(error)
    if not sections:
        return "--count 0"
    draw_sections(sections, columns=2).save(folder / "differences.png")
    return None


def as_json(comparison: Comparison, tests: Sequence[Path]) -> str:
    """All numbers, every episode among them."""
    better, same, worse = comparison.counted
    content = {
        "first": str(tests[0]),
        "second": str(tests[1]),
        "pairs": len(comparison.pairs),
        "left_out": comparison.alone,
        "protocol": str(comparison.pairs[0][0].tested.protocol),
        "metrics": {name: {**d._asdict(), "difference": d.value} for name, d in comparison.metrics.items()},
        "classes": {name: {"first": a, "second": b} for name, (a, b) in comparison.classes.items()},
        "second_better": better,
        "as_good": same,
        "second_worse": worse,
        "episodes": [
            {"fold": p.fold, "run": p.run, "episode": p.episode, "first": p.first, "second": p.second,
             "test": str(p.results[0].folder)}
            for p in comparison.episodes
        ],
    }  # fmt: skip
    return json.dumps(without_nan(content), indent=2) + "\n"
