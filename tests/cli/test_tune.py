"""`fsseg tune`: what is saved is the better one of what left out supports saw, and the line says the numbers."""

import re

import numpy as np
import PIL.Image
import pytest
import torch
import yaml

from fsseg.segmenter import Segmenter
from tests.cli.test_predict import TINY, scene

SUPPORTS = ("--support", "red=a.png:a.mask.png", "b.png:b.mask.png", "c.png:c.mask.png")


@pytest.fixture
def squares(tmp_path):
    """Three supports, a query and an image without a square."""
    for name, top, left in (("a", 8, 10), ("b", 30, 40), ("c", 5, 50), ("q", 20, 20)):
        scene(tmp_path, name, top, left)
    PIL.Image.fromarray(np.full((60, 80, 3), 90, dtype=np.uint8)).save(tmp_path / "none.png")
    return tmp_path


@pytest.mark.slow
def test_the_better_one_is_saved_and_used(fsseg, squares):
    ran = fsseg("tune", *SUPPORTS, "--negative", "none.png", "--save", "red.fsseg", *TINY)
    assert ran.code == 0, ran.err
    said = re.search(
        r"^IoU of 3 supports, each segmented by the others: untuned (\S+), tuned (\S+), linear head alone (\S+); "
        r"(.+) is saved: red\.fsseg$", ran.out, re.MULTILINE,
    )  # fmt: skip
    values = dict(zip(("untuned", "tuned", "linear head alone"), map(float, said.groups()[:3]), strict=True))
    assert values[said[4]] in (max(values.values()), values["untuned"])
    assert "next: fsseg predict --ckpt_path red.fsseg --query IMAGES" in ran.out
    ran = fsseg("predict", "--ckpt_path", "red.fsseg", "--query", "q.png", "--out", "out", "--device", "cpu")
    assert ran.code == 0, ran.err
    assert (np.asarray(PIL.Image.open(squares / "out/masks/q.png")) == 1).any()
    before = (squares / "red.fsseg").read_bytes()
    for choice, name in (("tuned", ", (tuned|linear head)$"), ("untuned", "kernel density ratio$")):
        assert fsseg("tune", *SUPPORTS, "--save", "red.fsseg", "--choose", choice, *TINY).code == 0
        assert re.search(name, Segmenter.load(squares / "red.fsseg").method.name)
    assert before != (squares / "red.fsseg").read_bytes()


def test_one_support_stays_untuned_unless_told(fsseg, squares):
    ran = fsseg("tune", *SUPPORTS[:2], "--save", "one.fsseg", *TINY)
    assert (ran.code, ran.out.splitlines()[0]) == (
        0,
        "no class has two supports, so that none can be left out to compare untuned and tuned; untuned is saved: "
        "one.fsseg",
    ), ran.err
    assert fsseg("tune", *SUPPORTS[:2], "--save", "one.fsseg", "--choose", "tuned", *TINY).code == 0
    assert Segmenter.load(squares / "one.fsseg").method.name == "kernel density ratio, tuned"


@pytest.mark.slow
def test_several_classes_and_tiles(fsseg, squares):
    more = ("blue=c.png:c.mask.png", "--tile", "48")
    ran = fsseg("tune", *SUPPORTS[:3], *more, "--save", "two.fsseg", "--choose", "tuned", *TINY[:4], "--device", "cpu")
    assert ran.code == 0, ran.err
    assert "note: blue not measured: a class needs two supports to leave one out." in ran.err
    ran = fsseg("predict", "--ckpt_path", "two.fsseg", "--query", "q.png", "--out", "out", "--device", "cpu")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--save", "x.fsseg"), "tune needs --support IMAGE:MASK ... and --save FILE, e.g. --save cats.fsseg."),
        (SUPPORTS, "tune needs --support IMAGE:MASK ... and --save FILE, e.g. --save cats.fsseg."),
        ((*SUPPORTS, "--save", "folder"),
         "folder is no place to save to: give a new file, or one that ends with .fsseg."),
        ((*SUPPORTS, "--save", "a.png"),
         "a.png is no place to save to: give a new file, or one that ends with .fsseg."),
        ((*SUPPORTS, "--save", "x.fsseg", "--ckpt_path", "a.png"),
         "a.png cannot be read: it is truncated, or neither a checkpoint nor a segmenter's file."),
        ((*SUPPORTS, "--save", "x.fsseg", "--model.method", "AMCG", "--model.method.encoder", "ConvNet"),
         "A-MCG encodes supports with their masks, so that no head can be fitted to its features: use another method."),
        ((*SUPPORTS, "--save", "x.fsseg", "--choose", "best"),
         "tune: --choose best: one of better, tuned, untuned is needed. Did you mean better?. See fsseg tune --help."),
        (("--support", "a.png:none.png", "--save", "x.fsseg"),
         "mask none.png holds only the value 90: is all the object, or nothing? Paint 0 and 255."),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(fsseg, squares, words, line):
    (squares / "folder").mkdir()
    method = () if {"--ckpt_path", "--model.method"} & set(words) else TINY
    ran = fsseg("tune", *words, *method)
    assert (ran.code, ran.line) == (2, f"fsseg: {line}")
    assert not (squares / "x.fsseg").exists()


def test_a_file_with_supports_is_refused(fsseg, squares):
    assert fsseg("tune", *SUPPORTS, "--save", "red.fsseg", *TINY).code == 0
    ran = fsseg("tune", *SUPPORTS, "--save", "two.fsseg", "--ckpt_path", "red.fsseg", "--device", "cpu")
    assert ran.line == "fsseg: red.fsseg has supports without their images: give the images again by --support."


@pytest.mark.parametrize(
    "change", [{"decay": -1.0}, {"share": 9.0}, {"method": None}, {"method": {"class_path": "os"}}]
)
def test_an_untrusted_file_is_data(fsseg, squares, change):
    assert fsseg("tune", *SUPPORTS, "--save", "red.fsseg", "--choose", "tuned", *TINY).code == 0
    content = torch.load(squares / "red.fsseg", weights_only=True)
    config = yaml.safe_load(content["config"])
    config["model"]["method"]["init_args"].update(change)
    torch.save({**content, "config": yaml.safe_dump(config)}, squares / "bad.fsseg")
    ran = fsseg("predict", "--ckpt_path", "bad.fsseg", "--query", "q.png", "--device", "cpu")
    assert ran.code == 2
    assert len(ran.err.strip().splitlines()) == 1
