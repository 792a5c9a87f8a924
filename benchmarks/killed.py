"""A benchmark killed at random moments ends with the same rows, to the last digit, as one never killed.

OMP_NUM_THREADS=1 python benchmarks/killed.py OUT
"""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

# PMMs with dropout, whose random numbers a resumed training must go on with; a checkpoint every tenth step.
EXPERIMENT = [
    "--config", "experiments/pmm_shapes_1shot.yaml", "--train_shot", "1", "--workers", "2", "--threads", "1",
    "--model.method.dropout=0.5", "--model.method.channels=16", "--data.dataset.size=32", "--data.dataset.train=200",
    "--data.dataset.val=120", "--data.images.size=32", "--data.loading.workers=0", "--data.episodes.val=4",
    "--protocol.runs=2",
    "--checkpoint.every_n_train_steps=20", "--checkpoint.save_top_k=0",
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folds", nargs="+", default=["0", "1"])
    parser.add_argument("--shots", nargs="+", default=["1", "5"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--episodes", type=int, default=50)
    given = parser.parse_args()

    def command(name: str) -> list[str]:
        sizes = ["--folds", *given.folds, "--shots", *given.shots, "--out", str(given.out / name)]
        sizes += [f"--trainer.max_steps={given.steps}", f"--model.lr_scheduler.total_steps={given.steps + 1}"]
        sizes += [f"--protocol.episodes={given.episodes}"]
        return [sys.executable, "-m", "fsseg", "benchmark", *EXPERIMENT, *sizes]

    begun = time.monotonic()
    process = subprocess.Popen(command("whole"))
    while process.poll() is None and not any((given.out / "whole/logs").glob("*.log")):
        time.sleep(0.05)
    start = time.monotonic() - begun  # until the first job begins
    assert process.wait() == 0
    took = time.monotonic() - begun - start
    moments = random.Random(given.seed)
    for kill in range(1, given.kills + 1):
        process = subprocess.Popen(command("killed"))
        after = moments.uniform(start, start + (took - start) / 2)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"kill {kill}: after {after:.1f} s; {state(given.out / 'killed')}", flush=True)
    assert subprocess.run(command("killed"), check=False).returncode == 0
    whole, killed = (digests(given.out / name) for name in ("whole", "killed"))
    print(f"{len(whole)} files of rows; the same to the last digit: {whole == killed}")
    return 0 if whole and whole == killed else 1


def state(out: Path) -> str:
    """What the kill interrupted."""
    fits = [path.parent for path in out.glob("*/config.yaml")]
    under_way = [folder.name for folder in fits if not (folder / "run.json").is_file()]
    begun = [name for name in under_way if (out / name / "last.ckpt").is_file()]
    tests = [path.parent.name for path in out.glob("*/.test-*")]
    done = len(list(out.glob("*/test-*/rows.csv")))
    return (
        f"{len(under_way)} trainings under way, {len(begun)} with a checkpoint; {len(tests)} tests; {done} tests done"
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*/test-*/rows.csv"))
    }


if __name__ == "__main__":
    sys.exit(main())
