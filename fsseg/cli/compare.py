"""`fsseg compare`: compares two tests on the same episodes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg import atomic, limits
from fsseg.cli.dashes import with_dashes
from fsseg.cli.options import MOVED, Options
from fsseg.errors import FssegError
from fsseg.results.compare import Comparison, compare, comparison_text, place
from fsseg.results.results import find_results
from fsseg.runs import folders
from fsseg.runs.lock import locked
from fsseg.untrusted.records import as_json
from fsseg.untrusted.text import file_name

if TYPE_CHECKING:
    from fsseg.experiment.replay import Replay
    from fsseg.plots.episodes import Panel

_MEANING = (
    "The interval is a paired bootstrap over episodes: the same trainings on other episodes. It does not cover the\n"
    "variation between trainings; use several seeds."
)


def options() -> Options:
    """The command's options."""
    made = Options("compare")
    made.option("tests", Path, "two folders of tests on the same episodes", nargs=2, metavar="A B")
    made.option("--out", Path, "folder for the episodes that differ most and the numbers as JSON", metavar="DIR")
    made.option("--count", int, "number of drawn episodes (%(default)s)", default=6)
    made.option("--data.root", str, MOVED, dest="root", metavar="DIR")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``compare``; return the exit code.

    Raises:
        FssegError: An option is wrong, or the tests have different episodes.
    """
    given = options().read(arguments)
    limits.check(vars(given), {"count": limits.Range(0, 100_000)}, "compare: --{}")
    out = folders.empty(given.out) if given.out else None
    first, second = (find_results([folder]) for folder in given.tests)
    comparisons = compare(first, second)
    names = tuple(f"{results[0].tested.setting.label}, {folder}" for results, folder in
                  zip((first, second), given.tests, strict=True))  # fmt: skip
    text = "\n\n".join(comparison_text(comparison, (names[0], names[1]), given.count) for comparison in comparisons)
    print(f"{text}\n\n{_MEANING}")
    if out is not None:
        with locked(out), folders.result_folder(out) as part:
            atomic.write_text(part / "compare.txt", f"{text}\n")
            atomic.write_text(part / "compare.json", as_json(_numbers(comparisons, given.tests)))
            drawn = [_draw(comparison, part, given.count, given.root) for comparison in comparisons]
        print(f"\n  numbers   {out}/compare.json")
        for line in dict.fromkeys(drawn):
            print(f"  pictures  {line.format(out=out)}")
    return 0


def _draw(comparison: Comparison, folder: Path, count: int, root: str | None) -> str:
    """Draw the episodes that differ most; return the path, or the reason why they cannot be drawn."""
    from fsseg.experiment.replay import Replay  # imports torch
    from fsseg.plots.episodes import draw_sections

    setting = comparison.pairs[0][0].tested.setting
    annotation = [] if setting.annotation == "mask" else [setting.annotation]
    name = file_name("-".join(["differences", f"{setting.shot}shot", *annotation]))
    replays: dict[Path, Replay] = {}
    sections: list[tuple[str, list[Panel]]] = []
    try:
        for pair in comparison.episodes[:count]:
            print(f"drawing episode {len(sections) + 1} of {count}", file=sys.stderr, flush=True)
            for result in pair.results:
                if result.folder not in replays:
                    replays[result.folder] = Replay(result.folder, root)
            panels = [replays[result.folder].panel(pair.run, pair.episode) for result in pair.results]
            values = f"A {pair.first:.0f} (above), B {pair.second:.0f} (below)"
            sections.append((f"{place(pair)}: {values}", panels))
    except FssegError as error:
        return with_dashes(f"none: {error}")
    if not sections:
        return "none: --count 0"
    atomic.save(folder / f"{name}.png", partial(draw_sections(sections, columns=1).save, format="PNG"))
    return f"{{out}}/{name}.png"


def _numbers(comparisons: Sequence[Comparison], tests: Sequence[Path]) -> dict[str, Any]:
    """All numbers, also of each episode."""
    return {
        "first": str(tests[0]),
        "second": str(tests[1]),
        "comparisons": [_content(comparison) for comparison in comparisons],
    }


def _content(comparison: Comparison) -> dict[str, Any]:
    better, same, worse = comparison.counted
    setting = comparison.pairs[0][0].tested.setting
    return {
        "way": setting.way,
        "shot": setting.shot,
        "annotation": setting.annotation,
        "pairs": len(comparison.pairs),
        "left_out": comparison.alone,
        "protocol": str(comparison.pairs[0][0].tested.protocol),
        "metrics": {name: {**d._asdict(), "difference": d.value} for name, d in comparison.metrics.items()},
        "classes": {name: {"first": a, "second": b} for name, (a, b) in comparison.classes.items()},
        "second_better": better,
        "as_good": same,
        "second_worse": worse,
        "episodes": [
            {"fold": p.fold, "seed": p.results[0].tested.seed, "run": p.run, "episode": p.episode, "first": p.first,
             "second": p.second}
            for p in comparison.episodes
        ],
    }  # fmt: skip
