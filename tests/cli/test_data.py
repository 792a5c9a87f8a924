"""`fsseg data prepare`, as a person uses it."""

import re
import shutil
from pathlib import Path

import pytest

from fsseg.cli.help import DATA_COMMANDS


@pytest.mark.parametrize(("dataset", "files", "what"), [
    ("coco", "fake_coco", "COCO subset: 101 train and 101 val images, 80 classes"),
    ("pascal", "fake_voc", "VOC subset: 60 train and 60 val images, 20 classes"),
])  # fmt: skip
def test_the_second_run_says_that_all_is_prepared(fsseg, request, no_cache, dataset, files, what):
    root = request.getfixturevalue(files)
    first = fsseg("data", "prepare", "--dataset", dataset, "--root", str(root))
    assert first.code == 0, first.err
    assert re.match(rf"{what}; prepared in \d+\.\d s\n", first.out)
    assert "note: a subset of" in first.out
    cache = Path(re.search(r"cache: (.*)\n", first.out)[1])
    assert cache.exists()
    assert cache.parent == no_cache
    second = fsseg("data", "prepare", "--dataset", dataset, "--root", str(root))
    assert second.out == re.sub(r"prepared in \d+\.\d s", "already prepared", first.out)


def test_training_finds_what_was_prepared(fsseg, fake_coco, no_cache, monkeypatch):
    monkeypatch.setenv("FSSEG_DATA_ROOT", str(fake_coco))
    assert fsseg("data", "prepare", "--dataset", "coco", "--masks", "first_polygon_map").code == 0
    monkeypatch.setattr("fsseg.data.coco.read_annotations", None)
    again = fsseg("data", "prepare", "--dataset", "coco", "--masks", "first_polygon_map", "--year", "2017")
    assert "already prepared" in again.out
    assert "COCO masks first_polygon_map" in again.out


@pytest.mark.parametrize("arguments", [("data",), ("data", "--help"), ("data", "prepare", "--help")])
def test_help_names_the_options(fsseg, arguments):
    ran = fsseg(*arguments)
    assert ran.code == 0
    assert all(word in ran.out for word in (*DATA_COMMANDS, "--root DIR", "--dataset", "--year", "--masks", "--crowds"))
    assert all(command in fsseg("--help").out for command in DATA_COMMANDS)


COCO = ("--dataset", "coco", "--root", "x")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("prepar",), "no command 'data prepar'. Did you mean data prepare?"),
        (("prepare",), "needs --dataset coco or pascal"),
        (("prepare", "--dataset", "coco"), "needs --root DIR"),
        (("prepare", "--dataset", "voc", "--root", "x"), "--dataset: invalid choice: 'voc'"),
        (("prepare", "--dataset"), "--dataset: expected one argument"),
        (("prepare", *COCO, "--yeer", "3"), "no option --yeer. Did you mean --year?"),
        (("prepare", *COCO, "more"), "no option more."),
        (("prepare", *COCO, "--year", "2015"), "year is 2015, one of (2017, 2014)"),
        (("prepare", *COCO, "--year", "new"), "--year: invalid int value: 'new'"),
        (("prepare", *COCO, "--masks", "round"), "masks is 'round'"),
        (("prepare", *COCO, "--crowds", "drop"), "crowds is 'drop'"),
        (("prepare", *COCO), "--root x is no tree of COCO"),
        (("prepare", "--dataset", "pascal", "--root", "x"), "--root x is no VOCdevkit"),
        (("prepare", "--dataset", "pascal", "--root", "x", "--masks", "exact"), "--masks is for --dataset coco"),
    ],
)
def test_one_line_and_exit_code_2(fsseg, arguments, expected):
    ran = fsseg("data", *arguments)
    assert ran.code == 2
    assert ran.line.startswith("fsseg: ")
    assert expected in ran.line
    assert ran.err.count("\n") == 1
    assert not ran.out


def test_a_cache_that_cannot_be_written_is_said(fsseg, fake_coco, no_cache):
    no_cache.parent.mkdir()
    no_cache.write_text("")
    ran = fsseg("data", "prepare", "--dataset", "coco", "--root", str(fake_coco))
    assert (ran.code, "cannot be written" in ran.line) == (2, True)
    shutil.rmtree(fake_coco / "annotations")
    assert "annotations" in fsseg("data", "prepare", "--dataset", "coco", "--root", str(fake_coco)).line
