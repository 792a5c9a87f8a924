"""Checkpoints are whole or not there, and a training goes on from the newest that can be read, bit by bit the same."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fsseg.cli.stored import WholeCheckpoints, newest, readable
from fsseg.errors import FssegError, MachineError
from tests.cli.conftest import QUICKSTART, small_files

ROOT = Path(__file__).parents[2]
STEPS = ("--trainer.max_steps=6", "--checkpoint.every_n_train_steps=2", "--checkpoint.save_top_k=0")
FIT = ("fit", *QUICKSTART, *STEPS, "--data.augment=[{class_path: albumentations.HorizontalFlip}]")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def damage(path):
    """One bit, in the middle: a file of the right size that torch would read."""
    content = bytearray(path.read_bytes())
    weights = torch.load(path, weights_only=True)["state_dict"]
    largest = max(weights.values(), key=lambda tensor: tensor.numel())
    place = content.find(largest.numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["global_step"] == 6


LOST = {"truncated": truncate, "empty": lambda path: path.write_bytes(b""), "damaged": damage, "missing": Path.unlink}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of six steps that kept its last checkpoint and the one before, at step 4."""
    from fsseg.cli import main

    out = tmp_path_factory.mktemp("whole") / "run"
    assert main([*FIT, "--out", str(out)]) == 0
    os.environ.pop("FSSEG_RUN_FOLDER", None)
    assert {path.name for path in out.glob("*.ckpt")} == {"last.ckpt", "last-before.ckpt"}
    return out


def assert_same(one, other):
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (one, other))
    assert one["global_step"] == other["global_step"] == 6
    assert torch.equal(one["random"][0]["cpu"], other["random"][0]["cpu"])
    assert str(one["lr_schedulers"]) == str(other["lr_schedulers"])
    states = [content["optimizer_states"][0]["state"] for content in (one, other)]
    for before, after in [(one["state_dict"], other["state_dict"]), *zip(*(s.values() for s in states), strict=True)]:
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before if before[key] is not None)


@pytest.mark.parametrize("lost", [pytest.param(name, marks=pytest.mark.slow) for name in LOST])
def test_a_broken_last_checkpoint_falls_back_to_the_one_before_and_says_so(fsseg, whole, tmp_path, lost):
    run = shutil.copytree(whole, tmp_path / "run")
    LOST[lost](run / "last.ckpt")
    ran = fsseg(*FIT, "--out", "run", "--resume")
    assert ran.code == 0, ran.err
    wrong = "is missing" if lost == "missing" else "cannot be read (truncated?)"
    assert f"note: last.ckpt of run {wrong}; going on from last-before.ckpt, step 4." in ran.err
    assert "trained to step 6" in ran.out
    assert_same(whole, run)


@pytest.mark.slow
def test_a_numbered_checkpoint_serves_too_and_the_newest_is_taken(fsseg, whole, tmp_path):
    numbered = [*FIT, "--checkpoint.save_top_k=-1", "--out", "run", "--resume"]
    assert fsseg(*numbered).code == 0
    run = tmp_path / "run"
    for name in ("last.ckpt", "last-before.ckpt", "step6.ckpt"):
        truncate(run / name)
    ran = fsseg(*numbered)
    assert ran.code == 0, ran.err
    assert "going on from step4.ckpt, step 4." in ran.err
    assert_same(whole, run)
    assert {path.name for path in run.glob("step*")} == {"step2.ckpt", "step4.ckpt", "step6.ckpt"}
    assert readable(run / "step6.ckpt")
    ran = fsseg(*numbered)
    assert ran.out == "already trained: run/last.ckpt\n"


def test_none_that_can_be_read_is_one_line(fsseg, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    for path in run.glob("*.ckpt"):
        truncate(path)
    ran = fsseg(*FIT, "--out", "run", "--resume")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "run/last.ckpt cannot be read (truncated?), and there is no earlier checkpoint: delete run" in ran.line


def test_no_checkpoint_at_all_is_none(tmp_path):
    assert newest(tmp_path) is None


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_broken_checkpoint_that_was_asked_for_is_refused_with_the_name_of_one_that_is_not(
    fsseg, whole, tmp_path, command
):
    truncate(shutil.copytree(whole, tmp_path / "run") / "last.ckpt")
    ran = fsseg(command, "--ckpt_path", "run/last.ckpt")
    assert ran.code == 2
    assert "run/last.ckpt cannot be read" in ran.line
    assert "run/last-before.ckpt can be read (step 4)" in ran.line


def test_a_full_disk_leaves_the_checkpoint_before_as_it_was(tmp_path):
    path = tmp_path / "step1.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)
    before = path.read_bytes()
    with small_files(50_000), pytest.raises(MachineError, match=r"step1\.ckpt cannot be written: File too large"):
        WholeCheckpoints().save_checkpoint({"weights": torch.ones(100_000)}, path)
    assert path.read_bytes() == before
    assert [left.name for left in tmp_path.iterdir()] == ["step1.ckpt"]


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before_as_it_was(tmp_path):
    path, part = tmp_path / "step1.ckpt", tmp_path / ".step1.ckpt.part"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)
    code = (
        "import sys, torch; from fsseg.cli.stored import WholeCheckpoints; content = {'w': torch.ones(10**8)}\n"
        "WholeCheckpoints().save_checkpoint(content, sys.argv[1])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        time.sleep(0.0005)
    process.kill()
    process.wait()
    assert part.stat().st_size < 4 * 10**8, "it was killed too late to show anything"
    assert torch.load(path, weights_only=True) == {"step": 1}


@pytest.mark.slow
def test_a_training_killed_in_an_epoch_ends_with_the_same_bits(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/killed_training.py"), str(tmp_path / "out")]
    ran = subprocess.run([*command, "--kills=1", "--steps=24"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "kill  1: went on at   0, killed " in ran.stdout
    assert ran.stdout.endswith("every bit the same: True\n")


def test_a_folder_that_has_no_earlier_checkpoint_says_nothing_of_one(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(FssegError, match="there is no earlier checkpoint"):
        newest(tmp_path)
