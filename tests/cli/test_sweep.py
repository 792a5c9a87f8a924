"""`fsseg sweep`: every option of the shipped sweeps exists, and small ones run here."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from fsseg.cli.sweep import logged
from fsseg.experiment.files import experiment_folder
from fsseg.experiment.session import settled
from fsseg.jobs.sweep import read_sweep
from fsseg.jobs.sweep_results import PointResult, rank
from fsseg.runs.library_errors import quieten

from .conftest import TINY

SWEEPS = sorted((experiment_folder() / "sweeps").glob("*.yaml"))
SMALL = """
program: fsseg
method: grid
metric: {name: val/mean_iou, goal: maximize}
parameters:
  model.method.align_weight: {values: VALUES}
command: ["${env}", fsseg, fit, --config, experiments/quickstart.yaml,
          --config, experiments/loggers/wandb.yaml, "${args}"]
"""


def write(values: str, path: str = "small.yaml") -> str:
    Path(path).write_text(SMALL.replace("VALUES", values))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_point_is_options_of_fit(path, fake_voc, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSSEG_DATA_ROOT", str(fake_voc))
    quieten()
    sweep = read_sweep(path)
    for point in sweep.points(None, 0):
        command, *words = sweep.arguments(point)
        with settled(command, words) as found:
            own = found.saved
        assert own["trainer"]["logger"]["class_path"].endswith("WandbLogger")
        for name, value in point.items():
            part = own
            for key in name.split("."):
                part = part[key] if key in part else part["init_args"][key]
            if isinstance(part, dict):
                part = part["class_path"].rpartition(".")[2]
            assert part == value, name


def test_without_local_it_says_how_wandb_runs_it(fsseg):
    ran = fsseg("sweep", "experiments/sweeps/quickstart.yaml")
    assert ran.code == 2
    assert ran.line.startswith("fsseg: a sweep by W&B's server starts with: wandb sweep ")
    assert ran.line.endswith("quickstart.yaml. Give --local here.")


def test_a_dry_run_lists_points_and_writes_nothing(fsseg, tmp_path):
    ran = fsseg("sweep", "experiments/sweeps/quickstart.yaml", "--local", "--dry_run", "--count", "2")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "quickstart: 2 points, 0 of them done, in runs/sweeps/quickstart",
        "    1  left  model.method.align_weight=0.0  model.lr_scheduler.max_lr=0.0003",
        "    2  left  model.method.align_weight=0.0  model.lr_scheduler.max_lr=0.001",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--wokers", "2"], "no option --wokers. Did you mean --workers?"),
        (["--data.roof", "x"], "no option --data.roof. Did you mean --data.root?"),
        (["--model.method.align_weight", "2"], "sweep: --model.method.align_weight is what the sweep varies"),
        (["--count", "0"], "sweep: --count 0: at least 1 is needed."),
        (["--ckpt_path", "a.ckpt"], "sweep: --ckpt_path is set for each point"),
        (["again"], "sweep: 'again' belongs to no option."),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(fsseg, tmp_path, flags, said):
    ran = fsseg("sweep", "experiments/sweeps/quickstart.yaml", "--local", *flags)
    assert ran.code == 2
    assert said in ran.line
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_gets_a_guess(fsseg):
    ran = fsseg("sweep", "experiments/sweeps/quikstart.yaml", "--local")
    assert ran.line.startswith("fsseg: sweep experiments/sweeps/quikstart.yaml: no such file. Did you mean quickstart?")


def test_an_option_in_the_file_that_fit_does_not_have_is_named(fsseg, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(SMALL.replace("VALUES", "[1.0]").replace("align_weight", "align_wait"))
    ran = fsseg("sweep", str(path), "--local")
    assert (ran.code, "align_wait" in ran.line, "align_weight" in ran.line) == (2, True, True)


def test_help_is_there(fsseg):
    assert "--workers N" in fsseg("sweep", "--help").out


def test_values_are_read_in_the_order_of_the_training(tmp_path):
    for version, text in ((10, "step,val/mean_iou\n9,0.3\n"), (2, "step,train/loss,val/mean_iou\n1,2.0,\n1,,0.5\n")):
        folder = tmp_path / f"logs/version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(text)
    assert logged(tmp_path, "val/mean_iou") == [0.5, 0.3]
    assert logged(tmp_path, "val/other") == []


def test_points_without_a_value_come_last():
    made = [PointResult(n, {}, "done", last, last) for n, last in enumerate((0.2, None, 0.5), 1)]
    assert [r.number for r in rank(made, "maximize")] == [3, 1, 2]
    assert [r.number for r in rank(made, "minimize")] == [1, 3, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_points_are_trained_ranked_and_gone_on_with(fsseg, tmp_path):
    tiny = [flag for flag in TINY if "protocol" not in flag]
    ran = fsseg("sweep", write("[0.0, 1.0, -oops]"), "--local", "--out", "s", *tiny)
    assert ran.code == 1, ran.err
    assert "1 of 3 points failed:" in ran.out
    assert "The same command tries them again" in ran.out
    results = json.loads((tmp_path / "s/results.json").read_text())
    assert results["metric"] == "val/mean_iou"
    first, second, failed = results["points"]
    assert (failed["number"], failed["state"], failed["last"]) == (3, "failed", None)
    assert first["last"] >= second["last"]
    for point in (first, second):
        [value] = logged(tmp_path / f"s/{point['number']}", "val/mean_iou")
        assert point["last"] == point["best"] == value
        config = yaml.safe_load((tmp_path / f"s/{point['number']}/config.yaml").read_text())
        assert config["model"]["method"]["init_args"]["align_weight"] == point["point"]["model.method.align_weight"]
        assert (tmp_path / f"s/logs/{point['number']}.log").is_file()
    with (tmp_path / "s/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model.method.align_weight"] for row in rows][2] == "'-oops"  # no formula to a spreadsheet
    assert float(rows[0]["last"]) == first["last"]
    assert f"best     point {first['number']}: s/{first['number']}/last.ckpt" in ran.out
    assert "fsseg fit --config experiments/quickstart.yaml" in ran.out
    before = (tmp_path / "s/1/last.ckpt").stat().st_mtime_ns
    ran = fsseg("sweep", "small.yaml", "--local", "--out", "s", "--count", "2", *tiny)
    assert ran.code == 0, ran.err
    assert "2 points, 2 of them done" in ran.out
    assert (tmp_path / "s/1/last.ckpt").stat().st_mtime_ns == before
    ran = fsseg("sweep", write("[0.0, 2.0]"), "--local", "--out", "s", *tiny)
    assert ran.line == "fsseg: --out s holds another sweep: its parameters differs. Choose another --out."


@pytest.mark.slow
def test_a_sweep_is_of_the_content_of_its_files_and_machines_may_change(fsseg, monkeypatch, tmp_path):
    def no_jobs(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fsseg.cli.sweep.run_local", no_jobs)
    (tmp_path / "mine.yaml").write_text("trainer: {max_steps: 2}")
    command = ("sweep", write("[1.0]"), "--local", "--out", "s", *TINY[:-2], "--config", "mine.yaml")
    assert fsseg(*command).code == 130
    assert fsseg(*command, "--data.loading.workers=1", "--trainer.enable_progress_bar=false", "--dry_run").code == 0
    (tmp_path / "mine.yaml").write_text("trainer: {max_steps: 3}")
    ran = fsseg(*command)
    assert (ran.code, "holds another sweep: its --trainer.max_steps is 2, 3 is asked for" in ran.line) == (2, True)
