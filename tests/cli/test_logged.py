"""What W&B, TensorBoard and CSV are given; W&B's run is a stand-in that writes down what it is told."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
import wandb
import yaml

from tests.conftest import needs

from .conftest import QUICKSTART

EVERY_STEP = ("--trainer.log_every_n_steps", "1")
WANDB = ("--config", "experiments/loggers/wandb.yaml")
TENSORBOARD = ("--config", "experiments/loggers/tensorboard.yaml")


class Run:
    """Stands in for W&B's run."""

    def __init__(self, folder: Path, **options) -> None:
        self.options, self.entity, self.url, self.name = options, "someone", None, options["name"]
        self.id = options["id"] or f"run{len(list(folder.glob('*')))}"
        self.project, self.dir = options["project"], str(folder / self.id / "files")
        (folder / self.id).mkdir(exist_ok=True)
        self.config, self.logged, self.artifacts, self.ends = {}, [], [], []
        self.config = self

    def update(self, values, allow_val_change) -> None:
        self.told = getattr(self, "told", {}) | values

    def log(self, values) -> None:
        self.logged.append(values)

    def log_artifact(self, artifact, aliases) -> None:
        self.artifacts.append((artifact, aliases))

    def finish(self, exit_code) -> None:
        self.ends.append(exit_code)

    def values(self, key: str) -> list:
        return [each[key] for each in self.logged if key in each]


@pytest.fixture
def runs(monkeypatch, tmp_path_factory) -> list[Run]:
    """W&B's runs, in the order of their start."""
    started, folder = [], tmp_path_factory.mktemp("wandb")

    def init(**options) -> Run:
        started.append(Run(folder, **options))
        return started[-1]

    monkeypatch.setattr(wandb, "init", init)
    return started


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_wandb_gets_losses_rate_metrics_pictures_and_configuration(fsseg, runs, tmp_path):
    ran = fsseg("fit", *QUICKSTART, *WANDB, *EVERY_STEP, "--out", "run")
    assert ran.code == 0, ran.err
    [run] = runs
    assert (run.options["project"], run.name) == ("fsseg", "quickstart fold0")
    assert run.options["dir"] == "run"
    assert len(run.values("train/loss")) == len(run.values("train/alignment")) == len(run.values("lr")) == 4
    assert run.values("lr")[0] == pytest.approx(0.001 / 25, rel=1e-4)  # OneCycleLR's start
    per_class = {key: value for each in run.logged for key, value in each.items() if key.startswith("val/iou/")}
    assert sum(per_class.values()) / len(per_class) == pytest.approx(run.values("val/mean_iou")[-1], abs=1e-6)
    assert 0 < run.values("val/binary_iou")[-1] < 1
    [[picture]] = run.values("val/episodes")
    assert isinstance(picture, wandb.Image)
    with PIL.Image.open(tmp_path / "run/logs/version_0/pictures/val-episodes-step000004.png") as same:
        assert picture.image.size == same.size
    assert run.told == yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert run.artifacts == []
    assert run.ends == [0]
    assert json.loads((tmp_path / "run/wandb.json").read_text())["id"] == run.id
    assert f"W&B: wandb sync {Path(run.dir).parent}" in ran.err


@pytest.mark.slow
def test_checkpoints_are_artifacts_where_asked_for(fsseg, runs):
    best = ("--protocol.selection", "base_val", "--trainer.logger.log_model", "true")
    assert fsseg("fit", *QUICKSTART, *WANDB, *best, "--out", "run").code == 0
    [run] = runs
    files = {aliases[0]: list(artifact.manifest.entries) for artifact, aliases in run.artifacts}
    assert files == {"best": ["best.ckpt"], "last": ["last.ckpt"]}
    assert all(artifact.type == "model" and artifact.name == f"model-{run.id}" for artifact, _ in run.artifacts)


@pytest.mark.slow
def test_a_test_and_a_resumed_training_go_on_with_the_trainings_run(fsseg, runs, tmp_path):
    fsseg("fit", *QUICKSTART, *WANDB, "--out", "run")
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt")
    assert ran.code == 0, ran.err
    table = json.loads((tmp_path / "run/test/table.json").read_text())
    first, test = runs
    assert (test.options["id"], test.options["entity"], test.options["resume"]) == (first.id, "someone", "allow")
    assert test.name is None  # so that W&B leaves the run its name
    [logged] = test.values("test/table")
    assert logged.columns == ["class", "iou", "std", "queries"]
    assert logged.data[:-2] == [[c["name"], c["iou"], c["std"], c["queries"]] for c in table["classes"]]
    for name, line in zip(("mean_iou", "binary_iou"), logged.data[-2:], strict=True):
        assert line[1:3] == [table[name]["mean"], table[name]["std"]]
        assert test.values(f"test/{name}") == [pytest.approx(table[name]["mean"] / 100)]
    for line in table["classes"]:
        assert test.values(f"test/iou/{line['name']}") == [pytest.approx(line["iou"] / 100)]
    [[picture]] = test.values("test/episodes")
    with PIL.Image.open(tmp_path / "run/test/episodes.png") as same:
        assert picture.image.size == same.size
    assert test.told["test"]["protocol"] == yaml.safe_load((tmp_path / "run/test/config.yaml").read_text())["protocol"]
    assert {each["trainer/global_step"] for each in test.logged} == {4}
    assert test.ends == [0]
    ran = fsseg("fit", "--ckpt_path", "run/last.ckpt", "--trainer.max_steps", "6")
    assert ran.code == 0, ran.err
    assert runs[2].options["id"] == first.id


@pytest.mark.slow
def test_another_project_and_an_unknown_training_get_a_new_run(fsseg, runs, tmp_path):
    fsseg("fit", *QUICKSTART, *WANDB, "--out", "run")
    assert fsseg("test", "--ckpt_path", "run/last.ckpt", "--trainer.logger.project", "other").code == 0
    assert runs[1].options["id"] is None
    (tmp_path / "run/wandb.json").write_text("{")
    assert fsseg("test", "--ckpt_path", "run/last.ckpt").code == 0
    assert runs[2].options["id"] is None
    assert fsseg("test", *QUICKSTART, *WANDB, "--untrained").code == 0
    assert runs[3].options["dir"] == "runs/quickstart/fold0"


@pytest.mark.slow
def test_each_protocol_is_logged_under_its_name(fsseg, runs):
    fsseg("fit", *QUICKSTART, *WANDB, "--out", "run")
    ran = fsseg(
        "test",
        "--ckpt_path",
        "run/last.ckpt",
        "--protocols",
        "fsseg,hsnet",
        *("--protocol.runs=1", "--protocol.episodes=4"),
    )
    assert ran.code == 0, ran.err
    for run, name in zip(runs[1:], ("fsseg", "hsnet"), strict=True):
        assert len(run.values(f"test/{name}/mean_iou")) == 1


@pytest.mark.slow
def test_the_learning_rate_is_that_of_the_option_whatever_the_factors(fsseg, tmp_path):
    factors = ("--model.head_lr", "10", "--model.bias_lr", "2", "--model.method", "CANet", "--model.method.channels=8")
    sgd = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.5")
    flat = ("--model.lr_scheduler", "torch.optim.lr_scheduler.ConstantLR", "--model.lr_scheduler.factor", "1")
    tiny = [flag for flag in QUICKSTART if "scale" not in flag]
    ran = fsseg("fit", *tiny, *factors, *sgd, *flat, *EVERY_STEP, "--trainer.max_steps=1", "--out", "run")
    assert ran.code == 0, ran.err
    assert float(read_csv(tmp_path / "run/logs/version_0/metrics.csv")[0]["lr"]) == 0.5


@pytest.mark.slow
def test_a_training_without_loggers_logs_nothing(fsseg, runs, tmp_path):
    assert fsseg("fit", *QUICKSTART, *WANDB, "--trainer.logger", "false", "--out", "run").code == 0
    assert not runs
    assert not (tmp_path / "run/logs").exists()


def test_csv_keeps_pictures_beside_its_numbers(trained):
    folder = trained.parent / "logs/version_0"
    last = read_csv(folder / "metrics.csv")[-1]
    assert {"step", "val/mean_iou", "val/binary_iou"} <= last.keys()
    assert any(key.startswith("val/iou/") and float(value) > 0 for key, value in last.items())
    with PIL.Image.open(folder / "pictures/val-episodes-step000004.png") as picture:
        assert picture.width > 400
    assert yaml.safe_load((folder / "hparams.yaml").read_text())["data"]["fold"] == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # TensorBoard's reader leaves its file open
def test_tensorboard_gets_the_same(fsseg, tmp_path):
    reader = needs("tensorboard.backend.event_processing.event_accumulator", "dev").EventAccumulator

    ran = fsseg("fit", *QUICKSTART, *TENSORBOARD, *EVERY_STEP, "--out", "run")
    assert ran.code == 0, ran.err
    assert fsseg("test", "--ckpt_path", "run/last.ckpt").code == 0
    fit, test = (reader(str(tmp_path / f"run/tensorboard/version_{i}")).Reload().Tags() for i in (0, 1))
    assert {"lr", "train/loss", "val/mean_iou"} <= set(fit["scalars"])
    assert any(tag.startswith("val/iou/") for tag in fit["scalars"])
    assert (fit["images"], test["images"]) == (["val/episodes"], ["test/episodes"])
    assert {"test/mean_iou", "test/binary_iou"} <= set(test["scalars"])
    assert "test/table/text_summary" in test["tensors"]


@pytest.mark.slow
def test_tensorboard_that_is_not_installed_is_one_line(fsseg, monkeypatch, tmp_path):
    monkeypatch.setattr("fsseg.runs.loggers.find_spec", lambda name: None)
    ran = fsseg("fit", *QUICKSTART, *TENSORBOARD, "--out", "run")
    assert (ran.code, ran.line) == (
        2, "fsseg: TensorBoardLogger needs a package that is not installed: pip install tensorboard.",
    )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_wandb_without_a_login_is_one_line(fsseg, monkeypatch, tmp_path):
    monkeypatch.setattr("wandb.setup", lambda: type("Session", (), {"settings": type("S", (), {"mode": "online"})}))
    monkeypatch.setattr("wandb.login", lambda prompt: False)
    ran = fsseg("fit", *QUICKSTART, *WANDB, "--out", "run")
    assert ran.code == 2
    assert ran.line.startswith("fsseg: WandbLogger has no login: run `wandb login`, or set WANDB_MODE=offline;")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_wandb_refuses_is_one_line_and_leaves_no_run(fsseg, monkeypatch, tmp_path):
    def refuse(**options):
        raise wandb.errors.CommError("project not found\n")

    monkeypatch.setattr(wandb, "init", refuse)
    ran = fsseg("fit", *QUICKSTART, *WANDB, "--out", "run")
    assert (ran.code, ran.line) == (2, "fsseg: W&B: project not found. Set WANDB_MODE=offline to log without a server.")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_failed_training_ends_its_run_as_failed(fsseg, runs):
    ran = fsseg("fit", *QUICKSTART, *WANDB, "--out", "run", "--model.lr_scheduler.max_lr", "1e30")
    assert ran.code == 2
    assert runs[0].ends == [1]


ALONE = """
import socket, sys
def refuse(*_): raise AssertionError("the network was asked for")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from fsseg.cli import main
assert main(sys.argv[1:]) == 0
assert not {"wandb", "tensorboard"} & sys.modules.keys()
"""


@pytest.mark.slow
def test_without_wandb_in_the_configuration_nothing_asks_for_it(tmp_path):
    command = [sys.executable, "-c", ALONE, "fit", *QUICKSTART, "--out", "run"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_a_run_offline_leaves_pictures_and_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    code = "import sys; from fsseg.cli import main; sys.exit(main(sys.argv[1:]) or main(OF_A_TEST))"
    code = code.replace("OF_A_TEST", str(["test", "--ckpt_path", "run/last.ckpt"]))
    command = [sys.executable, "-c", code, "fit", *QUICKSTART, *WANDB, "--out", "run"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stderr.splitlines() if "wandb" in line.lower()]
    assert len(said) == 2
    assert all(line.startswith("W&B: wandb sync run/wandb/offline-run-") for line in said)
    run_id = json.loads((tmp_path / "run/wandb.json").read_text())["id"]
    assert len(list(tmp_path.glob(f"run/wandb/offline-run-*-{run_id}/run-{run_id}.wandb"))) == 2
    pictures = [
        path.parent.name for path in tmp_path.glob("run/wandb/offline-run-*/files/media/images/*/episodes_*.png")
    ]
    assert sorted(pictures) == ["test", "val"]
    [table] = tmp_path.glob("run/wandb/offline-run-*/files/media/table/test/table_*.table.json")
    written = json.loads((tmp_path / "run/test/table.json").read_text())
    assert json.loads(table.read_text())["data"][-2][1] == written["mean_iou"]["mean"]
