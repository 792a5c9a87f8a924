"""A training and a test on a disk that is full: what is said, what is left, and that both go on once there is room.

OMP_NUM_THREADS=1 python benchmarks/full_disk.py DISK

DISK is the folder of a small file system that holds nothing else, e.g. ``mount -t tmpfs -o size=1m tmpfs DISK``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from soak import EXPERIMENT

TINY = [word for word in EXPERIMENT if word not in ("--untrained", "--trainer.callbacks=soak.Count")]
FIT = ["fit", *TINY, "--data.loading.workers=0", "--data.episodes.val=0", "--trainer.max_steps=40",
       "--data.batch_size=2",
       "--checkpoint.every_n_train_steps=10", "--checkpoint.save_top_k=-1", "--resume"]  # fmt: skip
TEST = ["test", "--protocol.runs=2", "--protocol.episodes=400", "--data.loading.workers=0", "--resume"]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("disk", type=Path)
    disk = parser.parse_args().disk
    assert not any(disk.iterdir()), f"{disk} holds files"
    with tempfile.TemporaryDirectory() as roomy:
        fsseg(*FIT, "--out", f"{roomy}/run")  # a whole one
        size = (Path(roomy) / "run/last.ckpt").stat().st_size
        right = [
            goes_on("a training", disk, 2.5 * size, [*FIT, "--out", f"{disk}/run"], disk / "run"),
            *[
                goes_on(f"a test, {room} kB free", disk, 1024 * room,
                        [*TEST, f"--ckpt_path={roomy}/run/last.ckpt", "--out", f"{disk}/test{room}"], disk)
                for room in (32, 140, 180, 240)
            ],
        ]  # fmt: skip
    print(f"all went on: {all(right)}")
    return 0 if all(right) else 1


def goes_on(what: str, disk: Path, room: float, command: list[str], folder: Path) -> bool:
    """Run a command with little room, then again with all of it."""
    ballast = disk / "ballast"
    free = fill(ballast, disk, room)
    ran = fsseg(*command)
    said = [line for line in ran.stderr.splitlines() if line.startswith(("fsseg:", "note: no"))]
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.ckpt")) if what == "a training" else []
    print(f"{what} ({free / 1024:.0f} kB free): exit code {ran.returncode}")
    print("\n".join(f"  {line}" for line in [*said, *([", ".join(left)] if left else [])]))
    ballast.unlink()
    again = fsseg(*command)
    noted = [line for line in again.stderr.splitlines() if line.startswith(("going on", "note: last"))]
    print(f"  with room: exit code {again.returncode} {' '.join(noted)}", flush=True)
    for path in sorted(disk.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return again.returncode == 0 and "Traceback" not in ran.stderr and ran.returncode in (0, 1)


def fill(ballast: Path, disk: Path, room: float) -> float:
    """Leave so many bytes free."""
    with ballast.open("wb", buffering=0) as file:
        while (free := free_bytes(disk)) > room:
            file.write(bytes(int(min(2**16, max(4096, free - room)))))
    return free_bytes(disk)


def free_bytes(disk: Path) -> float:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def fsseg(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "fsseg", *arguments], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
