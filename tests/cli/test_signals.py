"""Signals that ask a command to end: one line, 128 + the signal's number, and what was done is kept."""

import signal

import pytest
import torch

from fsseg.runs import signals
from fsseg.runs.test_report import Report
from fsseg.task import Task
from tests.cli.conftest import QUICKSTART

MANY = ("--trainer.max_steps=1000", "--data.episodes.val=0", "--trainer.enable_progress_bar=false")


def sends(monkeypatch, owner, method, after, *numbers):
    """Let a method send signals to this process when it is called for the given time; returns the handlers before."""
    original, calls = getattr(owner, method), []

    def sending(*args, **kwargs):
        calls.append(None)
        if len(calls) == after:
            for number in numbers:
                signal.raise_signal(number)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, method, sending)


@pytest.fixture(autouse=True)
def _handlers_are_put_back():
    before = [signal.getsignal(number) for number in signals.STOPPING]
    yield
    assert [signal.getsignal(number) for number in signals.STOPPING] == before


@pytest.mark.parametrize(
    "number",
    [n if n == signal.SIGTERM else pytest.param(n, marks=pytest.mark.slow) for n in signals.STOPPING],
    ids=lambda number: number.name,
)
def test_a_signal_stops_a_training_after_its_step(fsseg, tmp_path, monkeypatch, number):
    sends(monkeypatch, Task, "training_step", 3, number)
    ran = fsseg("fit", *QUICKSTART, *MANY, "--out", "run")
    assert ran.code == 128 + number, ran.err
    said = "" if number == signal.SIGINT else f" The signal was {number.name}."
    assert ran.line == f"fsseg: stopped.{said}"
    assert "stopped at step 3: run/last.ckpt" in ran.out
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 3
    assert not (tmp_path / "run/run.json").exists()


@pytest.mark.slow
def test_a_stopped_training_goes_on_in_the_same_command(fsseg, tmp_path, monkeypatch):
    command = ("fit", *QUICKSTART, "--data.episodes.val=0", "--resume", "--out", "run")
    with monkeypatch.context() as patch:
        sends(patch, Task, "training_step", 2, signal.SIGTERM)
        assert fsseg(*command).code == 143
    ran = fsseg(*command)
    assert (ran.code, "trained to step 4" in ran.out) == (0, True), ran.err


def test_a_signal_leaves_a_validation_early(fsseg, tmp_path, monkeypatch):
    sends(monkeypatch, Task, "validation_step", 1, signal.SIGTERM)
    options = ("--data.episodes.val=1000", "--trainer.num_sanity_val_steps=0", "--out", "run")
    ran = fsseg("fit", *QUICKSTART, *options)
    assert (ran.code, ran.line) == (143, "fsseg: stopped. The signal was SIGTERM."), ran.err
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 4


def test_a_signal_before_the_first_step_leaves_no_folder(fsseg, tmp_path, monkeypatch):
    sends(monkeypatch, Task, "validation_step", 1, signal.SIGTERM)
    ran = fsseg("fit", *QUICKSTART, "--data.episodes.val=1000", "--out", "run")
    assert (ran.code, ran.line) == (143, "fsseg: stopped. The signal was SIGTERM."), ran.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_signal_ends_a_validate_command(fsseg, trained, monkeypatch):
    sends(monkeypatch, Task, "validation_step", 2, signal.SIGTERM)
    ran = fsseg("validate", "--ckpt_path", str(trained), "--data.episodes.val=1000")
    assert (ran.code, ran.line) == (143, "fsseg: stopped. The signal was SIGTERM."), ran.err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "resume"), [(signal.SIGINT, ()), (signal.SIGTERM, ("--resume",))])
def test_a_signal_keeps_the_rows_of_a_test(fsseg, trained, tmp_path, monkeypatch, number, resume):
    command = ("test", "--ckpt_path", str(trained), "--data.loading.cache_features=false", "--out", "tested")
    with monkeypatch.context() as patch:
        sends(patch, Report, "on_test_batch_end", 2, number)
        ran = fsseg(*command, *resume)
    assert (ran.code, ran.line.split(" The")[0]) == (128 + number, "fsseg: stopped."), ran.err
    assert "8 of 20 episodes are saved; the same command with --resume --out tested resumes there" in ran.err
    ran = fsseg(*command, "--resume")
    assert ran.code == 0, ran.err
    assert "resuming after 8 episodes" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["tested"]


@pytest.mark.slow
def test_a_signal_sent_twice_at_once_is_one(fsseg, tmp_path, monkeypatch):
    """As timeout and srun do, which send it to a process and to its group."""
    sends(monkeypatch, Task, "training_step", 3, signal.SIGTERM, signal.SIGTERM)
    ran = fsseg("fit", *QUICKSTART, *MANY, "--out", "run")
    assert (ran.code, "stopped at step 3" in ran.out) == (143, True), ran.err


def test_a_later_signal_stops_at_once_and_keeps_the_checkpoint_before(fsseg, tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "_TOGETHER", 0.0)
    sends(monkeypatch, Task, "training_step", 4, signal.SIGTERM, signal.SIGINT)
    ran = fsseg("fit", *QUICKSTART, *MANY, "--checkpoint.every_n_train_steps=2", "--out", "run")
    assert (ran.code, ran.line) == (143, "fsseg: stopped. The signal was SIGTERM."), ran.err
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 2


def test_a_signal_before_the_first_step_leaves_nothing(fsseg, tmp_path, monkeypatch):
    sends(monkeypatch, Task, "setup", 1, signal.SIGTERM)
    ran = fsseg("fit", *QUICKSTART, "--out", "run")
    assert (ran.code, ran.line) == (143, "fsseg: stopped. The signal was SIGTERM."), ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_is_ignored_stays_ignored(fsseg, tmp_path, monkeypatch):
    """As nohup asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sends(monkeypatch, Task, "training_step", 2, signal.SIGHUP)
        assert fsseg("fit", *QUICKSTART, "--data.episodes.val=0", "--out", "run").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
