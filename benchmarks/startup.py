"""How long commands take to start, beside importing the libraries that they need, each a process of its own, in turn.

Commands that train nothing are given a folder that there is not: they import all that reading it needs, and end.
Those of a network are imported, since no run is short enough to time the import by it.

python benchmarks/startup.py [--rounds 7] [--only small]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from fsseg.cli.help import COMMANDS

SMALL, LARGE = "import numpy, yaml", "import torch, torchvision, lightning"
FSSEG = ("-m", "fsseg")
STARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "small": {
        "fsseg table": (*FSSEG, "table", "nowhere"),
        "fsseg compare": (*FSSEG, "compare", "nowhere", "nowhere"),
        "fsseg curves": (*FSSEG, "curves", "nowhere"),
        "fsseg data info": (*FSSEG, "data", "info", "folder", "--root", "nowhere"),
        "fsseg --help": (*FSSEG, "--help"),
        **{f"fsseg {name} --help": (*FSSEG, *name.split(), "--help") for name in COMMANDS},
    },
    "large": {
        "fsseg fit, test": ("-c", "import fsseg.experiment.commands"),
        "fsseg predict": ("-c", "import fsseg.cli.predict, fsseg.experiment.segmenter_options"),
    },
}
BASELINES = {"small": SMALL, "large": LARGE}
GOALS = {"small": 3.0, "large": 1.3}


class Time(NamedTuple):
    """Seconds of a process.

    Attributes:
        processor: of the processor.
        clock: from its start to its end.
    """

    processor: float
    clock: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=tuple(STARTS), default=None)
    given = parser.parse_args()
    print("| start | baseline | goal | of the processor | of the clock | seconds |")
    print("| --- | --- | ---: | --- | --- | ---: |")
    for kind in [given.only] if given.only else STARTS:
        print("\n".join(lines(kind, given.rounds)), flush=True)


def lines(kind: str, rounds: int) -> list[str]:
    """A row for each command: ratios to the baseline of the same round, and the median of its seconds."""
    commands: dict[str, tuple[str, ...]] = {"": ("-c", BASELINES[kind]), **STARTS[kind]}
    times = [{name: measure(command) for name, command in commands.items()} for _ in range(rounds + 1)][1:]
    rows = []
    for name in STARTS[kind]:
        processor = spread([t[name].processor / t[""].processor for t in times])
        clock = spread([t[name].clock / t[""].clock for t in times])
        seconds = median(t[name].clock for t in times)
        rows.append(f"| `{name}` | `{BASELINES[kind]}` | {GOALS[kind]} | {processor} | {clock} | {seconds:.2f} |")
    return rows


def measure(command: Sequence[str]) -> Time:
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *command], check=False, capture_output=True)
    clock, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Time(used, clock)


def spread(ratios: Sequence[float]) -> str:
    """Median and range; `panet_step` has one too, and imports torch."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


if __name__ == "__main__":
    main()
