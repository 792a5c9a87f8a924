"""Untrusted data sets: no program is started, no file outside the folder is read, memory is limited."""

import contextlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.datasets import FSS1000, ISIC2018, CocoJson, Folder, Pascal
from fsseg.encoders.weights import load_pretrained
from fsseg.errors import FssegError
from fsseg.files.annotation_json import read_marks
from fsseg.files.images import image_size, read_image
from fsseg.files.masks import read_labels, read_region
from fsseg.untrusted.card import read_card
from fsseg.untrusted.text import BrokenTextError, leads_out, load_json, load_yaml, shown
from tests.datasets.test_coco_json import write
from tests.suites import write_fss1000, write_isic


def refused(read: Any, *words: str) -> None:
    with pytest.raises(FssegError) as error:
        read()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_picture_starts_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker, path = tmp_path / "marker", tmp_path / "photo.png"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    PIL.Image.new("RGB", (8, 8)).save(path, "EPS")
    for read in (read_image, read_labels, read_region, image_size):
        refused(lambda read=read: read(path), "cannot be decoded")
    assert not marker.exists()
    with PIL.Image.open(path) as picture, contextlib.suppress(OSError):  # what the list of formats is for
        picture.load()
    assert marker.exists()


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/hostname", "day1/../../../secret.png", "C:\\secret.png",
                                  "a\x00.png"])  # fmt: skip
def test_an_image_outside_the_folder_is_not_read(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "theirs")
    PIL.Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "secret.png")
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = name
    path.write_text(json.dumps(content))
    for step in ("open", "locate"):
        refused(lambda step=step: getattr(CocoJson(), step)(tmp_path / "theirs"), "annotations.json")


@pytest.mark.parametrize("change", [
    {"height": 10**9, "width": 10**9}, {"height": 30_000, "width": 30_000}, {"height": 1e308}, {"width": float("nan")},
    {"height": -1}, {"height": "9" * 5000},
])  # fmt: skip
def test_an_image_is_not_larger_than_any_is(tmp_path: Path, change: dict) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    content["images"][0].update(change)
    path.write_text(json.dumps(content))
    refused(lambda: CocoJson().open(tmp_path), "annotations.json")


@pytest.mark.parametrize("segmentation", [
    {"size": [20, 30], "counts": [10**12]}, {"size": [20, 30], "counts": [2**63, 1]},
    {"size": [20, 30], "counts": "o" * 99},
    {"size": [20, 30], "counts": [-5, 605]}, [[float("nan")] * 6], [[float("inf"), 0, 1, 1, 2, 2]], [[1e300] * 6],
    [[0, 0, 10**30, 0, 5, 5]], {"size": [10**6, 10**6], "counts": [10**12]}, {"counts": None}, [[]], [{}], "abc", 5,
    {"size": [20, 30], "counts": "ä"}, [["a"] * 6], [[[1, 2, 3], [3, 4, 5], [5, 6, 7]]],
])  # fmt: skip
def test_a_segmentation_does_not_lead_pycocotools_astray(tmp_path: Path, segmentation: Any) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = segmentation
    path.write_text(json.dumps(content))
    refused(lambda: CocoJson().open(tmp_path), "malformed segmentation")


@pytest.mark.parametrize(
    "points", [[[1e300, 0], [0, 1], [1, 1]], [["nan", 0], [0, 1], [1, 1]], [[1e9, 0], [-1e9, 5], [0, 9]]]
)
@pytest.mark.parametrize("kind", ["polygon", "line", "rectangle", "circle"])
def test_marks_are_not_drawn_for_hours(tmp_path: Path, points: list, kind: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"shapes": [{"label": "cat", "shape_type": kind, "points": points}]}))
    refused(lambda: read_marks(path, {"cat": 1}).paint(20, 30), "x.json")


def test_names_of_a_list_of_voc_are_no_paths(fake_voc: Path) -> None:
    path = fake_voc / "VOC2012/ImageSets/SegmentationAug/val.txt"
    path.write_text("../../../../etc/hostname\n")
    refused(lambda: Pascal().open(fake_voc), "VOC2012/SegmentationClassAug/hostname.png is missing")
    path.write_text("a\x00b\n")
    refused(lambda: Pascal().open(fake_voc), "is missing")


@pytest.mark.parametrize("name", ["<b>x\n</b>", "", "\x1b[31m", 5, None, ["x"], "background"])
def test_a_class_has_a_name_that_can_be_printed(own_maps: Path, name: object) -> None:
    (own_maps / "classes.yaml").write_text(json.dumps({"classes": [name, "dog", "fish", "newt", "bird"]}))
    refused(lambda: Folder().open(own_maps), "classes.yaml")


def compressed(path: Path, megabytes: int) -> None:
    """A checkpoint that unpacks to many times its size."""
    torch.save({"x": torch.zeros(megabytes << 18)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_checkpoint_that_is_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    compressed(path, 8)
    assert path.stat().st_size < 1 << 20
    refused(lambda: read_card(str(path)), "is compressed")
    refused(lambda: load_pretrained(torch.nn.Linear(1, 1), "vgg16", str(path)), "is compressed")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "nul", "\ufeff", ""])
def test_json_that_is_none(text: str) -> None:
    with pytest.raises(BrokenTextError) as error:
        load_json(text)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", ['a: "b\\0"', '"\\0": 1', "a: [1, '2', \"\\0\"]", "a: 2020-13-45", "a: !!int x"])
def test_yaml_of_what_no_person_writes(text: str) -> None:
    with pytest.raises(BrokenTextError):
        load_yaml(text)


def test_yaml_keeps_what_people_write() -> None:
    assert load_yaml("a: &x {b: 1}\nc: {<<: *x, d: [1.5, null, true]}") == {
        "a": {"b": 1},
        "c": {"b": 1, "d": [1.5, None, True]},
    }


@pytest.mark.parametrize(
    ("name", "out"),
    [("a/../b.jpg", False), ("a.jpg", False), ("../a", True), ("a/../../b", True), ("/a", True), ("C:\\a", True),
     ("..\\a", True), (".", False)],
)  # fmt: skip
def test_names_that_lead_out(name: str, out: bool) -> None:
    assert leads_out(name) == out


def test_a_line_shows_what_a_terminal_would_act_on() -> None:
    assert shown("a\nb \x1b]0;x\x07 ä") == "a b \\x1b]0;x\\x07 ä"


@pytest.mark.parametrize(
    ("name", "array"),
    [("kinds", [5]), ("kinds", [0]), ("first", [-1]), ("offsets", [1 << 40]), ("sizes", [[0, 0]]), ("train", 99),
     ("object_kinds", [9]), ("names", [1.5]), ("areas", [[1]]), ("images", [99]), ("first_shown", [-1])],
)  # fmt: skip
def test_a_broken_cache_of_regions_is_made_anew(tmp_path: Path, name: str, array: Any) -> None:
    write(tmp_path)
    dataset = CocoJson()
    dataset.open(tmp_path)
    pixels = np.array(dataset.index.pixels)  # the file is mapped
    path = dataset.index.cache / f"{name}.npy"  # type: ignore[operator]
    before = np.load(path)
    if np.ndim(array) and np.shape(array)[1:] == before.shape[1:] and before.dtype.kind != "S":
        after = before.copy()
        after[1:2] = array
    else:
        after = np.array(array)
    np.save(path, after)
    again = CocoJson()
    again.open(tmp_path)
    assert again.index.fresh
    assert np.array_equal(again.index.pixels, pixels)


@pytest.mark.parametrize(
    "name", ["../fig", "/etc", "a\\..\\..\\b", "C:\\fig", "fig\x00", "\x1b[31mfig", ".", "..", "x" * 10**6, "\u202efig"]
)
def test_a_list_of_classes_names_folders_only(tmp_path: Path, name: str) -> None:
    write_fss1000(tmp_path)
    (tmp_path / "splits/test.txt").write_text(f"gnu\n{name}\n", encoding="utf-8")
    for step in ("open", "locate"):
        with pytest.raises(FssegError) as error:
            getattr(FSS1000(), step)(tmp_path)
        assert len(str(error.value)) < 600
        assert str(error.value).isprintable()


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 99, b"\xff\xfe", b"ID,Class\n" + b"x" * 10**6 + b",nevus\n", b"ID,Class\nISIC_0000000,\x1b[31m\n",
    b'ID,Class\n"ISIC_0000000,nevus\n', b"ID,Class\n" + b"y" * 10**5 + b",nevus\n" + b"y" * 10**5 + b",melanoma\n",
])  # fmt: skip
def test_a_table_of_classes_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    write_isic(tmp_path)
    (tmp_path / "class_id.csv").write_bytes(content)
    with pytest.raises(FssegError) as error:
        ISIC2018().open(tmp_path)
    assert len(str(error.value)) < 600
    assert str(error.value).isprintable()
