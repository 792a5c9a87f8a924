import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import CocoJson
from fsseg.datasets.custom import is_val
from fsseg.episodes import EpisodeData, EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol


def write(root: Path, **changes: Any) -> Path:
    """Twelve images of three classes, whose ids have gaps; each image shows two that overlap."""
    folder = root / "images" / "day1"
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(12):
        name = f"day1/img{i}.png"
        PIL.Image.fromarray(np.full((20, 30, 3), 20 * i, dtype=np.uint8)).save(root / "images" / name)
        images.append({"id": 50 + i, "file_name": name, "height": 20, "width": 30})
        for k, box in enumerate(([2, 2, 10, 12], [8, 6, 14, 10])):
            left, top, width, height = box
            polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
            category = (3, 8, 20)[(i + k) % 3]
            annotations.append({"id": len(annotations), "image_id": 50 + i, "category_id": category,
                                "iscrowd": 0, "segmentation": [polygon]})  # fmt: skip
    categories = [{"id": 20, "name": "nut"}, {"id": 3, "name": "bolt"}, {"id": 8, "name": "gear"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **changes}
    path = root / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def opened(root: Path, **arguments: Any) -> CocoJson:
    dataset = CocoJson(**arguments)
    dataset.open(root)
    return dataset


def refused(root: Path, *words: str, **arguments: Any) -> None:
    with pytest.raises(FssegError) as error:
        opened(root, **arguments)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_any_categories_are_classes_in_the_order_of_their_ids(tmp_path: Path) -> None:
    write(tmp_path / "parts")
    dataset = opened(tmp_path / "parts")
    assert dataset.class_names == ("bolt", "gear", "nut")
    assert (dataset.name, dataset.folds) == ("parts", 3)
    names = [dataset.image_name(i) for i in range(12)]
    assert sorted(names) == sorted(f"day1/img{i}" for i in range(12))
    val = {f"day1/img{i}" for i in range(12) if is_val(f"day1/img{i}.png", 0.3)}
    assert {dataset.image_name(i) for i in dataset.numbers("val")} == val
    i = names.index("day1/img4")
    assert dataset.image(i)[0, 0].tolist() == [80, 80, 80]
    assert np.flatnonzero(dataset.index.pixels[i][1:]).tolist() == [1, 2]  # gear and nut
    first, second = (dataset.episode_mask(i, (2, 3), own) for own in (0, 1))
    assert (first == 1).sum() == 120
    assert (second == 2).sum() == 140
    assert [box[:4] for box in dataset.boxes(i, 2)] == [(2, 2, 14, 12)]


def test_the_second_start_reads_no_annotations(tmp_path: Path, no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    first = opened(tmp_path)
    monkeypatch.setattr("fsseg.datasets.coco_json.read_annotations", None)
    again = opened(tmp_path, folds=[["bolt", "nut"], ["gear"]])
    assert not again.index.fresh
    assert again.class_names == first.class_names
    assert (again.novel(0), again.novel(1)) == ((1, 3), (2,))


def test_it_trains_and_tests_like_any_other(tmp_path: Path) -> None:
    write(tmp_path)
    dataset, tested = CocoJson(folds=[["bolt"], ["gear", "nut"]], val_share=0.5), Protocol(runs=1, episodes=3)
    data = EpisodeData(
        dataset,
        root=str(tmp_path),
        images=ImageOptions(size=16),
        episodes=EpisodeOptions(train=4),
        loading=LoadingOptions(workers=0),
        protocol=tested,
    )
    data.setup("fit")
    data.setup("test")
    assert {int(c) for batch in data.train_dataloader() for c in batch.classes.flatten()} <= {2, 3}
    assert len(list(data.test_dataloader())) == 3


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    refused(tmp_path, "annotations.json is missing: give the annotation file")
    path = write(tmp_path)
    path.rename(tmp_path / "labels.json")
    refused(tmp_path, "annotations.json is missing", "Found: labels.json")
    write(tmp_path, categories=[{"id": 3, "name": "bolt"}, {"id": 8, "name": "bolt"}, {"id": 20, "name": "nut"}])
    refused(tmp_path, "two categories with the same id or name")
    write(tmp_path)
    refused(tmp_path, "4 folds of 3 classes", folds=4)
    refused(tmp_path, "too few for a train and a val split", val_share=0.0001)
    write(tmp_path)  # changed, so that the cache is not taken for it
    (tmp_path / "images/day1/img3.png").unlink()
    refused(tmp_path, "img3.png is missing, one of 1 missing images of")
    with pytest.raises(FssegError, match="val_share"):
        CocoJson(val_share=2)
    with pytest.raises(FssegError, match="crowds 'ignore' needs masks 'exact'"):
        CocoJson(masks="first_polygon_map", crowds="ignore")


@pytest.mark.slow
def test_more_classes_than_16_bits_hold_are_refused(tmp_path: Path) -> None:
    box = {"image_id": 50, "iscrowd": 0, "segmentation": [[2, 2, 9, 2, 9, 9]]}
    write(
        tmp_path,
        categories=[{"id": i, "name": str(i)} for i in range(65_535)],
        annotations=[{"id": i, "category_id": i, **box} for i in range(65_535)],
    )
    refused(tmp_path, "has 65535 classes; 1 to 65534 are possible")


def test_two_files_need_the_same_categories(tmp_path: Path) -> None:
    (write(tmp_path)).rename(tmp_path / "val.json")
    write(tmp_path, categories=[{"id": i, "name": n} for i, n in ((3, "bolt"), (8, "gear"), (20, "screw"))])
    refused(tmp_path, "list different categories", val_annotations="val.json")


def test_a_file_cannot_name_images_outside_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    (tmp_path / "secret.png").write_bytes((tmp_path / "images/day1/img0.png").read_bytes())
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        content["images"][0]["file_name"] = name
        path.write_text(json.dumps(content))
        refused(tmp_path, f"names the image {name}, which leads out of")


def oriented(path: Path, orientation: int) -> None:
    with PIL.Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(path, exif=exif)


def test_images_lie_as_labelling_programs_show_them(tmp_path: Path) -> None:
    path = write(tmp_path)
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:5] = 200
    for orientation, shape in ((3, (20, 30)), (6, (30, 20))):
        PIL.Image.fromarray(pixels).save(tmp_path / "images/day1/img0.png")
        oriented(tmp_path / "images/day1/img0.png", orientation)
        content = json.loads(path.read_text())
        content["images"][0] |= {"height": shape[0], "width": shape[1]}
        path.write_text(json.dumps(content))
        dataset = opened(tmp_path)
        place = [dataset.image_name(i) for s in ("train", "val") for i in dataset.numbers(s)].index("day1/img0")
        image = dataset.image(place)
        assert image.shape[:2] == shape == dataset.mask(place).shape
        bright = image[-5:] if orientation == 3 else image[:, -5:]
        assert (bright > 100).all()
    content["images"][0] |= {"height": 20, "width": 30}
    path.write_text(json.dumps(content))
    refused(tmp_path, "img0.png is 20x30, its annotations are for 30x20. The image is rotated upright by its EXIF tag")


@pytest.mark.parametrize("name", ["", ".", "a\0b.png", "two\nlines.png", "\ud800.png", "x" * 5000, None])
def test_what_is_no_name_of_a_file(tmp_path: Path, name: str | None) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(FssegError, match=r"is no file name|has an image without id, file name or size") as error:
        opened(tmp_path)
    assert str(error.value).isprintable()


INFINITY = float("inf")


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("images", {"id": INFINITY}, "has an image without id"),
        ("images", {"height": INFINITY}, "has an image without id"),
        ("annotations", {"id": INFINITY}, "has an annotation without id"),
        ("annotations", {"image_id": INFINITY}, "has an annotation without id"),
        ("categories", {"id": INFINITY}, "has a category without id or name"),
        ("categories", {"name": None}, "None is no name of a class"),
        ("categories", {"name": "\ud800"}, "is no name of a class"),
        ("annotations", {"segmentation": [[10**400, 1, 2, 2, 3, 3]]}, "malformed segmentation: a polygon far outside"),
        ("annotations", {"segmentation": [[1, 1, 5, 5, 7]]}, "a polygon without three pairs of coordinates"),
        ("annotations", {"segmentation": []}, "neither a polygon nor a run-length encoding, and no box"),
        ("annotations", {"segmentation": [], "bbox": [1, 1, 5]}, "without id, image, category or segmentation"),
        ("annotations", {"segmentation": [], "bbox": [1, 1, 5, 1e9]}, "a polygon or box far outside the image"),
        ("annotations", {"segmentation": [[[1, 1], [5, 5], [5]]]}, "a polygon whose coordinates are no numbers"),
        ("images", {"id": 50.5}, "has an image without id"),
        ("annotations", {"segmentation": {"size": [20, 30], "counts": [INFINITY]}}, "counts or size are no numbers"),
        ("annotations", {"segmentation": {"size": 3, "counts": [600]}}, "a run-length encoding without size"),
    ],
)  # fmt: skip
def test_what_no_program_writes_is_named(tmp_path: Path, part: str, changes: dict[str, Any], words: str) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    content[part][0] |= changes
    path.write_text(json.dumps(content))
    refused(tmp_path, words)


def test_ids_may_be_text_and_hints_are_given(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation |= {"image_id": str(annotation["image_id"]), "category_id": str(annotation["category_id"])}
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert len(opened(tmp_path, val_share=1).numbers("val")) == 12
    refused(tmp_path, "annotations` is empty", annotations="")
    for image in content["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    path.write_text(json.dumps(content))
    assert opened(tmp_path, images=".").image(0).shape == (20, 30, 3)
    (tmp_path / "annotations").mkdir()
    path.rename(tmp_path / "annotations/instances_default.json")
    refused(tmp_path, "Found: annotations/instances_default.json")


def changed(root: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = write(root)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


OUTSIDE, FRACTIONS = [40, 30, 50, 30, 50, 40], [0.2, 0.2, 0.6, 0.2, 0.6, 0.8, 0.2, 0.8]


def test_objects_that_mark_nothing_are_counted_and_named(tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        for place, polygon in ((0, FRACTIONS), (1, OUTSIDE), (8, OUTSIDE)):
            content["annotations"][place]["segmentation"] = [polygon]

    changed(tmp_path, edit)
    dataset = opened(tmp_path)
    assert (
        "objects without a pixel (outside the image, in fractions of the image, or points and lines): 3, the first in "
        in dataset.note
    )
    (first,) = (i for i in range(12) if dataset.image_name(i) == "day1/img0")
    assert not dataset.index.pixels[first, 1:].any()
    assert dataset.boxes(first, 1) == []
    located = CocoJson()
    located.locate(tmp_path)
    problems = []
    for number in range(12):
        try:
            located.check(number)
        except FssegError as error:
            problems.append(str(error))
    assert len(problems) == 2
    (line,) = (problem for problem in problems if "img0.png" in problem)
    assert line.startswith(
        "annotations 0, 1 of image day1/img0.png mark no pixel: they lie outside its 30x20 pixels, or"
    )


def test_annotations_that_all_mark_nothing_are_refused(tmp_path: Path) -> None:
    changed(tmp_path, lambda c: [a.update(segmentation=[FRACTIONS]) for a in c["annotations"]])
    refused(tmp_path, "none of its 24 objects marks a pixel", "multiply x by the image's width and y by its height")


def test_a_point_beside_a_polygon_marks_nothing(tmp_path: Path) -> None:
    before = np.array(opened(write(tmp_path).parent).index.pixels)
    changed(tmp_path, lambda c: c["annotations"][0]["segmentation"].extend([[5, 5], [1, 1, 9, 9]]))
    dataset = opened(tmp_path)
    assert np.array_equal(dataset.index.pixels, before)
    assert dataset.note == "points and lines beside polygons, left out: 2"


@pytest.mark.parametrize(("crowd", "is_one"), [("0", False), ("1", True), (0, False), (True, True), (None, False)])
def test_iscrowd_is_a_number_also_as_text(tmp_path: Path, crowd: object, is_one: bool) -> None:
    changed(tmp_path, lambda c: [a.update(iscrowd=crowd) for a in c["annotations"]])
    dataset = opened(tmp_path, crowds="ignore")
    assert dataset.index.pixels[:, 1:].any() == (not is_one)
    assert bool(dataset._regions.boxes(0, 1)) or bool(dataset._regions.boxes(0, 2)) == (not is_one)


@pytest.mark.parametrize("crowd", ["yes", 2, "", [], "-1"])
def test_another_iscrowd_is_refused(tmp_path: Path, crowd: object) -> None:
    changed(tmp_path, lambda c: c["annotations"][3].update(iscrowd=crowd))
    refused(tmp_path, "annotation 3 has iscrowd", "0 or 1 is needed")


def test_ids_may_be_text(tmp_path: Path) -> None:
    """Numbers as text are numbers; other text is an id as it is, after all numbers."""
    before = opened(write(tmp_path).parent)
    pixels = {before.image_name(i): before.index.pixels[i].tolist() for i in range(12)}

    def edit(content: dict[str, Any]) -> None:
        texts = {50 + i: f"img-{i:02d}" if i % 2 else str(50 + i) for i in range(12)}
        for image in content["images"]:
            image["id"] = texts[image["id"]]
        for place, annotation in enumerate(content["annotations"]):
            annotation |= {"id": f"a{place}", "image_id": texts[annotation["image_id"]]}
            annotation["category_id"] = str(annotation["category_id"])

    changed(tmp_path, edit)
    dataset = opened(tmp_path)
    assert {dataset.image_name(i): dataset.index.pixels[i].tolist() for i in range(12)} == pixels
    changed(tmp_path, lambda c: c["images"][0].update(id=""))
    refused(tmp_path, "has an image without id, file name or size")


def test_swapped_sizes_are_said_to_be_swapped(tmp_path: Path) -> None:
    def swap(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["width"], image["height"] = image["height"], image["width"]

    changed(tmp_path, swap)
    refused(tmp_path, "is 30x20, its annotations are for 20x30", "Width and height are swapped in the annotation file")
    path = write(tmp_path).parent / "images/day1/img0.png"
    with PIL.Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(path, exif=exif)
    refused(tmp_path, "is 20x30, its annotations are for 30x20", "rotated upright by its EXIF tag")
