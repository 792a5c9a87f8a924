"""`fsseg compare`: two tests, paired over the same episodes."""

import json
from collections.abc import Sequence
from pathlib import Path

from fsseg.benchmark.compare import Comparison, compare, comparison_text
from fsseg.benchmark.results import find_results
from fsseg.benchmark.texts import without_nan
from fsseg.cli import folders
from fsseg.cli.options import Options
from fsseg.errors import FssegError


def run(arguments: Sequence[str]) -> int:
    """Compare; returns the exit code.

    Raises:
        FssegError: an option is wrong, or the tests are not of the same episodes.
    """
    options = Options("compare")
    options.add_argument("tests", nargs=2, type=Path)
    options.add_argument("--out", type=Path, default=None)
    options.add_argument("--count", type=int, default=6)
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
        print(f"\n  numbers   {out}/compare.json")
    return 0


def as_json(comparison: Comparison, tests: Sequence[Path]) -> str:
    """All numbers, every episode among them."""
    better, same, worse = comparison.counted
    content = {
        "first": str(tests[0]),
        "second": str(tests[1]),
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
