"""experiments/training: each file does what it says, by the numbers."""

import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from fsseg.experiment.files import experiment_folder
from fsseg.runs.training_logs import read_logs
from fsseg.task import Task
from fsseg.untrusted.card import read_card
from tests.cli.conftest import ENVIRONMENT, FSSEG, QUICKSTART, TINY

FOLDER = experiment_folder() / "training"
PLAIN = (
    "fit", *QUICKSTART, "--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.05",
    "--model.lr_scheduler=torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size=1000",
)  # fmt: skip


def file(name: str) -> tuple[str, str]:
    return "--config", str(FOLDER / f"{name}.yaml")


def weights(path: str | Path, key: str = "state_dict") -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(path, weights_only=True)[key]
    return found


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.slow
def test_a_file_trains_and_says_how(fsseg, path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    words = next(line for line in header if "fsseg fit" in line).split()
    files = [after for before, after in pairwise(words) if before == "--config"]
    assert files == ["experiments/quickstart.yaml", f"experiments/training/{path.name}"]
    asked = yaml.safe_load(path.read_text())
    tiny = [word for word in TINY if "batch_size" not in word]
    ran = fsseg(*words[words.index("fit") :], *tiny, "--trainer.max_steps=2", "--out", "run")
    assert ran.code == 0, ran.err
    assert "trained to step 2: run/last.ckpt" in ran.out
    assert read_card("run/last.ckpt").step == 2
    used = yaml.safe_load(Path("run/config.yaml").read_text())
    for section, options in asked.items():
        for name, value in options.items():
            assert name == "callbacks+" or used[section][name] == value
    named = [each["class_path"].rpartition(".")[2] for each in used["trainer"]["callbacks"] or []]
    assert named == [each["class_path"] for each in asked.get("trainer", {}).get("callbacks+", [])]
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocol.runs=1", "--protocol.episodes=2")
    assert (ran.code, "Warning" in ran.err, "WeightAveraging" in ran.err) == (0, False, False), ran.err


@pytest.mark.slow
def test_files_of_callbacks_add_up(fsseg):
    ran = fsseg("fit", *QUICKSTART, *file("ema"), *file("early_stopping"), "--print_config")
    both = yaml.safe_load(ran.out)["trainer"]["callbacks"]
    assert [each["class_path"].rpartition(".")[2] for each in both] == ["EMAWeightAveraging", "EarlyStopping"]


@pytest.fixture
def steps(monkeypatch) -> list[dict[str, Tensor]]:
    """Weights before the first step and after each one."""
    seen: list[dict[str, Tensor]] = []

    def copy(task: Task, *_: Any) -> None:
        seen.append({name: tensor.clone() for name, tensor in task.state_dict().items()})

    def step(task: Task, epoch: int, batch: int, optimizer: Any, closure: Any = None) -> None:
        if not seen:
            copy(task)
        optimizer.step(closure=closure)
        copy(task)

    monkeypatch.setattr(Task, "optimizer_step", step)
    return seen


EMA = (*file("ema"), "--trainer.callbacks.decay=0.5")


@pytest.mark.slow
def test_ema_measures_and_keeps_the_average_and_trains_the_weights(fsseg, steps):
    ran = fsseg(*PLAIN, *EMA, "--out", "run", "--checkpoint.every_n_train_steps=2")
    assert ran.code == 0, ran.err
    average = {name: tensor.clone() for name, tensor in steps[1].items()}  # begins with the weights of the first step
    for now in steps[2:]:
        average = {name: (0.5 * average[name] + 0.5 * now[name]).to(now[name].dtype) for name in now}
    torch.testing.assert_close(weights("run/last.ckpt"), average)
    assert_equal(weights("run/last.ckpt", "current_model_state"), steps[-1])
    steps.clear()
    assert fsseg(*PLAIN, "--out", "plain").code == 0
    assert_equal(weights("plain/last.ckpt"), weights("run/last.ckpt", "current_model_state"))
    options = ("--data.episodes.val=40", "--data.loading.workers=0")
    assert fsseg("validate", "--ckpt_path", "run/last.ckpt", *options).code == 0


@pytest.mark.slow
def test_a_validation_and_a_test_use_the_average(fsseg, monkeypatch):
    used: list[dict[str, Tensor]] = []

    def look(task: Task) -> None:
        used.append({name: tensor.clone() for name, tensor in task.state_dict().items()})

    monkeypatch.setattr(Task, "on_test_start", look)
    monkeypatch.setattr(Task, "on_validation_start", lambda task: None)
    monkeypatch.setattr(Task, "on_validation_epoch_start", look, raising=False)
    assert fsseg(*PLAIN, *EMA, "--out", "run").code == 0
    assert_equal(used[-1], weights("run/last.ckpt"))  # the validation after the last step
    monkeypatch.setattr(Task, "on_test_start", look)
    assert fsseg("test", "--ckpt_path", "run/last.ckpt", "--data.loading.cache_features=false").code == 0
    assert_equal(used[-1], weights("run/last.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("parts", [EMA, (*EMA, *file("accumulation"), "--data.episodes.train=24")])
def test_a_resumed_training_with_an_average_ends_with_the_same_bits(fsseg, parts):
    whole = (*PLAIN, *parts, "--trainer.max_steps=6")
    assert fsseg(*whole, "--out", "whole").code == 0
    assert fsseg(*whole, "--out", "run", "--trainer.max_steps=3").code == 0
    assert fsseg(*whole, "--out", "run", "--resume").code == 0
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert_equal(weights("whole/last.ckpt", key), weights("run/last.ckpt", key))


@pytest.mark.slow
def test_a_signal_during_a_validation_saves_weights_and_average_each_in_its_place(fsseg, monkeypatch):

    step, sent = Task.validation_step, []

    def interrupted(task: Task, batch: Any, number: int) -> Any:
        if not sent and not task.trainer.sanity_checking:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return step(task, batch, number)

    whole = (*PLAIN, *EMA, "--trainer.max_steps=4", "--data.episodes.val=4")
    assert fsseg(*whole, "--out", "whole").code == 0
    monkeypatch.setattr(Task, "validation_step", interrupted)
    half = (*whole, "--data.episodes.train=4")  # validations after 2 and 4 steps
    assert fsseg(*half, "--out", "run").code == 128 + signal.SIGTERM
    assert read_card("run/last.ckpt").step == 2
    assert fsseg(*half, "--out", "run", "--resume").code == 0
    for key in ("state_dict", "current_model_state"):
        assert_equal(weights("whole/last.ckpt", key), weights("run/last.ckpt", key))


@pytest.mark.slow
def test_a_signal_between_accumulated_batches_ends_the_training_after_the_step(fsseg, monkeypatch):
    whole = (*PLAIN, *file("accumulation"), "--data.episodes.train=24", "--trainer.max_steps=3")
    assert fsseg(*whole, "--out", "whole").code == 0
    train, batches = Task.training_step, []

    def interrupted(task: Task, batch: Any, number: int) -> Any:
        batches.append(number)
        if len(batches) == 5:  # the first batch of the second step
            os.kill(os.getpid(), signal.SIGTERM)
        return train(task, batch, number)

    monkeypatch.setattr(Task, "training_step", interrupted)
    assert fsseg(*whole, "--out", "run").code == 128 + signal.SIGTERM
    assert (len(batches), read_card("run/last.ckpt").step) == (8, 2)
    assert fsseg(*whole, "--out", "run", "--resume").code == 0
    assert_equal(weights("whole/last.ckpt"), weights("run/last.ckpt"))


@pytest.mark.slow
def test_accumulated_batches_give_the_step_of_a_large_batch(fsseg):
    options = ("--data.episodes.train=24", "--trainer.max_steps=3")
    assert fsseg(*PLAIN, *file("accumulation"), *options, "--out", "small").code == 0
    assert fsseg(*PLAIN, "--data.batch_size=8", *options, "--out", "large").code == 0
    small, large = weights("small/last.ckpt"), weights("large/last.ckpt")
    learned = [name for name in small if "num_batches" not in name and "running" not in name]
    torch.testing.assert_close({n: small[n] for n in learned}, {n: large[n] for n in learned}, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_clipped_step_is_as_long_as_the_bound_times_the_rate(fsseg, steps):
    assert fsseg(*PLAIN, "--out", "plain", "--trainer.max_steps=2").code == 0
    assert length(steps[0], steps[1]) > 0.05 * 0.01
    steps.clear()
    assert fsseg(*PLAIN, *file("gradient_clipping"), "--trainer.gradient_clip_val=0.01", "--out", "run").code == 0
    assert [length(one, other) for one, other in pairwise(steps)] == pytest.approx([0.05 * 0.01] * 4, rel=0.02)


def length(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(torch.cat([(other[name] - one[name]).flatten() for name in one]).norm())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--data.episodes.val=0", "EarlyStopping watches val/mean_iou, without a validation: "
         "--data.episodes.val is 0."),
        ("--trainer.callbacks.monitor=val/mean_io", "Early stopping conditioned on metric `val/mean_io"),
    ],
)  # fmt: skip
def test_a_metric_that_is_not_logged_is_one_line(fsseg, flag, said):
    ran = fsseg(*PLAIN, *file("early_stopping"), flag, "--out", "run")
    assert (ran.code, "Traceback" in ran.err) == (2, False)
    assert ran.line.startswith(f"fsseg: {said}")


@pytest.mark.slow
def test_a_training_stops_after_three_validations_without_a_gain_and_keeps_the_best(fsseg, monkeypatch):
    values = iter([0.1, 0.3, 0.2, 0.25, 0.28, 0.9])

    def log(task: Task) -> None:
        if not task.trainer.sanity_checking:
            task.log("val/mean_iou", next(values))

    monkeypatch.setattr(Task, "on_validation_epoch_end", log)
    options = ("--data.episodes.train=4", "--trainer.max_steps=20", "--out", "run")
    ran = fsseg(*PLAIN, *file("early_stopping"), *options)
    assert ran.code == 0, ran.err
    assert "trained to step 10: run/last.ckpt" in ran.out
    assert "best on the validation classes: run/best-step4.ckpt\n" in ran.out
    assert {path.name for path in Path("run").glob("*.ckpt")} == {"best-step4.ckpt", "last.ckpt"}
    assert (read_card("run/best-step4.ckpt").selection, read_card("run/last.ckpt").selection) == ("base_val", "last")
    assert list(read_logs(Path("run"))["val/mean_iou"].values()) == pytest.approx([0.1, 0.3, 0.2, 0.25, 0.28])
    assert fsseg(*PLAIN, *file("early_stopping"), *options, "--resume").out == "already trained: run/last.ckpt\n"


# torch's default backend needs a C++ compiler, and its graphs none of the suite's checks of types.
COMPILING = """
import functools, sys, torch
eager = lambda graph, inputs: print("compiled a graph") or graph.forward
torch.compile = functools.partial(torch.compile, backend=eager)
from fsseg.cli import main
sys.exit(main())
"""


@pytest.mark.slow
def test_the_pages_callback_compiles_the_encoder(fsseg, tmp_path):
    page = (FOLDER.parents[1] / "docs/2-experiments.md").read_text()
    (tmp_path / "mine.py").write_text(re.search(r"```python\n(from lightning import Callback\n.*?)```", page, re.S)[1])
    words = (*PLAIN, "--trainer.callbacks+=mine.CompileEncoder", "--out", "run")
    ran = subprocess.run([sys.executable, "-c", COMPILING, *words], env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "compiled a graph" in ran.stdout
    assert fsseg(*PLAIN, "--out", "plain").code == 0
    torch.testing.assert_close(weights("run/last.ckpt"), weights("plain/last.ckpt"))
    words = ("test", "--ckpt_path", "run/last.ckpt", "--protocol.runs=1", "--protocol.episodes=2")
    trusted = ENVIRONMENT | {"FSSEG_TRUST": "mine"}
    ran = subprocess.run([*FSSEG, *words], env=trusted, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
