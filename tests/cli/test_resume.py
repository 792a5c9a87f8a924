"""Checkpoints are whole or not there, and a training goes on from the newest that can be read, bit by bit the same."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fsseg.errors import FssegError, MachineError
from fsseg.runs.checkpoint_files import WholeCheckpoints, keep_as, newest, readable
from tests.cli.conftest import QUICKSTART, small_files

ROOT = Path(__file__).parents[2]
STEPS = ("--trainer.max_steps=6", "--checkpoint.every_n_train_steps=2", "--checkpoint.save_top_k=0")
FIT = ("fit", *QUICKSTART, *STEPS, "--data.images.augment=[{class_path: albumentations.HorizontalFlip}]")


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


def test_a_checkpoint_that_will_be_replaced_keeps_its_name_where_links_exist(tmp_path, monkeypatch):
    last, before = tmp_path / "last.ckpt", tmp_path / "last-before.ckpt"
    for content in ("one", "two"):
        last.write_text(content)
        for _ in range(2):  # a training that was killed before the new checkpoint got its name repeats it
            keep_as(last, before)
            assert last.read_text() == before.read_text() == content
        last.unlink()
    last.write_text("three")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    keep_as(last, before)
    assert before.read_text() == "three"
    assert not last.exists()


def refuse(*_):
    raise OSError("Operation not supported")


@pytest.mark.parametrize("lost", [pytest.param(name, marks=pytest.mark.slow) for name in LOST])
def test_a_broken_last_checkpoint_falls_back_to_the_one_before_and_says_so(fsseg, whole, tmp_path, lost):
    run = shutil.copytree(whole, tmp_path / "run")
    LOST[lost](run / "last.ckpt")
    ran = fsseg(*FIT, "--out", "run", "--resume")
    assert ran.code == 0, ran.err
    wrong = "is missing" if lost == "missing" else "cannot be read (truncated?)"
    assert f"note: last.ckpt of run {wrong}; resuming from last-before.ckpt, step 4." in ran.err
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
    assert "resuming from step4.ckpt, step 4." in ran.err
    assert_same(whole, run)
    assert {path.name for path in run.glob("step*")} == {"step2.ckpt", "step4.ckpt", "step6.ckpt"}
    assert readable(run / "step6.ckpt")
    ran = fsseg(*numbered)
    assert ran.out == "already trained: run/last.ckpt\n"


@pytest.mark.slow
def test_none_that_can_be_read_is_one_line(fsseg, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    for path in run.glob("*.ckpt"):
        truncate(path)
    ran = fsseg(*FIT, "--out", "run", "--resume")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "run/last.ckpt cannot be read (truncated?), and there is no earlier checkpoint: delete run" in ran.line


@pytest.mark.slow
def test_a_training_is_finished_only_for_the_end_that_it_was_asked_for(fsseg, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    again = [*FIT, "--out", "run", "--resume"]
    ran = fsseg(*again, "--data.loading.workers=0", "--trainer.enable_progress_bar=false", "--data.episodes.val=1")
    assert (ran.code, ran.out) == (0, "already trained: run/last.ckpt\n")
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    ran = fsseg(*again, "--trainer.max_steps=5")
    assert ran.code == 2
    assert "run/last.ckpt is at step 6; --trainer.max_steps 5 is not above it" in ran.line
    ran = fsseg(*again, "--model.optimizer.lr=0.5", "--trainer.max_steps=7")
    assert ran.code == 2
    assert "run/last.ckpt was trained with --model.optimizer.lr 0.001; 0.5 is asked for" in ran.line
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    ran = fsseg(*again, "--trainer.max_steps=7")
    assert ran.code == 0, ran.err
    assert "trained to step 7" in ran.out
    done = json.loads((run / "run.json").read_text())
    assert (done["steps"], done["resumed_at"], done["asked"]["max_steps"]) == (7, 6, "7")


@pytest.mark.slow
def test_a_longer_training_that_was_stopped_is_not_finished_by_its_earlier_end(fsseg, whole, tmp_path, monkeypatch):
    run = shutil.copytree(whole, tmp_path / "run")

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fsseg.task.Task.training_step", die)
    ran = fsseg(*FIT, "--out", "run", "--resume", "--trainer.max_steps=7")
    assert ran.code == 130
    assert not (run / "run.json").exists()


OTHERS = {
    "--trainer.accumulate_grad_batches": ("1", "2"),
    "--trainer.gradient_clip_val": ("0", "0.1"),
    "--trainer.gradient_clip_algorithm": ("norm", "value"),
    "--trainer.precision": ("32-true", "bf16-mixed"),
    "--trainer.limit_train_batches": ("1.0", "0.5"),
    "--trainer.deterministic": ("False", "True"),
    "--data.batch_size": ("2", "4"),
    "--data.episodes.seed": ("None", "3"),
    "--model.head_lr": ("1.0", "10.0"),
    "--seed_everything": ("0", "5"),
}


FAST = ("--trainer.precision", "--data.batch_size")


@pytest.mark.parametrize("option", [pytest.param(o, marks=() if o in FAST else pytest.mark.slow) for o in OTHERS])
def test_a_resumed_training_refuses_another_value_of_what_decides_it(fsseg, whole, option):
    was, now = OTHERS[option]
    ran = fsseg("fit", "--ckpt_path", str(whole / "last.ckpt"), option, now, "--trainer.max_steps=8")
    assert ran.code == 2
    assert ran.line.endswith(
        f"last.ckpt was trained with {option} {was}; {now} is asked for. Leave {option} out, or train again."
    )


@pytest.mark.slow
def test_a_test_is_finished_only_for_what_was_asked(fsseg, trained, tmp_path):
    untrained = ("test", *QUICKSTART, "--untrained", "--out", "t", "--resume")
    assert fsseg(*untrained).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "t").iterdir()}
    ran = fsseg("test", "--ckpt_path", str(trained), "--out", "t", "--resume")
    assert ran.code == 2
    assert ran.line == (
        f"fsseg: --out t holds a test of untrained; {trained} (step 4, last) is asked for. Choose another --out."
    )
    for option, was, now in (
        ("--protocol.seed", 1234, 7), ("--data.test_shot", 1, 2), ("--model.method.scale", 20.0, 3.0),
        ("--trainer.precision", "32-true", "bf16-mixed"), ("--model.refine", False, True),
    ):  # fmt: skip
        ran = fsseg(*untrained, option, str(now))
        assert ran.code == 2
        assert ran.line == f"fsseg: --out t holds a test with {option} {was}; {now} is asked for. Choose another --out."
    machine = (
        "--data.loading.test_batch_size=3",
        "--data.loading.cache_features=false",
        "--trainer.precision=32",
        "--model.optimizer.lr=3",
    )
    assert fsseg(*untrained, *machine).out == "already tested: t/table.md\n"
    assert {path.name: path.read_bytes() for path in (tmp_path / "t").iterdir()} == before


@pytest.mark.slow
def test_a_test_is_not_finished_for_a_checkpoint_that_was_trained_on(fsseg, finished_test, trained, tmp_path):
    shutil.copytree(finished_test, tmp_path / "t")
    run = shutil.copytree(trained.parent, tmp_path / "run")
    test = ("test", "--ckpt_path", "run/last.ckpt", "--out", "t", "--resume")
    assert fsseg(*test).out == "already tested: t/table.md\n"  # the same file, elsewhere
    content = torch.load(run / "last.ckpt", weights_only=True)
    content["global_step"] += 1
    torch.save(content, run / "last.ckpt")
    ran = fsseg(*test)
    assert ran.code == 2
    assert "--out t holds a test of" in ran.line
    assert "(step 4, last); run/last.ckpt (step 5, last) is asked for" in ran.line


def test_several_protocols_are_not_resumed(fsseg, trained):
    ran = fsseg("test", "--ckpt_path", str(trained), "--protocols", "panet,pmms", "--out", "x", "--resume")
    assert (ran.code, "--resume is for a test under one protocol" in ran.line) == (2, True)


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
        "import sys, torch; from fsseg.runs.checkpoint_files import WholeCheckpoints\n"
        "content = {'w': torch.ones(10**8)}\n"
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
    command += ["--kills=1", "--steps=24", "--val_episodes=8"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "kill  1: went on at   0, killed " in ran.stdout
    assert ran.stdout.endswith("every bit the same: True\n")


def test_a_folder_that_has_no_earlier_checkpoint_says_nothing_of_one(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(FssegError, match="there is no earlier checkpoint"):
        newest(tmp_path)
