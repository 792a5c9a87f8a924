"""Two processes on a CPU: the same numbers as one, and a training that goes on to the last bit."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fsseg.experiment.files import experiment_folder
from tests.cli.conftest import ENVIRONMENT, FSSEG, QUICKSTART

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
TWO = ("--trainer.strategy=ddp", "--trainer.devices=2")
# Dropout, and mixtures that start anew in every step: random numbers that a resumed training must go on with.
DRAWING = (
    "fit", "--config", str(experiment_folder() / "rpmm_shapes_1shot.yaml"), *QUICKSTART[2:], *TWO,
    "--model.method.channels=8", "--model.method.dropout=0.5", "--model.method.mixture.redraw=true",
    "--data.episodes.train=40", "--checkpoint.every_n_train_steps=3", "--checkpoint.save_top_k=0",
)  # fmt: skip
# No dropout and no BatchNorm, so that two processes can be equal to one.
EXACT = ("fit", *QUICKSTART, "--trainer.log_every_n_steps=1", "--trainer.max_steps=6", "--data.episodes.val=3")
# A frozen encoder, whose features are computed once or in every step.
FROZEN = (
    "fit", "--config", str(experiment_folder() / "pmm_shapes_1shot.yaml"), *QUICKSTART[2:], *TWO,
    "--model.method.channels=8", "--model.method.encoder.frozen=true", "--trainer.log_every_n_steps=1",
    "--trainer.max_steps=12", "--data.dataset.train=40", "--data.episodes.train=40", "--data.episodes.val=3",
)  # fmt: skip
ABSENT = (
    "--protocol.absent_queries=0.4",
    "--protocol.runs=3",
    "--protocol.episodes=7",
    "--data.loading.test_batch_size=2",
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A folder where two processes have worked."""
    folder = tmp_path_factory.mktemp("two")
    killed = [*FSSEG, *DRAWING, "--trainer.max_steps=1000", "--out", "killed"]
    process = subprocess.Popen(killed, cwd=folder, env=ENVIRONMENT, start_new_session=True)
    while process.poll() is None and not (folder / "killed/last.ckpt").is_file():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    step = torch.load(folder / "killed/last.ckpt", weights_only=True)["global_step"]
    steps = f"--trainer.max_steps={step + 5}"
    listed = [
        (*DRAWING, steps, "--out", "whole"),
        (*DRAWING, steps, "--out", "killed", "--resume"),
        (*EXACT, *TWO, "--data.batch_size=2", "--out", "exact"),
        (*FROZEN, "--out", "cached"),
        (*FROZEN, "--data.loading.cache_features=false", "--out", "encoded"),
        ("test", "--ckpt_path", str(trained), *ABSENT, *TWO, "--out", "two", "--resume"),
    ]
    (folder / "work.json").write_text(json.dumps(listed))
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    command = [*TORCHRUN, "tests.cli.two_processes", "work.json"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (folder / "said.txt").write_text(ran.stderr)
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


def logged(run: Path) -> dict[int, dict[str, float]]:
    """Training losses by step."""
    rows = [row for row in read(run / "logs/version_0/metrics.csv") if row["train/loss"]]
    return {int(row["step"]): {k: float(v) for k, v in row.items() if k.startswith("train/")} for row in rows}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_processes_encode_each_half_of_the_images(work):
    found = json.loads((work / "work.features").read_text())
    assert found["off"] < 1e-5
    assert 0.5 <= found["share"] < 0.52


@pytest.mark.slow
def test_two_processes_take_the_same_steps_with_cached_features(work):
    """A frozen encoder, which is no part of what the processes average."""
    assert (work / "said.txt").read_text().count("training: ") == 1
    torch.testing.assert_close(weights(work / "cached"), weights(work / "encoded"), rtol=1e-3, atol=1e-5)
    losses = logged(work / "cached"), logged(work / "encoded")
    assert len(losses[0]) == 12
    for step, values in losses[0].items():
        assert losses[1][step] == pytest.approx(values, rel=1e-4)


@pytest.mark.slow
def test_every_method_has_the_gradients_of_one_process(work):
    """Each in two processes, with void, and without the error about parameters that took no part."""
    found = json.loads((work / "work.out").read_text())
    assert len(found) >= 2 * 13
    for name, differ in found.items():
        assert differ["loss"] < 1e-6, name
        assert differ["gradient"] < 2e-6, name


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(work, fsseg, tmp_path):
    ran = fsseg(*EXACT, "--data.batch_size=4", "--out", "one")
    assert ran.code == 0, ran.err
    one, two = weights(tmp_path / "one"), weights(work / "exact")
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    losses = logged(tmp_path / "one"), logged(work / "exact")
    assert len(losses[0]) == 6
    for step, values in losses[0].items():
        assert losses[1][step] == pytest.approx(values, rel=1e-4)


@pytest.mark.slow
def test_two_processes_test_the_same_rows_as_one(work, trained, fsseg, tmp_path):
    """21 episodes in batches of two: two processes must neither drop one nor count one twice."""
    assert fsseg("test", "--ckpt_path", str(trained), *ABSENT, "--out", "one").code == 0
    for name in ("rows.csv", "table.json", "table.md", "episodes.json"):
        assert (tmp_path / "one" / name).read_bytes() == (work / "two" / name).read_bytes(), name
    found = {(row["run"], row["episode"]) for row in read(work / "two/rows.csv")}
    assert found == {(str(run), str(number)) for run in range(3) for number in range(7)}


@pytest.mark.slow
def test_a_killed_training_of_two_processes_goes_on_to_the_same_weights(work):
    """Each process with random numbers of its own: two that differ are stored."""
    whole, resumed = weights(work / "whole"), weights(work / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert json.loads((work / "killed/run.json").read_text())["resumed_at"] >= 3
    first, second = torch.load(work / "whole/last.ckpt", weights_only=True)["random"]
    assert not torch.equal(first["cpu"], second["cpu"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_what_a_person_might_not_expect_is_said(work, fsseg):
    ran = fsseg("fit", "--ckpt_path", str(work / "exact/last.ckpt"), "--trainer.devices=1", "--trainer.strategy=auto",
                "--trainer.max_steps=7", "--out", "on")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "note: a training of 2 processes resumes in 1, with other episodes and random numbers." in ran.err
    assert "You passed" not in ran.err
    ran = fsseg("fit", *QUICKSTART, "--trainer.max_steps=1", "--trainer.precision=16-mixed", "--out", "narrow")
    assert ran.code == 0, ran.err
    assert "note: --trainer.precision 16-mixed is bf16-mixed on a CPU" in ran.err
    assert "You passed" not in ran.err
