"""`fsseg --help` beside importing torch, each a process of its own, in turn.

python benchmarks/startup.py [--rounds 7]
"""

import argparse
import subprocess
import sys
import time
from statistics import median

from panet_step import spread


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    commands = ([sys.executable, "-c", "import torch"], [sys.executable, "-m", "fsseg", "--help"])
    times = [[seconds(command) for command in commands] for _ in range(given.rounds + 1)][1:]
    print(f"import torch {median(t[0] for t in times):.2f} s, fsseg --help {median(t[1] for t in times):.3f} s")
    print(f"ratio {spread([after / before for before, after in times])}")


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
