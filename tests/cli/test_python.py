"""fit, validate and test as functions: what they return, and that one leaves nothing behind for the next."""

import json
import subprocess
import sys

import pytest
import torch
import yaml

import fsseg
from fsseg.cli import main
from fsseg.datasets import Shapes
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.experiment.configuration import parser_of
from fsseg.experiment.files import experiment_folder
from tests.cli.conftest import QUICKSTART, TINY

OPTIONS = {
    "data.dataset.size": 32, "data.dataset.train": 200, "data.dataset.val": 120, "data.images.size": 32,
    "model.method.encoder.widths": [8, 8], "model.method.encoder.strides": [2, 2], "data.loading.workers": 0,
    "data.episodes.val": 2, "protocol.runs": 2, "protocol.episodes": 10, "data.episodes.train": 8,
    "data.batch_size": 2, "trainer.max_steps": 4, "trainer.accelerator": "cpu",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_options_in_python_are_those_of_the_command_line():
    words = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in OPTIONS.items()]
    assert sorted(words) == sorted(word.replace(",", ", ") if "[" in word else word for word in TINY)


@pytest.mark.slow
def test_a_training_its_validation_and_its_test(trained, tmp_path):
    """The same weights as those of the command with the same options."""
    run = fsseg.fit(experiment_folder() / "quickstart.yaml", {**OPTIONS, "out": tmp_path / "run"})
    assert (run.folder, run.step, run.last, run.best) == (tmp_path / "run", 4, tmp_path / "run/last.ckpt", None)
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (trained, run.last)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    found = fsseg.validate(options={"ckpt_path": run.last})
    assert 0 <= found.mean_iou <= found.binary_iou <= 1
    table = fsseg.test(options={"ckpt_path": run.last, "out": "tested"})
    assert table.mean_iou.mean == json.loads((tmp_path / "tested/table.json").read_text())["mean_iou"]["mean"]
    again = fsseg.fit("experiments/quickstart.yaml", {**OPTIONS, "out": tmp_path / "run", "resume": True})
    assert (again.before, again.last) == (True, run.last)


def test_an_option_that_is_refused_is_one_line():
    with pytest.raises(FssegError, match=r"no option --data\.foldd\. Did you mean --data\.fold\?"):
        fsseg.fit("experiments/quickstart.yaml", {"data.foldd": 1})
    with pytest.raises(FssegError, match="test needs `ckpt_path` FILE, or `untrained`"):
        fsseg.test("experiments/quickstart.yaml")


def test_python_reads_the_name_of_an_argument(tmp_path):
    with pytest.raises(FssegError, match=r"^`data\.way` 9: a fold of Shapes tests on 5 classes, 1 to 5\.$"):
        fsseg.fit("experiments/quickstart.yaml", {**OPTIONS, "data.way": 9})
    with pytest.raises(FssegError, match=r"^`data\.way` 9: a fold of Shapes tests on 5 classes, 1 to 5\.$"):
        EpisodeData(Shapes(), way=9)


def test_the_command_line_writes_the_same_texts_with_dashes(capsys, tmp_path):
    """An error, a log record (about the schedule) and a line of progress (about the classes)."""
    (tmp_path / "file").touch()
    options = {**OPTIONS, "data.episodes.missing_classes": "skip", "data.episodes.min_images": 30, "out": "file/run"}
    words = ["--data.episodes.missing_classes=skip", "--data.episodes.min_images=30", "--out=file/run"]
    assert main(["fit", *QUICKSTART, *words]) == 2
    with_dashes = capsys.readouterr().err
    with pytest.raises(FssegError) as error:
        fsseg.fit("experiments/quickstart.yaml", options)
    names = f"{capsys.readouterr().err}fsseg: {error.value}\n"
    for option in ("model.lr_scheduler.total_steps", "data.episodes.min_images", "out"):
        assert names.count(f"`{option}`") == with_dashes.count(f"--{option}") == 1
        names = names.replace(f"`{option}`", f"--{option}")
    assert names == with_dashes


@pytest.mark.slow
def test_no_command_leaves_anything_behind_for_the_next(fsseg, trained):
    """The parser of a command is built once in a process."""
    parser = parser_of("fit")
    before = parser.get_defaults().as_dict()

    def printed(*words):
        return yaml.safe_load(fsseg("fit", *words, "--print_config").out)

    plain = printed(*QUICKSTART)
    for words in (
        (*QUICKSTART, "--data.fold=3", "--model.method=PMMs", "--model.optimizer=SGD", "--model.optimizer.lr=0.5"),
        (*QUICKSTART, "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/mean_iou"),
        (*QUICKSTART, "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=here", "--protocol.name=hsnet"),
    ):
        assert printed(*words) != plain
        assert printed(*QUICKSTART) == plain
    assert fsseg("fit", *QUICKSTART, "--data.fold=one").code == 2
    assert fsseg("fit", "--ckpt_path", str(trained), "--trainer.max_steps=2").code == 2
    assert fsseg("fit", *QUICKSTART, "--trainer.max_steps=1").code == 0
    assert printed(*QUICKSTART) == plain
    assert parser_of("fit") is parser
    assert parser.get_defaults().as_dict() == before


def test_the_package_imports_no_torch():
    code = "import sys, fsseg; assert 'fit' in dir(fsseg) or 'fit' in fsseg.__all__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
