"""Folders as labelling programs leave them: each shape to the pixel, layouts, and broken files in one line each.

References are pycocotools, PIL and loops over pixels, see `tests.datasets.exports`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import CocoJson, Folder, LabellingExport
from fsseg.errors import FssegError
from fsseg.files.marks import fill_outline
from tests.datasets import exports
from tests.datasets.exports import HEIGHT, WIDTH


def opened(root: Path, **arguments: Any) -> LabellingExport:
    dataset = LabellingExport(**({"val_share": 0.5} | arguments))
    dataset.open(root)
    return dataset


def region(dataset: LabellingExport, name: str, label: str) -> np.ndarray:
    numbers = [*dataset.numbers("train"), *dataset.numbers("val")]
    number = next(i for i in numbers if dataset.image_name(i) == name)
    return dataset.episode_mask(number, (1 + dataset.class_names.index(label),)) == 1


def refused(root: Path, *words: str, **arguments: Any) -> None:
    with pytest.raises(FssegError) as error:
        opened(root, **arguments)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("program", exports.WRITERS)
def test_an_export_is_a_data_set_to_the_pixel(tmp_path: Path, no_cache: Path, program: str) -> None:
    truth = exports.WRITERS[program](tmp_path)
    for fresh in (True, False):
        dataset = opened(tmp_path)
        assert dataset.index.fresh == fresh
        assert set(dataset.class_names) == {"sea lion", "dog"}
        numbers = [*dataset.numbers("train"), *dataset.numbers("val")]
        assert sorted(dataset.image_name(i) for i in numbers) == sorted(truth)
        for name, regions in truth.items():
            for label, wanted in regions.items():
                np.testing.assert_array_equal(region(dataset, name, label), wanted, f"{name} {label}")
        assert not dataset.weak
    for i in numbers:
        for label, class_id in (("sea lion", 1), ("dog", 2)):
            (box,) = dataset.boxes(i, 1 + dataset.class_names.index(label))
            rows, columns = np.nonzero(truth[dataset.image_name(i)][label])
            found = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
            assert np.abs(np.array(box[:4]) - found).max() <= 1, (label, class_id)


def test_yolo_has_its_own_splits(tmp_path: Path) -> None:
    exports.yolo(tmp_path)
    dataset = opened(tmp_path)
    assert {dataset.image_name(i) for i in dataset.numbers("val")} == {f"images/val/img {i}" for i in range(4)}
    assert dataset.class_names == ("sea lion", "dog")


def test_outlines_equal_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        points = [(x, y) for x, y in rng.uniform(-20, 80, (rng.integers(3, 9), 2)).tolist()]
        (left, top), found = fill_outline(points, HEIGHT, WIDTH)
        full = np.zeros((HEIGHT, WIDTH), dtype=bool)
        full[top : top + found.shape[0], left : left + found.shape[1]] = found
        np.testing.assert_array_equal(full, exports.outline(points))


def test_weak_shapes_groups_and_reserved_names(tmp_path: Path) -> None:
    """A rectangle is weak, shapes of a group are one object, and `_background_` and `__ignore__` are no classes."""
    names = exports.images(tmp_path)
    square = [[2, 2], [9, 2], [9, 9], [2, 9]]
    other = [[20, 2], [29, 2], [29, 9], [20, 9]]
    inner = [[4, 4], [6, 4], [6, 6], [4, 6]]
    every = [
        [exports.shape("dog", "rectangle", [[2, 3], [12, 9]])],
        [exports.shape("dog", "polygon", p, group_id=3) for p in (square, other)],
        [exports.shape("dog", "polygon", square), exports.shape("_background_", "polygon", inner)],
        [exports.shape("dog", "polygon", square), exports.shape("__ignore__", "polygon", other)],
        [exports.shape("dog", "line", [[2, 20], [50, 20]])],
        [],
        *[[exports.shape("dog", "circle", [[20, 20], [20, 28]])]] * 4,
    ]
    for name, shapes in zip(names, every, strict=True):
        content = {"shapes": shapes, "imagePath": name, "imageHeight": HEIGHT, "imageWidth": WIDTH}
        (tmp_path / name).with_suffix(".json").write_text(json.dumps(content))
    dataset = opened(tmp_path)
    assert dataset.class_names == ("dog",)
    number = {dataset.image_name(i): i for i in range(10)}
    assert dataset.weak == {number["img 0"], number["img 4"]}
    assert "2" in dataset.note
    assert [len(dataset.boxes(number[f"img {i}"], 1)) for i in (1, 2)] == [1, 1]
    assert dataset.boxes(number["img 1"], 1)[0][:4] == (2, 2, 9, 29)
    assert region(dataset, "img 0", "dog").sum() == 10 * 6
    assert region(dataset, "img 2", "dog").sum() == 64 - 9
    ignored = dataset.episode_mask(number["img 3"], (1,))
    assert (ignored[2:10, 20:30] == 255).all()
    assert (ignored == 1).sum() == 64
    line = dataset.episode_mask(number["img 4"], (1,))
    assert set(np.unique(line).tolist()) == {1, 255}
    assert not region(dataset, "img 5", "dog").any()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    circle = (rows - 20) ** 2 + (columns - 20) ** 2
    found = region(dataset, "img 6", "dog")
    assert found[circle <= 7.5**2].all()
    assert not found[circle >= 9**2].any()


def test_rotated_boxes_and_ellipses(tmp_path: Path) -> None:
    """Boxes turn about their centre in CVAT and about their upper left corner in Label Studio, clockwise."""
    names = exports.images(tmp_path / "images")
    parts = [
        f'<image id="{i}" name="{name}" width="{WIDTH}" height="{HEIGHT}">'
        '<box label="dog" xtl="10" ytl="16" xbr="30" ybr="24" rotation="90.0" z_order="0"/>'
        '<ellipse label="sea lion" cx="40" cy="20" rx="12" ry="5" rotation="90.0" z_order="0"/></image>'
        for i, name in enumerate(names)
    ]
    (tmp_path / "annotations.xml").write_text(exports.XML.format(images="".join(parts)))
    dataset = opened(tmp_path)
    upright = np.zeros((HEIGHT, WIDTH), dtype=bool)
    upright[10:30, 16:24] = True
    np.testing.assert_array_equal(region(dataset, "images/img 0", "dog"), upright)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((columns - 40) / 5) ** 2 + ((rows - 20) / 12) ** 2 < 1
    found = region(dataset, "images/img 0", "sea lion")
    assert (found & inside).sum() / (found | inside).sum() > 0.97  # an outline on a grid of a fifth of a pixel
    photos = tmp_path / "studio"
    value = {"x": 50, "y": 25, "width": 20, "height": 50, "rotation": 90}
    tasks = [exports.task(i, name, [exports.result("rectanglelabels", "dog", value)])
             for i, name in enumerate(exports.images(photos))]  # fmt: skip
    (photos / "tasks.json").write_text(json.dumps(tasks))
    turned = np.zeros((HEIGHT, WIDTH), dtype=bool)
    turned[10:22, 10:30] = True  # 12 wide and 20 high at (30, 10), turned to the left of it
    np.testing.assert_array_equal(region(opened(photos), "img 0", "dog"), turned)


def test_names_of_label_studio_and_of_labelme_in_other_folders(tmp_path: Path) -> None:
    photos = tmp_path / "photos" / "day 1"
    value = {"points": [[10, 10], [50, 10], [50, 50]], "closed": True}
    tasks = [exports.task(i, name, [exports.result("polygonlabels", "dog", value)])
             for i, name in enumerate(exports.images(photos))]  # fmt: skip
    for i, one in enumerate(tasks):
        one["data"]["image"] = f"/data/local-files/?d=photos/day%201/img%20{i}.png"
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    assert len(opened(tmp_path).index.pixels) == 10
    own = tmp_path / "own"
    exports.labelme(own)
    (own / "json").mkdir()
    for path in own.glob("*.json"):
        content = json.loads(path.read_text()) | {"imagePath": f"..\\{path.stem}.png"}
        (own / "json" / path.name).write_text(json.dumps(content))
        path.unlink()
    assert len(opened(own).index.pixels) == 10
    apart = tmp_path / "apart"
    apart.mkdir()
    (own / "json").rename(apart / "json")
    refused(apart, "img 0.png", "is missing")
    refused(apart / "json", "leads out of its folder")
    (apart / "json").rename(own / "json")
    assert len(opened(own / "json", images="..").index.pixels) == 10


def test_turned_photos_are_annotated_upright(tmp_path: Path) -> None:
    exports.labelme(tmp_path)
    path = tmp_path / "img 3.png"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.open(path).rotate(90, expand=True).save(path, exif=exif)
    assert len(opened(tmp_path).index.pixels) == 10
    exports.labelme(tmp_path / "again")
    PIL.Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "again/img 3.png")
    refused(tmp_path / "again", "img 3.json is for a 60x40 image, its image is 40x60", "EXIF")


Change = Callable[[Path], None]


def in_json(name: str, change: Callable[[Any], Any]) -> Change:
    def changed(root: Path) -> None:
        path = next(root.glob(name))
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))

    return changed


def in_text(name: str, old: str, new: str) -> Change:
    def changed(root: Path) -> None:
        path = next(root.glob(name))
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return changed


def line(text: str) -> Change:
    return lambda root: next(root.glob("labels/train/*0.txt")).write_text(text) and None


def shape_0(**more: Any) -> Change:
    return in_json("*0.json", lambda content: content["shapes"][0].update(more))


def value_of(place: int, **more: Any) -> Change:
    return in_json("*.json", lambda tasks: tasks[0]["annotations"][0]["result"][place]["value"].update(more))


def task_0(**more: Any) -> Change:
    return in_json("*.json", lambda tasks: tasks[0].update(more))


def leaving(root: Path) -> None:
    in_json("*0.json", lambda content: content.update(imagePath="../../x.png"))(root)
    (root / "img 0.png").unlink()


BROKEN: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "labelme: NaN": ("labelme", shape_0(points=[[float("nan"), 1], [2, 2], [3, 3]]), ("finite numbers",)),
    "labelme: shape": ("labelme", shape_0(shape_type="cube"), ("shape 'cube' is none of",)),
    "labelme: our kind": ("labelme", shape_0(shape_type="outline"), ("shape 'outline' is none of",)),
    "labelme: no label": ("labelme", shape_0(label=None), ("None is no class",)),
    "labelme: far": ("labelme", shape_0(points=[[1e9, 1], [2, 2], [3, 3]]), ("outside",)),
    "labelme: size": ("labelme", in_json("*0.json", lambda c: c.update(imageWidth=61)), ("is for a 61x40 image",)),
    "labelme: image": ("labelme", lambda root: (root / "img 4.png").unlink(), ("img 4.png", "is missing", "put it")),
    "labelme: path": ("labelme", leaving, ("leads out",)),
    "labelme: cut off": ("labelme", in_text("*0.json", "}", ""), ("img 0.json", "no complete JSON")),
    "cvat: entities": (
        "cvat",
        in_text("*.xml", "<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'),
        ("declares entities",),
    ),
    "cvat: video": (
        "cvat",
        in_text("*.xml", "<image ", '<track id="0" label="dog"></track><image '),
        ("video", "CVAT for images 1.1"),
    ),
    "cvat: cut off": ("cvat", in_text("*.xml", "</annotations>", ""), ("no complete XML",)),
    "cvat: VOC": (
        "cvat",
        lambda root: (
            (root / "annotations.xml").write_text("<annotation><object><name>dog</name></object></annotation>") and None
        ),
        ("PASCAL VOC", "Choose CVAT"),
    ),
    "cvat: size": ("cvat", in_text("*.xml", 'width="60"', 'width="59"'), ("is for a 59x40 image",)),
    "cvat: huge": ("cvat", in_text("*.xml", 'width="60"', 'width="6000000"'), ("6000000x40 pixels",)),
    "cvat: runs": ("cvat", in_text("*.xml", 'rle="', 'rle="5, '), ("do not cover its 9x8 pixels",)),
    "cvat: negative runs": ("cvat", in_text("*.xml", 'rle="', 'rle="-5, 5, '), ("do not cover",)),
    "cvat: mask outside": ("cvat", in_text("*.xml", 'top="20"', 'top="200"'), ("leaves the 60x40 image",)),
    "cvat: image": ("cvat", lambda root: (root / "images" / "img 4.png").unlink(), ("img 4.png", "is missing")),
    "cvat: name": ("cvat", in_text("*.xml", 'name="img 0.png"', 'name="../../img.png"'), ("leads out",)),
    "cvat: points": ("cvat", in_text("*.xml", 'points="', 'points="nan,1;'), ("finite numbers",)),
    "cvat: pairs": ("cvat", in_text("*.xml", 'points="', 'points="7;'), ("no pairs",)),
    "cvat: cuboid": ("cvat", in_text("*.xml", '<tag label="dog"', '<cuboid label="dog"'), ("complete XML",)),
    "cvat: skeleton": ("cvat", in_text("*.xml", "</image>", '<skeleton label="dog"/></image>'), ("skeleton of dog",)),
    "studio: min": (
        "label_studio",
        in_json("*.json", lambda c: [{"image": "a.png", "id": 1, "label": []}]),
        ("JSON-MIN", "Choose the export JSON"),
    ),
    "studio: two": (
        "label_studio",
        in_json("*.json", lambda c: c[0]["annotations"].append(c[0]["annotations"][0])),
        ("has 2 annotations", "ground truth"),
    ),
    "studio: brush": (
        "label_studio",
        value_of(1, rle=exports.brush(np.ones((HEIGHT, WIDTH), dtype=bool))[:9]),
        ("truncated",),
    ),
    "studio: brush of text": ("label_studio", value_of(1, rle="abc"), ("no list of bytes",)),
    "studio: brush of another size": (
        "label_studio",
        value_of(1, rle=exports.brush(np.ones((3, 3), dtype=bool))),
        ("9 pixels on an image of 60x40",),
    ),
    "studio: label": ("label_studio", value_of(0, polygonlabels=[]), ("no label",)),
    "studio: points": ("label_studio", value_of(0, points=[[1, 2, 3]]), ("no pairs",)),
    "studio: turned": (
        "label_studio",
        in_json("*.json", lambda c: c[0]["annotations"][0]["result"][0].update(image_rotation=90)),
        ("was rotated",),
    ),
    "studio: no image": ("label_studio", task_0(data={"text": "hello"}), ("has 0 images",)),
    "studio: missing": ("label_studio", lambda root: (root / "photos/img 4.png").unlink(), ("img 4.png", "missing")),
    "yolo: boxes": (
        "yolo",
        lambda root: [path.write_text("0 0.5 0.5 0.2 0.2\n") for path in root.glob("labels/*/*")] and None,
        ("boxes alone", "YOLO segmentation"),
    ),
    "yolo: class": ("yolo", line("7 0.1 0.1 0.5 0.1 0.5 0.5"), ("class 7 has no name", "0 to 1")),
    "yolo: six": ("yolo", line("0 0.1 0.1 0.5 0.1 0.9"), ("has 6 numbers",)),
    "yolo: pixels": ("yolo", line("0 10 10 50 10 50 30"), ("fractions",)),
    "yolo: NaN": ("yolo", line("0 nan 0.1 0.5 0.1 0.5 0.5"), ("fractions",)),
    "yolo: text": ("yolo", line("dog 0.1 0.1 0.5 0.1 0.5 0.5"), ("other values than numbers",)),
    "yolo: key points": ("yolo", in_text("data.yaml", "path", "kpt_shape: [17, 3]\npath"), ("key points",)),
    "yolo: names": ("yolo", in_text("data.yaml", "names", "nc"), ("no names of classes",)),
    "yolo: image": ("yolo", lambda root: (root / "images/val/img 2.jpg").unlink(), ("img 2.jpg", "missing")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_export_is_one_line(tmp_path: Path, name: str) -> None:
    program, change, words = BROKEN[name]
    exports.WRITERS[program](tmp_path)
    change(tmp_path)
    refused(tmp_path, *words)


@pytest.mark.parametrize("program", exports.WRITERS)
def test_other_data_sets_say_which_one_reads_the_folder(tmp_path: Path, program: str) -> None:
    exports.WRITERS[program](tmp_path)
    if (tmp_path / "images").exists():
        (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(FssegError, match="its data set is labelling"):
        Folder().locate(tmp_path)


def test_a_folder_without_annotations(tmp_path: Path) -> None:
    exports.images(tmp_path)
    refused(tmp_path, "no annotations of a labelling program", "YOLO segments")
    with pytest.raises(FssegError, match=r"data\.root"):
        LabellingExport().open(None)


def test_coco_files_of_cvat_and_label_studio(tmp_path: Path) -> None:
    """CVAT's COCO 1.0 has brush masks as crowds in run lengths; Label Studio's has ids from 0 and uploads' names.

    https://docs.cvat.ai/docs/manual/advanced/formats/coco/, https://labelstud.io/guide/export
    """
    polygon = [value for point in exports.polygon_of(2) for value in point]
    square = np.zeros((HEIGHT, WIDTH), dtype=bool)
    square[5:20, 10:30] = True
    counts = exports.runs_of(square.T)
    for program, first, file in (("cvat", 1, "annotations/instances_default.json"), ("studio", 0, "result.json")):
        names = exports.images(tmp_path / program / "images")
        listed = names if program == "cvat" else [f"images/0a1b2c3d-{name}" for name in names]
        for name, new in zip(names, listed, strict=True):
            (tmp_path / program / "images" / name).rename(tmp_path / program / "images" / Path(new).name)
        annotations = [
            {"id": i, "image_id": i // 2 + first, "category_id": i % 2 + first, "area": 1.0, "bbox": [5, 4, 9, 9],
             "segmentation": [polygon] if i % 2 else {"size": [HEIGHT, WIDTH], "counts": counts},
             "iscrowd": 1 - i % 2 if program == "cvat" else 0, "ignore": 0, "attributes": {"occluded": False}}
            for i in range(20)
        ]  # fmt: skip
        content = {
            "licenses": [{"name": "", "id": 0, "url": ""}],
            "info": {"contributor": "", "year": ""},
            "categories": [{"id": first + i, "name": name, "supercategory": ""} for i, name in enumerate("ab")],
            "images": [
                {"id": i + first, "width": WIDTH, "height": HEIGHT, "file_name": name, "license": 0}
                for i, name in enumerate(listed)
            ],
            "annotations": annotations,
        }
        (tmp_path / program / file).parent.mkdir(exist_ok=True)
        (tmp_path / program / file).write_text(json.dumps(content))
        dataset = CocoJson(file, val_share=1, folds=1)
        dataset.open(tmp_path / program)
        for number in dataset.numbers("val"):
            np.testing.assert_array_equal(dataset.episode_mask(number, (1,)) == 1, square)
            wanted = exports.outline(exports.polygon_of(2))
            np.testing.assert_array_equal(dataset.episode_mask(number, (2,)) == 1, wanted)


def test_notes_beside_a_list_of_classes_are_no_labels(tmp_path: Path) -> None:
    exports.labelme(tmp_path)
    (tmp_path / "classes.txt").write_text("sea lion\ndog\n")
    (tmp_path / "notes.txt").write_text("labelled on Monday\n")
    assert "labelme" in opened(tmp_path).note
    with pytest.raises(FssegError, match="annotations of labelme: its data set is labelling"):
        CocoJson().open(tmp_path)
