"""What each option decides: every parameter stands in a table, and options of the machine never tell runs apart."""

import inspect

import pytest
from lightning import Trainer

from fsseg.datasets import Shapes
from fsseg.episodes import EpisodeData
from fsseg.episodes.options import GROUPS, OPTIONS, Decides, flat, with_defaults
from fsseg.experiment.replay import _QUIET
from fsseg.runs.identity import MODEL, TEST, TRAINER, first_difference, identity
from fsseg.task import Task
from tests.episode_options import grouped

OWN = {
    "seed_everything": 0,
    "model": {"method": {"class_path": "PANet"}, "optimizer": {"class_path": "SGD"}},
    "data": {"shot": 1, "test_shot": None, "root": "a", "batch_size": 1, "loading": {"workers": 2}},
    "trainer": {"precision": None, "devices": 1, "gradient_clip_val": None, "max_steps": 5},
    "protocol": {"name": "fsseg"},
}


OF_DATA = {name for name in OPTIONS if "." not in name} | GROUPS.keys()


@pytest.mark.parametrize(("kind", "table"), [(EpisodeData, OF_DATA), (Task, MODEL), (Trainer, TRAINER)])
def test_a_table_has_each_parameter_of_the_signature_and_no_other(kind, table):
    parameters = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
    assert sorted(table) == sorted(parameters)


def test_a_replay_changes_the_trainer_in_what_decides_no_row():
    names = [word.partition("=")[0].removeprefix("--trainer.") for word in _QUIET]
    assert [name for name in names if TRAINER[name] & TEST] == ["callbacks"]


def changed(section, **options):
    return {**OWN, section: {**OWN[section], **options}}


@pytest.mark.parametrize(
    "other",
    [
        changed("data", root="b", loading={"workers": 0}),
        changed("data", test_shot=1),  # what null stands for
        changed("trainer", devices=4, precision="32", gradient_clip_val=0),
        changed("trainer", precision=32),
        changed("trainer", precision="32-true"),
    ],
)
def test_options_of_the_machine_and_other_spellings_tell_nothing_apart(other):
    for role in (Decides.TRAINING, TEST):
        assert identity(other, role) == identity(OWN, role)


@pytest.mark.parametrize(
    ("other", "role"),
    [
        (changed("data", batch_size=2), Decides.TRAINING),
        (changed("data", test_shot=5), TEST),
        (changed("trainer", precision="bf16-mixed"), Decides.TRAINING),
        (changed("trainer", precision="bf16-mixed"), TEST),
        (changed("trainer", gradient_clip_val=1.0), Decides.TRAINING),
        (changed("trainer", option_of_a_later_lightning=1), TEST),
        (changed("trainer", max_steps=6), Decides.LENGTH),
        (changed("model", optimizer={"class_path": "Adam"}), Decides.TRAINING),
        (changed("model", refine=True), TEST),
    ],
)
def test_options_that_decide_tell_apart_what_they_decide_alone(other, role):
    every = [Decides.TRAINING, TEST, Decides.LENGTH]
    differs = [one for one in every if identity(other, one) != identity(OWN, one)]
    assert role in differs
    if other["trainer"] == OWN["trainer"]:
        assert differs == [role]


def test_null_stands_for_the_value_of_another_option_as_in_the_data_module():
    options = {"shot": 2, "size": 24, "support_annotation": "box"}
    data = EpisodeData(Shapes(), **grouped(**options))
    given = flat({"shot": 2, "test_shot": None, "images": {**options, "test_size": None}})
    filled = with_defaults(given)
    assert filled["test_shot"] == data.test_shot == 2
    for name in ("test_size", "test_support_annotation"):
        assert filled[f"images.{name}"] == getattr(data.images, name)
    given = flat(EpisodeData(Shapes(), **grouped(**options, test_shot=5, test_size=32, test_support_annotation="mask")))
    assert with_defaults(given) == given


def test_every_option_that_null_stands_for_is_one_of_its_group():
    for name, option in OPTIONS.items():
        group, dot, _ = name.rpartition(".")
        assert option.default is None or f"{group}{dot}{option.default}" in OPTIONS


def with_nested(**options):
    model = {**OWN["model"], "lr_scheduler": {"class_path": "fsseg.optim.Poly", "init_args": {"power": 0.9, **options}}}
    return {**OWN, "model": model, "data": {**OWN["data"], "episodes": {"train": 10}}}


def test_an_option_that_a_later_version_added_does_not_change_a_training():
    before, role = with_nested(), Decides.TRAINING
    now = with_nested(warmup_steps=0)
    now["data"] = {**now["data"], "episodes": {"train": 10, "absent_queries": 0.0}}
    assert identity(now, role) == identity(before, role)
    for other in (with_nested(warmup_steps=5), {**now, "data": {**now["data"], "episodes": {"absent_queries": 0.5}}}):
        assert identity(other, role) != identity(before, role)
    found = first_difference(identity(before, role), identity(with_nested(warmup_steps=5), role))
    assert found == ("model.lr_scheduler.warmup_steps", 0, 5)


def test_an_option_of_a_data_set_without_options_does_not_change_a_training():
    before, role = changed("data", dataset={"class_path": "fsseg.datasets.Pascal"}), Decides.TRAINING
    for folds, same in (("pascal", True), ("coco", False)):
        now = changed("data", dataset={"class_path": "fsseg.datasets.Pascal", "init_args": {"folds_of": folds}})
        assert (identity(now, role) == identity(before, role)) is same
        assert (first_difference(now, before) is None) is same  # also in a record that holds the option


def test_a_test_that_does_not_refine_is_that_of_earlier_versions():
    assert identity(changed("model", refine=False), TEST) == identity(OWN, TEST)
