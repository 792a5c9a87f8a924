"""Files in COCO's format as programs and systems leave them: names, layouts, segmentations, boxes, depth."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as rle

from fsseg.datasets import CocoJson
from fsseg.errors import FssegError

HEIGHT, WIDTH = 20, 30
SQUARE = [2, 2, 12, 2, 12, 12, 2, 12]


def write(root: Path, names: list[str], file: str = "annotations.json", folder: str = "images", **change: Any) -> None:
    """Images of one square each; `change` replaces keys of all annotations."""
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.full((HEIGHT, WIDTH, 3), 20 * place, dtype=np.uint8)).save(path)
    images = [{"id": i, "file_name": n, "height": HEIGHT, "width": WIDTH} for i, n in enumerate(names)]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "iscrowd": 0, "segmentation": [SQUARE], **change}
        for i in range(len(names))
    ]
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "gear"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / file).write_text(json.dumps(content))


def edit(root: Path, change: Callable[[dict[str, Any]], object], file: str = "annotations.json") -> None:
    content = json.loads((root / file).read_text())
    change(content)
    (root / file).write_text(json.dumps(content))


def rename(root: Path, form: Callable[[str], str]) -> None:
    edit(root, lambda c: [image.update(file_name=form(image["file_name"])) for image in c["images"]])


def opened(root: Path, **options: Any) -> CocoJson:
    dataset = CocoJson(**({"val_share": 1, "folds": 1} | options))
    dataset.open(root)
    located = CocoJson(**({"val_share": 1, "folds": 1} | options))
    located.locate(root)
    numbers = [*dataset.numbers("train"), *dataset.numbers("val")]
    assert [located.image_name(i) for i in numbers] == [dataset.image_name(i) for i in numbers]
    for number in numbers:
        assert dataset.image(number).shape[:2] == dataset.mask(number).shape
        located.check(number)
    return dataset


def names_of(dataset: CocoJson) -> list[str]:
    return [dataset.image_name(i) for i in dataset.numbers("val")]


def test_a_folder_of_images_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path, ["day1/a.png", "day1/b.png"])
    (tmp_path / "images/day1").rename(tmp_path / "store")
    (tmp_path / "images/day1").symlink_to(tmp_path / "store")
    assert names_of(opened(tmp_path)) == ["day1/a", "day1/b"]


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("day1/a.png", "day1\\a.png"),
        ("day1/a.png", "./day1/a.png"),
        ("day1/a.png", "images/day1/a.png"),
        ("day1/a.png", "{root}/images/day1/a.png"),
        (unicodedata.normalize("NFD", "Tür.png"), "Tür.png"),
        ("Tür.png", unicodedata.normalize("NFD", "Tür.png")),
        ("at 9.41\u202fAM.png", "at 9.41 AM.png"),
        ("\u00e9\u00a0\u3000.png", "e\u0301  .png"),
    ],
)
def test_names_written_in_another_way_are_found(tmp_path: Path, file: str, written: str) -> None:
    write(tmp_path, ["other.png", file])
    edit(tmp_path, lambda c: c["images"][1].update(file_name=written.format(root=tmp_path)))
    dataset = opened(tmp_path)
    assert names_of(dataset) == ["other", file.removesuffix(".png")]
    assert dataset.image(1).max() == 20


def test_a_name_that_fits_two_files_finds_none(tmp_path: Path) -> None:
    write(tmp_path, ["a b.png", "a\u00a0b.png"])
    assert names_of(opened(tmp_path)) == ["a b", "a\u00a0b"]
    edit(tmp_path, lambda c: c["images"][1].update(file_name="a\u3000b.png"))
    with pytest.raises(FssegError, match="is missing, one of 1 missing images"):
        opened(tmp_path)


def test_two_names_of_one_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path, ["day1/a.png"])
    edit(tmp_path, lambda c: c["images"].append(c["images"][0] | {"id": 7, "file_name": "day1\\a.png"}))
    with pytest.raises(FssegError, match=r"image day1/a\.png is listed twice"):
        opened(tmp_path)


def test_other_images_of_one_name_have_names_with_folder_or_ending(tmp_path: Path) -> None:
    write(tmp_path, ["a.png", "b.png"], "t.json", "train")
    write(tmp_path, ["a.png", "c.png", "c.bmp"], "v.json", "valid")
    dataset = opened(tmp_path, annotations="t.json", val_annotations="v.json", images="train", val_images="valid")
    assert [dataset.image_name(i) for i in range(5)] == ["train/a", "b", "valid/a", "valid/c.png", "valid/c.bmp"]
    with pytest.raises(FssegError, match="is listed twice, in train and val"):
        opened(tmp_path, annotations="t.json", val_annotations="t.json", images="train")


def test_an_export_of_roboflow_is_read_at_its_root(tmp_path: Path) -> None:
    for folder in ("train", "valid", "test"):
        write(tmp_path, ["a.png", f"{folder}.png"], f"{folder}/_annotations.coco.json", folder)
    dataset = opened(tmp_path)
    assert [dataset.image_name(i) for i in range(4)] == ["train/a", "train", "valid/a", "valid"]
    assert (len(dataset.numbers("train")), dataset.note) == (2, "test is left out")
    (tmp_path / "valid/_annotations.coco.json").unlink()
    assert opened(tmp_path).note == ""


def test_categories_without_objects_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, ["a.png", "b.png"])
    edit(tmp_path, lambda c: c["categories"].insert(0, {"id": 0, "name": "bolt", "supercategory": "none"}))
    dataset = opened(tmp_path, folds=None)
    assert (dataset.class_names, dataset.folds) == (("bolt", "gear"), 2)
    assert dataset.index.pixels[:, 1:].tolist() == [[100, 0], [0, 100]]
    assert dataset.note == "categories without objects, left out: 1 (bolt)"
    edit(tmp_path, lambda c: c["categories"][0].update(name="background"))
    assert opened(tmp_path, folds=[["gear", "background"], ["bolt"]]).novel(0) == (2,)
    edit(tmp_path, lambda c: c["annotations"].clear())
    with pytest.raises(FssegError, match="background is no class"):
        opened(tmp_path)


PAIRS = [[2, 2], [12, 2], [12, 12], [2, 12]]


@pytest.mark.parametrize("segmentation", [PAIRS, [PAIRS], SQUARE, [SQUARE, []], [[*map(str, SQUARE)]]])
def test_polygons_may_be_pairs_or_one_list(tmp_path: Path, segmentation: list[Any]) -> None:
    write(tmp_path, ["a.png"], segmentation=segmentation)
    assert opened(tmp_path).index.pixels[0, 1] == 100


def test_a_list_may_hold_run_length_encodings(tmp_path: Path) -> None:
    regions = [np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F") for _ in range(2)]
    regions[0][:4, :5] = regions[1][10:, 20:] = 1
    codes = [rle.encode(region) for region in regions]
    parts = [{"size": code["size"], "counts": code["counts"].decode()} for code in codes]
    write(tmp_path, ["a.png", "b.png"], segmentation=parts)
    edit(tmp_path, lambda c: c["annotations"][1].update(segmentation=[parts[0], SQUARE]))
    dataset = opened(tmp_path)
    assert np.array_equal(dataset.mask(0), regions[0] | regions[1])
    assert dataset.index.pixels[1, 2] == 20 + 100 - 2 * 3


def test_an_object_of_points_alone_marks_nothing(tmp_path: Path) -> None:
    write(tmp_path, ["a.png", "b.png"])
    edit(tmp_path, lambda c: c["annotations"][1].update(segmentation=[[3, 3], [1, 1, 8, 8]]))
    dataset = CocoJson(val_share=1, folds=1)
    dataset.open(tmp_path)
    assert "objects without a pixel" in dataset.note
    assert dataset.index.pixels[:, 1:].tolist() == [[100, 0], [0, 0]]


@pytest.mark.parametrize("empty", [[], [[]], None, ""])
def test_objects_with_a_box_only_are_weak(tmp_path: Path, empty: object) -> None:
    write(tmp_path, ["a.png", "b.png"])
    edit(tmp_path, lambda c: c["annotations"][1].update(segmentation=empty, bbox=[4, 5, 10, 8]))
    dataset = opened(tmp_path)
    assert dataset.weak == {1}
    assert dataset.note == "images of objects with a box only, used as supports only: 1"
    (box,) = dataset.boxes(1, 2)
    assert box == (5, 4, 13, 14, 80)
    assert (dataset.mask(1)[5:13, 4:14] == 2).all()
    assert dataset.index.pixels[1].tolist() == [HEIGHT * WIDTH - 80, 0, 80]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_annotations_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, ["Tür.png"])
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False), encoding=encoding)
    assert names_of(opened(tmp_path)) == ["Tür"]


def test_grey_images_of_16_bits_are_scaled(tmp_path: Path) -> None:
    write(tmp_path, ["a.png", "b.png"])
    values = np.linspace(100, 4000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).round().astype(np.uint16)
    PIL.Image.fromarray(values).save(tmp_path / "images/b.png")
    dataset = opened(tmp_path)
    assert dataset.note == "1 grey image of more than 8 bits: each is scaled by its own range"
    expected = np.rint((values - 100.0) * 255 / 3900)
    assert np.array_equal(dataset.image(1), np.repeat(expected[..., None], 3, axis=2))
    dataset = opened(tmp_path, bits=12)
    assert dataset.note.endswith("scaled by 12 bits")
    assert np.array_equal(dataset.image(1)[..., 0], np.rint(values * 255.0 / 4095))
    with pytest.raises(FssegError, match="holds 100 to 4000; 10 bits are 0 to 1023"):
        opened(tmp_path, bits=10)
    with pytest.raises(FssegError, match="bits 7: 8 to 32 are needed"):
        CocoJson(bits=7)
