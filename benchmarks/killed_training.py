"""A training killed at random moments ends with the same checkpoint, bit by bit, as one never killed.

OMP_NUM_THREADS=1 python benchmarks/killed_training.py OUT
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Callback

# PMMs with dropout and two augmentations, whose random numbers a resumed training must go on with; 20 steps an epoch
# with a validation after each; a checkpoint every seventh step, so that most lie within an epoch.
EXPERIMENT = [
    "--config", "experiments/pmm_shapes_1shot.yaml", "--model.method.dropout=0.5", "--model.method.channels=16",
    "--data.dataset.size=32", "--data.dataset.train=200", "--data.dataset.val=120", "--data.images.size=32",
    "--data.batch_size=4", "--data.episodes.train=80", "--data.loading.workers=2",
    "--data.images.augment=[{class_path: albumentations.HorizontalFlip, init_args: {p: 0.5}}, "
    "{class_path: albumentations.RandomBrightnessContrast, init_args: {p: 0.7}}]",
    "--protocol.selection=base_val", "--checkpoint.every_n_train_steps=7", "--checkpoint.save_top_k=2",
    "--checkpoint.monitor=step", "--checkpoint.mode=max", "--trainer.accelerator=cpu",
    "--trainer.callbacks=killed_training.Place",
]  # fmt: skip
_PLACE = "FSSEG_KILLED_PLACE"  # file that says where a training is


class Place(Callback):
    """Writes down what a training is at, so that a kill can say what it interrupted."""

    def __init__(self) -> None:
        self.file = os.open(os.environ[_PLACE], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def _at(self, trainer: Any, what: str) -> None:
        os.pwrite(self.file, f"{trainer.global_step:6} {what:20}".encode(), 0)

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        """A step begins."""
        self._at(trainer, "in the step")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """It has ended."""
        self._at(trainer, "between steps")

    def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
        """A batch of a validation."""
        self._at(trainer, "in a validation")

    def on_save_checkpoint(self, trainer: Any, *_: Any) -> None:
        """A checkpoint is made, and then written."""
        self._at(trainer, "in a checkpoint")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--val_episodes", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    assert start(given, "whole").wait() == 0, (given.out / "whole.log").read_text()
    moments = random.Random(given.seed)
    for number, step in enumerate(sorted(moments.uniform(0, 0.9 * given.steps) for _ in range(given.kills)), 1):
        before = last_step(given.out / "killed")
        process = start(given, "killed")
        wait_for(step, "validation" if number % 4 == 0 else "", given, process)
        time.sleep(moments.uniform(0, 0.05))  # anywhere within it
        os.killpg(process.pid, signal.SIGKILL)  # its workers too
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed: give more --steps"
        at, what = (given.out / "place").read_text().strip().split(" ", 1)
        now = last_step(given.out / "killed")
        print(f"kill {number:2}: went on at {before:3}, killed {what:15} {at:>3}, last.ckpt at {now:3}", flush=True)
    assert start(given, "killed").wait() == 0, (given.out / "killed.log").read_text()
    return verdict(given.out / "whole", given.out / "killed")


def start(given: argparse.Namespace, name: str) -> "subprocess.Popen[bytes]":
    (given.out / "place").unlink(missing_ok=True)
    steps = [f"--trainer.max_steps={given.steps}", f"--model.lr_scheduler.total_steps={given.steps + 1}"]
    steps += [f"--data.episodes.val={given.val_episodes}"]
    command = [sys.executable, "-m", "fsseg", "fit", *EXPERIMENT, *steps, "--out", str(given.out / name), "--resume"]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, _PLACE: str(given.out / "place"), "PYTHONPATH": path}
    with (given.out / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def wait_for(step: float, what: str, given: argparse.Namespace, process: "subprocess.Popen[bytes]") -> None:
    """Until a training is at a step; every fourth kill falls into the next validation, which steps alone seldom do."""
    place = given.out / "place"
    while not (place.is_file() and (text := place.read_text()) and int(text.split()[0]) >= step and what in text):
        assert process.poll() is None, (given.out / "killed.log").read_text()
        time.sleep(0.001)


def last_step(folder: Path) -> int:
    path = folder / "last.ckpt"
    return int(torch.load(path, weights_only=True)["global_step"]) if path.is_file() else 0


def verdict(whole: Path, killed: Path) -> int:
    """Compare the last and the best checkpoint, everything but paths, and say what differs."""
    wrong = []
    for name in ("last.ckpt", "best.ckpt"):
        before, after = (torch.load(folder / name, weights_only=True) for folder in (whole, killed))
        before["callbacks"], after["callbacks"] = (kept(content["callbacks"]) for content in (before, after))
        for part in sorted(before.keys() | after.keys()):
            found = list(differences(before.get(part), after.get(part), f"{name}: {part}"))
            count = sum(1 for _ in leaves(before.get(part)))
            print(f"{name:10} {part:26} {count:4} values  {'DIFFER' if found else 'identical'}")
            wrong += found
    for line in wrong[:20]:
        print(line)
    print(f"every bit the same: {not wrong}")
    return 1 if wrong else 0


def kept(callbacks: dict[str, Any]) -> dict[str, Any]:
    """States of callbacks without ModelCheckpoint's, which is made of the folder's path."""
    return {name: state for name, state in callbacks.items() if not name.startswith("ModelCheckpoint")}


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


def differences(before: Any, after: Any, where: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for key in before:
            yield from differences(before[key], after[key], f"{where}.{key}")
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{where}[{place}]")
    elif isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor):
        if before.dtype != after.dtype or not torch.equal(before, after):
            yield f"{where}: tensors differ"
    elif type(before) is not type(after) or before != after:
        yield f"{where}: {str(before)[:60]} and {str(after)[:60]}"


if __name__ == "__main__":
    sys.exit(main())
