"""Annotation files and trees that are broken: one clear line that names what and where."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsseg.datasets import Coco
from fsseg.datasets.coco_annotations import AnnotatedImage, Annotation
from fsseg.datasets.coco_masks import find_regions
from fsseg.errors import FssegError


def refused(root: Path | None, *words: str) -> None:
    """Opening fails with one line that has all the words."""
    with pytest.raises(FssegError) as error:
        Coco().open(root)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def change(root: Path, edit: Callable[[dict[str, Any]], object], split: str = "val") -> None:
    path = root / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_no_root_or_another_tree(fake_coco: Path, tmp_path: Path) -> None:
    refused(None, "needs `data.root` DIR")
    refused(tmp_path / "nowhere", "nowhere", "no folder annotations")
    (fake_coco / "annotations" / "instances_val2017.json").unlink()
    refused(fake_coco, "instances_val2017.json is missing", "annotations_trainval2017.zip")
    shutil.rmtree(fake_coco / "val2017")
    refused(fake_coco, "images/val2017 is needed")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no complete JSON file"),
        ('{"images": [', "no complete JSON file"),
        ("\x00\xff", "no complete JSON file"),
        ("[" * 100_000, "no complete JSON file"),
        ("3", "no list of images and of annotations and of categories"),
        ('{"images": [], "annotations": {}}', "no list of annotations and of categories"),
        ('{"images": [], "annotations": [], "categories": []}', "has 0 categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "car"}]}', "has 1 categories"),
        ('{"images": [], "annotations": [], "categories": [3]}', "category without id or name"),
    ],
)
def test_a_broken_annotation_file(fake_coco: Path, text: str, expected: str) -> None:
    path = fake_coco / "annotations" / "instances_val2017.json"
    path.write_text(text)
    refused(fake_coco, str(path), expected)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda c: c["annotations"][3].update(category_id=12), "annotation 4 names category 12"),
        (lambda c: c["annotations"][3].update(image_id=77), "annotation 4 names image 77"),
        (lambda c: c["annotations"][3].update(image_id=[]), "without id, image, category or segmentation"),
        (lambda c: c["annotations"][3].pop("segmentation"), "without id, image, category or segmentation"),
        (lambda c: c["annotations"].append(None), "without id, image, category or segmentation"),
        (lambda c: c["images"].append(c["images"][0]), "twice. List each image once"),
        (lambda c: c["images"].append({**c["images"][0], "id": 9000}), "twice. List each image once"),
        (lambda c: c["images"][0].pop("height"), "image without id, file name or size"),
        (lambda c: c["images"][0].update(width=0), "0x"),
        (lambda c: c["images"][0].update(height=10**9), "x1000000000 pixels"),
        (lambda c: c["categories"].pop(), "79 categories; COCO's 80 are needed (toothbrush is missing)"),
        (lambda c: c["images"].clear(), "lists no image"),
        (
            lambda c: c["categories"][3].update(name="rocket"),
            "80 categories; COCO's 80 are needed (rocket is none of them)",
        ),
        (lambda c: c["categories"][0].update(id=95), "(other order)"),
        (lambda c: c["images"][0].update(file_name="gone.jpg"), "gone.jpg is missing, one of 1 missing images of 101"),
        (lambda c: c["images"][0].update(file_name="000000000001.jpg"), "000000000001.jpg is missing"),
    ],
)
def test_what_contradicts_itself_is_named(fake_coco: Path, edit: Callable[..., object], expected: str) -> None:
    change(fake_coco, edit)
    refused(fake_coco, "val2017", expected)


def test_an_image_of_both_splits(fake_coco: Path) -> None:
    shutil.copy(fake_coco / "train2017" / "000000000001.jpg", fake_coco / "val2017")
    change(fake_coco, lambda c: c["images"][0].update(file_name="000000000001.jpg"))
    refused(fake_coco, "image 000000000001.jpg is in train and in val")


def test_an_image_that_vanishes_later(fake_coco: Path) -> None:
    Coco().open(fake_coco)
    path = fake_coco / "val2017" / "000000000501.jpg"
    path.unlink()
    dataset = Coco()
    dataset.open(fake_coco)
    with pytest.raises(FssegError, match=re.escape(f"{path} is missing")):
        dataset.image(101)


NUMBERS = [1.0, 1.0, 5.0, 1.0, 5.0]


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        "text",
        [],
        [[]],
        [NUMBERS],
        [["a", "b", "c", "d", "e", "f"]],
        [[*NUMBERS, float("nan")]],
        [[*NUMBERS, 1e9]],
        [[*NUMBERS, None]],
        NUMBERS,
        {},
        {"size": [3, 3], "counts": [9]},
        {"size": [24, 30]},
        {"size": [24, 30], "counts": [719]},
        {"size": [24, 30], "counts": [721, -1]},
        {"size": [24, 30], "counts": ["a"]},
        {"size": [24, 30], "counts": 7},
        {"size": [24, 30], "counts": "5P"},
        {"size": [24, 30], "counts": "04"},
        {"size": [24, 30], "counts": "\u00e9"},
        {"size": 3, "counts": "04"},
    ],
)
@pytest.mark.parametrize("masks", ["exact", "first_polygon_convex"])
def test_a_malformed_segmentation_is_named(segmentation: object, masks: str) -> None:
    image = AnnotatedImage("000000000501.jpg", 24, 30, [Annotation(7, 1, False, segmentation)])
    with pytest.raises(
        FssegError, match=r"annotation 7 of image 000000000501.jpg has a malformed segmentation"
    ) as error:
        find_regions(image, masks, "include")
    assert "\n" not in str(error.value)
