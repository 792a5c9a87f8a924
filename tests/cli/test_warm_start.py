"""A training that starts from the weights of another: --model.weights."""

import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fsseg as package
from fsseg.errors import FssegError
from fsseg.experiment.compatibility import refuse_seen_classes
from fsseg.experiment.files import experiment_folder
from fsseg.runs.test_description import recipe
from fsseg.task import Task
from fsseg.untrusted.card import Card, CheckpointCard, Earlier, read_card
from tests.cli.conftest import QUICKSTART
from tests.cli.test_python import OPTIONS

FIT = ("fit", *QUICKSTART)
CONFIG = (
    "{model: {method: {class_path: PANet}, weights: %s}, data: {fold: 0, shot: 1}, trainer: {}, seed_everything: 0}"
)


def state_of(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_starts_with_the_weights_of_the_file_and_nothing_else_of_it(trained, tmp_path, monkeypatch, capsys):
    begun: list[Any] = []

    def look(task: Task) -> None:
        states = [optimizer.state_dict()["state"] for optimizer in task.trainer.optimizers]
        weights = {name: tensor.clone() for name, tensor in task.state_dict().items()}
        begun.append((weights, states, task.trainer.global_step, task.learning_rate))

    monkeypatch.setattr(Task, "on_train_start", look)
    monkeypatch.chdir(tmp_path)
    given = {**OPTIONS, "model.weights": trained, "trainer.max_steps": 2, "model.optimizer.lr": 0.5, "out": "run"}
    run = package.fit(experiment_folder() / "quickstart.yaml", given)
    weights, states, step, _ = begun[0]
    assert equal(weights, state_of(trained))
    assert (states, step) == ([{}], 0)
    assert not equal(weights, state_of(run.last))
    card, start = read_card(str(run.last)), read_card(str(trained))
    assert (card.step, card.trained["model"]["weights"]) == (2, str(trained))
    (before,) = card.earlier
    assert (before.dataset, before.fold, before.trained_on, before.step) == ("Shapes", 0, start.trained_on, 4)
    assert f"weights of {trained}, step 4; seen: 15 classes of Shapes fold 0\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data.fold=1",), "was trained on fold 0 of Shapes; --data.fold 1 of Shapes would test classes it has seen"),
        (("--model.method=PMMs",), "holds PANet, but PMMs is asked for. Give a checkpoint of PMMs."),
        (("--model.method.encoder.widths=[8,16]",), "does not fit the method: method.encoder.network.6.weight is "
         "8 x 8 x 3 x 3 in the file, 16 x 8 x 3 x 3 in the method, and 5 more tensors differ."),
        (("--model.method.encoder=VGG16",), "it holds PANet with ConvNet, PANet with VGG16 is needed"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused(fsseg, trained, tmp_path, flags, said):
    ran = fsseg(*FIT, "--model.weights", str(trained), *flags, "--out", "run")
    assert (ran.code, "Traceback" in ran.err) == (2, False)
    assert ran.line.startswith(f"fsseg: --model.weights {trained} ")
    assert said in ran.line
    assert not (tmp_path / "run").exists()


def test_files_that_hold_no_weights_are_refused(fsseg, trained, tmp_path):
    (tmp_path / "text").write_text("no checkpoint")
    content = torch.load(trained, weights_only=True)
    torch.save(content["state_dict"], tmp_path / "bare.pt")
    name = next(iter(content["state_dict"]))
    content["state_dict"][name][0] = torch.nan
    torch.save(content, tmp_path / "diverged.ckpt")
    for file, said in (
        ("nowhere", "--model.weights nowhere: no such file."),
        ("text", "--model.weights text cannot be read"),
        ("bare.pt", "--model.weights bare.pt is no checkpoint of `fsseg fit`."),
        ("diverged.ckpt", f"--model.weights diverged.ckpt: {name} is not finite"),
    ):
        ran = fsseg(*FIT, "--model.weights", file)
        assert (ran.code, said in ran.line) == (2, True), ran.err


def test_only_a_training_takes_weights(fsseg, trained):
    expected = f"--model.weights {trained} starts a training (`fit`); --ckpt_path {trained} measures the file."
    for words in (("--untrained", *QUICKSTART), ("--ckpt_path", str(trained))):
        assert expected in fsseg("test", *words, "--model.weights", str(trained)).line


@pytest.mark.slow
def test_a_resumed_training_needs_the_file_no_more_and_a_test_neither(fsseg, trained, tmp_path):
    start = shutil.copy(trained, tmp_path / "start.ckpt")
    other = shutil.copy(trained, tmp_path / "other.ckpt")
    fit = (*FIT, "--model.weights", "start.ckpt")
    assert fsseg(*fit, "--out", "whole").code == 0
    assert fsseg(*fit, "--out", "run", "--trainer.max_steps=2").code == 0
    start.rename(tmp_path / "moved.ckpt")
    resume = (*FIT, "--out", "run", "--resume")
    ran = fsseg(*resume)
    assert "run/last.ckpt started from --model.weights" in ran.line
    other_start = torch.load(other, weights_only=True)
    other_start["global_step"] = 5
    torch.save(other_start, other)
    assert "other.ckpt is asked for. Leave --model.weights out" in fsseg(*resume, "--model.weights", "other.ckpt").line
    ran = fsseg(*fit, "--out", "run", "--resume", "--trainer.max_steps=3")  # the same command
    assert ran.code == 0, ran.err
    assert "weights of" not in ran.err
    ran = fsseg(*resume, "--model.weights", "moved.ckpt")
    assert ran.code == 0, ran.err
    assert equal(state_of("run/last.ckpt"), state_of("whole/last.ckpt"))
    card = read_card("run/last.ckpt")
    assert card.earlier == read_card("whole/last.ckpt").earlier
    (tmp_path / "moved.ckpt").unlink()
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocol.runs=1", "--protocol.episodes=4")
    assert ran.code == 0, ran.err
    assert "PANet (warm start)" in ran.out
    assert "the training started from weights that had seen 15 classes of Shapes fold 0" in ran.out
    ran = fsseg(*FIT, "--model.weights", "run/last.ckpt", "--out", "third", "--trainer.max_steps=1")
    assert len(read_card("third/last.ckpt").earlier) == 2


def earlier(dataset: str, classes: list[str], digits: str = "abc") -> Earlier:
    return Earlier(dataset=dataset, fold=0, trained_on=classes, step=1, recipe=digits, digest="x")


@pytest.mark.parametrize(
    ("own", "before", "said"),
    [
        (["cat"], [], None),
        (["aeroplane"], [], "file was trained on fold 2 of VOC; `data.fold` 1 of COCO would test classes it has seen"),
        (["cat"], [["tvmonitor", "dog"]], "file started from weights trained on fold 0 of old; .* has seen \\(tv\\)"),
        (["cat"], [["sofa", "diningtable"], ["dog"]], "has seen \\(couch, dining table\\)"),
        (["cat"], [["dog"], ["motorbike", "pottedplant"]], "has seen \\(motorcycle, potted plant\\)"),
    ],
)
def test_classes_of_all_trainings_count_under_the_names_of_both_data_sets(own, before, said):
    names = ["airplane", "tv", "couch", "dining table", "motorcycle", "potted plant"]
    dataset = SimpleNamespace(name="COCO", class_name=names.__getitem__)
    data: Any = SimpleNamespace(dataset=dataset, novel=range(6), fold=1)
    card: Any = Card(
        version="1", config="", dataset="VOC", fold=2, trained_on=own, earlier=[earlier("old", one) for one in before]
    )
    if said is None:
        refuse_seen_classes("file", card, data)
    else:
        with pytest.raises(FssegError, match=said):
            refuse_seen_classes("file", card, data)


def test_trainings_from_weights_of_one_recipe_have_one_recipe():
    def of(file: str, before: list[Earlier]) -> str:
        return recipe(Card(version="1", config=CONFIG % file, dataset="", fold=0, trained_on=[], earlier=before))

    plain = of("null", [])
    assert of("a/fold0/last.ckpt", [earlier("A", ["x"])]) == of("a/fold1/last.ckpt", [earlier("A", ["y"])]) != plain
    assert of("a/fold0/last.ckpt", [earlier("A", ["x"])]) != of("a/fold0/last.ckpt", [earlier("A", ["x"], "def")])


def test_weights_that_leave_out_other_classes_start_trainings_of_one_recipe():
    def of(left_out: str, starts: bool) -> str:
        config = (CONFIG % "null").replace("shot: 1", f"shot: 1, episodes: {{exclude: [{left_out}]}}")
        return recipe(Card(version="1", config=config, dataset="", fold=0, trained_on=[], earlier=[]), starts)

    assert of("disc", True) == of("star, cross", True)
    assert of("disc", False) != of("star, cross", False)


def test_a_broken_list_of_earlier_trainings_is_refused(trained, tmp_path):
    content = torch.load(trained, weights_only=True)
    for broken in ("abc", [1], [{"dataset": "Shapes"}], [vars(earlier("\x1b[31m", []))]):
        content["fsseg"]["earlier"] = broken
        torch.save(content, tmp_path / "broken.ckpt")
        with pytest.raises(FssegError, match="is a broken checkpoint"):
            read_card(str(tmp_path / "broken.ckpt"))
    content["fsseg"]["earlier"] = [vars(earlier("Shapes", ["disc"]))]
    torch.save(content, tmp_path / "right.ckpt")
    found: CheckpointCard = read_card(str(tmp_path / "right.ckpt"))
    assert found.earlier == [earlier("Shapes", ["disc"])]
