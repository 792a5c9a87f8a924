"""A test of 20,000 episodes takes no more memory in the end than after its first fifth.

OMP_NUM_THREADS=1 python benchmarks/soak.py OUT
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback

EXPERIMENT = [
    "--config", "experiments/quickstart.yaml", "--untrained", "--data.dataset.size=32", "--data.dataset.train=200",
    "--data.dataset.val=120", "--data.images.size=32", "--model.method.encoder.widths=[8,8]",
    "--data.loading.test_batch_size=8",
    "--model.method.encoder.strides=[2,2]", "--trainer.accelerator=cpu", "--trainer.callbacks=soak.Count",
]  # fmt: skip
_COUNT = "FSSEG_SOAK_COUNT"  # file that says how far a test is
_WARM, _ALLOWED = 0.2, 2.0  # share of the episodes that warm up; MiB that the rest may grow by


class Count(Callback):
    """Writes down how many episodes were tested."""

    def __init__(self) -> None:
        self.file = os.open(os.environ[_COUNT], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.count = 0

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Add a batch."""
        self.count += len(batch.run)
        os.pwrite(self.file, f"{self.count:9}".encode(), 0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    return max(soak(given.out, given.episodes, workers) for workers in given.workers)


def soak(out: Path, episodes: int, workers: int) -> int:
    """Run one test; 1 if it grows."""
    count = out / f"count{workers}"
    runs = [f"--protocol.runs={4}", f"--protocol.episodes={episodes // 4}", f"--data.loading.workers={workers}"]
    command = [sys.executable, "-m", "fsseg", "test", *EXPERIMENT, *runs, "--out", str(out / f"test{workers}")]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, _COUNT: str(count), "PYTHONPATH": path}
    begun = time.monotonic()
    with (out / f"test{workers}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    seen: list[tuple[int, float, float]] = []
    while process.poll() is None:
        time.sleep(0.2)
        text = count.read_text() if count.is_file() else ""
        if text and int(text) * 40 // episodes > (seen[-1][0] * 40 // episodes if seen else -1):
            seen.append((int(text), resident(process.pid), sum(map(resident, children(process.pid)))))
    assert process.returncode == 0, (out / f"test{workers}.log").read_text()
    return report(seen, episodes, workers, time.monotonic() - begun)


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has just ended
        return []


def resident(pid: int) -> float:
    """MiB of memory that a process has."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def report(seen: list[tuple[int, float, float]], episodes: int, workers: int, seconds: float) -> int:
    print(f"data.loading.workers {workers}: {episodes:,} episodes in {seconds:.0f} s\n")
    print("episodes  main process  workers   MiB")
    for number, main_process, others in seen[::4]:
        print(f"{number:8,}  {main_process:12.1f}  {others:7.1f}")
    warm = np.array([row for row in seen if row[0] >= _WARM * episodes and row[1] > 0])
    wrong = 0
    for place, name in ((1, "main process"), (2, "workers"))[: 2 if workers else 1]:
        slope = np.polyfit(warm[:, 0], warm[:, place], 1)[0]
        growth = slope * (1 - _WARM) * episodes
        wrong += growth > _ALLOWED
        words = "grows" if growth > _ALLOWED else "does not grow"
        print(f"{name}: {1024 * slope:+.3f} kiB an episode after the first fifth, {growth:+.1f} MiB in all: {words}")
    print(flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
