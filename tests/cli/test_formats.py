"""Supports from exports of labelling programs, cut-outs and arrays; any other file is one line that says what to do."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import torch
import yaml
from scipy.ndimage import gaussian_filter

from fsseg.datasets import CocoJson, LabellingExport
from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.experiment.support_arguments import supports
from fsseg.files.outlines import outline_of, parts_of, polygon_of
from fsseg.methods import PANet
from fsseg.segmenter import Prediction, Segmenter
from tests.cli.test_predict import TINY
from tests.datasets import exports
from tests.datasets.exports import HEIGHT, WIDTH

FILES = {"cvat": "annotations.xml", "label_studio": "*.json", "yolo": "data.yaml"}


@pytest.mark.parametrize("program", exports.WRITERS)
def test_an_export_is_a_set_of_supports(tmp_path: Path, program: str) -> None:
    truth = exports.WRITERS[program](tmp_path)
    places = [tmp_path, *([next(tmp_path.glob(FILES[program]))] if program in FILES else [])]
    for place in places:
        for given, names in ((f"{place}", ("dog", "sea lion")), (f"sea lion={place}", ("sea lion",))):
            shown = supports([given])
            assert len(shown) == len(truth)
            for each in shown:
                assert each.classes == names
                regions, labels = truth[str(each.image.relative_to(tmp_path).with_suffix(""))], each.labels()
                for label, name in enumerate(names, 1):
                    hidden = regions["dog"] if name == "sea lion" and len(names) == 2 else False
                    wanted = regions[name] & ~np.asarray(hidden)
                    seen = (labels == label) & ~np.asarray(hidden)
                    np.testing.assert_array_equal(seen, wanted)


def one_of(program: str, root: Path) -> tuple[Path, Path]:
    """An image, and the file of its annotations."""
    exports.WRITERS[program](root)
    image = next(root.rglob("img 3.*g"))
    names = {"labelme": image.with_suffix(".json"), "yolo": root / "labels/train/img 3.txt"}
    return image, names[program] if program in names else next(root.glob(FILES[program]))


def test_a_labelme_file_stands_for_the_image_beside_it(tmp_path: Path) -> None:
    image, mask = one_of("labelme", tmp_path)
    (alone,), (both,) = supports([str(mask)]), supports([f"dog,sea lion={image}:{mask}"])
    assert (alone.image, alone.classes) == (image, both.classes)
    np.testing.assert_array_equal(alone.labels(), both.labels())


@pytest.mark.parametrize("program", exports.WRITERS)
def test_one_image_and_its_file(tmp_path: Path, program: str) -> None:
    image, mask = one_of(program, tmp_path)
    named = "dog,sea lion=" if program == "labelme" else ""
    (shown,) = supports([f"{named}{image}:{mask}"])
    assert shown.classes == ("dog", "sea lion")
    segmenter = Segmenter(PANet(ConvNet(widths=(8, 8), strides=(1, 2))), size=48, device="cpu")
    if program != "labelme":
        only = supports([f"dog={image}:{mask}"])[0].labels()
        assert set(np.unique(only).tolist()) == {0, 1}
    segmenter.learn(image, mask, ["dog", "sea lion"])
    segmenter.learn(str(image), str(mask), "dog")
    by_array = Segmenter(segmenter.method, size=48, device="cpu")
    by_array.learn(image, shown.labels(), ["dog", "sea lion"])
    by_file = Segmenter(segmenter.method, size=48, device="cpu")
    by_file.learn(image, mask, ["dog", "sea lion"])
    for one, two in zip(by_array.known[0].supports.values(), by_file.known[0].supports.values(), strict=True):
        assert torch.equal(one.mask, two.mask)


def test_a_file_of_coco_is_a_set_of_supports(tmp_path: Path) -> None:
    names = exports.images(tmp_path, count=2)
    box, polygon = [4, 5, 20, 10], [30, 5, 50, 5, 50, 25, 30, 25]
    content = {
        "images": [{"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH} for i, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "iscrowd": 0, "segmentation": [polygon]},
            {"id": 2, "image_id": 0, "category_id": 2, "iscrowd": 0, "bbox": box},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (shown,) = supports([str(tmp_path / "instances.json")])
    assert shown.classes == ("cat", "dog")
    labels = shown.labels()
    assert (labels == 1).sum() == 20 * 20
    assert (labels == 2).sum() == 20 * 10
    assert (supports([f"cat={tmp_path / names[0]}:{tmp_path / 'instances.json'}"])[0].labels() == 1).sum() == 400


def cut_out(path: Path, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[5:25, 10:40, 3] = 255
    PIL.Image.fromarray(pixels).save(path)
    return pixels[..., 3] > 0


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_a_cut_out_is_its_own_mask(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"cut{ending}"
    wanted = cut_out(tmp_path / "cut.png")
    PIL.Image.open(tmp_path / "cut.png").save(path, **({"lossless": True} if ending == ".webp" else {}))
    for given in (f"cat={path}", f"cat={path}:{path}"):
        np.testing.assert_array_equal(supports([given])[0].labels() == 1, wanted)


@pytest.mark.parametrize(
    ("made", "value"),
    [
        (lambda m: m, 1),
        (lambda m: m.astype(np.uint8) * 255, 1),
        (lambda m: m.astype(np.int64)[..., None], 1),
        (lambda m: m.astype(np.float32)[None], 1),
        (lambda m: np.where(m, 700, 0), 1),
    ],
)
def test_arrays_are_masks(tmp_path: Path, made: Callable[[np.ndarray], np.ndarray], value: int) -> None:
    (name,) = exports.images(tmp_path, count=1)
    region = np.zeros((HEIGHT, WIDTH), dtype=bool)
    region[4:20, 8:30] = True
    np.save(tmp_path / "mask.npy", made(region))
    np.testing.assert_array_equal(supports([f"cat={tmp_path / name}:{tmp_path / 'mask.npy'}"])[0].labels() == 1, region)


def test_arrays_are_label_maps(tmp_path: Path) -> None:
    (name,) = exports.images(tmp_path, count=1)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    labels[2:9, 2:9], labels[20:30, 20:30], labels[35:] = 1, 2, 255
    np.save(tmp_path / "mask.npy", labels)
    place = f"{tmp_path / name}:{tmp_path / 'mask.npy'}"
    np.testing.assert_array_equal(supports([f"cat,dog={place}"])[0].labels(), labels)
    np.testing.assert_array_equal(supports([f"dog={place}:2"])[0].labels() == 1, labels == 2)


def arrays(root: Path) -> None:
    np.save(root / "negative.npy", np.full((HEIGHT, WIDTH), -1))
    np.save(root / "half.npy", np.full((HEIGHT, WIDTH), 0.5))
    np.save(root / "nan.npy", np.full((HEIGHT, WIDTH), np.nan))
    np.save(root / "deep.npy", np.zeros((3, HEIGHT, WIDTH)))
    np.save(root / "small.npy", np.eye(9, dtype=np.uint8))
    np.save(root / "objects.npy", np.array([{}, "a"], dtype=object))
    (root / "text.npy").write_text("no array")
    np.save(root / "words.npy", np.array([["a", "b"]]))
    for name, content in OTHERS.items():
        (root / name).write_text(json.dumps(content))
    for name in ("a.zip", "a.csv", "a.mat", "a.svg", "a.npz"):
        (root / name).write_bytes(b"PK")
    (root / "voc.xml").write_text("<annotation><object><name>dog</name></object></annotation>")
    (root / "other.xml").write_text("<svg></svg>")
    (root / "bomb.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>')
    (root / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    cut_out(root / "large.png", (50, 70))


OTHERS = {
    "via.json": {"_via_img_metadata": {}, "_via_settings": {}},
    "super.json": {"objects": [{"classTitle": "dog", "bitmap": {}}], "size": {}},
    "geo.json": {"type": "FeatureCollection", "features": []},
    "datumaro.json": {"infos": {}, "categories": {}, "items": []},
    "min.json": [{"image": "/data/upload/1/img 0.png", "label": [], "id": 1}],
    "coco.json": {"images": [{"id": 1, "file_name": "x.png", "height": 40, "width": 60}], "annotations": [],
                  "categories": [{"id": 1, "name": "dog"}]},
}  # fmt: skip
MASKS = {
    "negative.npy": "holds -1 to -1", "half.npy": "fractions or NaN", "nan.npy": "fractions or NaN",
    "deep.npy": "shape (3, 40, 60); H W is needed", "small.npy": "is 9x9, its image 60x40",
    "objects.npy": "no array of NumPy", "text.npy": "no array of NumPy", "words.npy": "no array of numbers",
    "via.json": "Export COCO", "super.json": "Export COCO", "geo.json": "Export a label image",
    "datumaro.json": "CVAT for images 1.1", "min.json": "JSON-MIN", "coco.json": "does not list",
    "a.zip": "unpack it", "a.csv": "export COCO", "a.mat": "save the mask as PNG or .npy", "a.svg": "mask as PNG",
    "a.npz": "save one array as .npy", "voc.xml": "boxes of PASCAL VOC", "other.xml": "no export of CVAT",
    "bomb.xml": "declares entities", "a.txt": "put data.yaml", "large.png": "is 70x50, its image 60x40",
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_a_file_that_cannot_be_read_is_one_line(fsseg, tmp_path: Path, name: str) -> None:
    exports.images(tmp_path, count=2)
    arrays(tmp_path)
    ran = fsseg("predict", *TINY, "--support", f"dog=img 0.png:{name}", "--query", "img 1.png", "--out", "out")
    assert ran.code == 2
    assert MASKS[name] in ran.line, ran.line
    assert not (tmp_path / "out").exists()
    segmenter = Segmenter(PANet(ConvNet(widths=(8, 8), strides=(1, 2))), size=48, device="cpu")
    with pytest.raises(FssegError):
        segmenter.learn(tmp_path / "img 0.png", tmp_path / name, "dog")
    assert not segmenter.classes


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("cow=labelme", "has no shape of cow; its classes are dog, sea lion"),
        ("photos", "holds no annotations of a labelling program"),
        ("a.zip", "unpack it"),
        ("img 0.png", "object on transparent ground"),
        ("gone", "no such file or folder; [CLASS=]IMAGE:MASK is needed"),
    ],
)
def test_an_export_that_cannot_be_read_is_one_line(fsseg, tmp_path: Path, given: str, words: str) -> None:
    exports.labelme(tmp_path / "labelme")
    exports.images(tmp_path / "photos", count=2)
    exports.images(tmp_path, count=1)
    (tmp_path / "a.zip").write_bytes(b"PK")
    ran = fsseg("predict", *TINY, "--support", given, "--query", "img 0.png", "--out", "out")
    assert ran.code == 2
    assert words in ran.line, ran.line


@pytest.mark.slow
def test_predict_from_an_export(fsseg, tmp_path: Path) -> None:
    exports.cvat(tmp_path / "export")
    ran = fsseg("predict", *TINY, "--support", "export", "--query", "export/images/img 0.png", "--out", "out")
    assert ran.code == 0, ran
    assert "adapted to dog, sea lion from 10 supports" in ran.err


def blobs(seed: int) -> np.ndarray:
    """A label map of two classes with holes, specks and parts that touch at corners."""
    noise = np.random.default_rng(seed).normal(size=(2, HEIGHT, WIDTH))
    smooth = gaussian_filter(noise, (0, 0.4 + seed, 0.4 + seed))
    labels = np.where(smooth[0] > 0, 1, np.where(smooth[1] > 0, 2, 0)).astype(np.uint8)
    labels[5:30, 5:30], labels[10:20, 10:20], labels[12:14, 12:14] = 1, 0, 2
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_outlines_and_polygons_are_exact(seed: int) -> None:
    labels = blobs(seed)
    for label in (1, 2):
        painted = np.zeros((HEIGHT, WIDTH), dtype=bool)
        for top, left, part in parts_of(labels == label):
            points = [(x + left, y + top) for x, y in outline_of(part)]
            painted |= exports.outline(points)
            if (corners := polygon_of(part)) is not None:
                drawn = PIL.Image.new("1", (part.shape[1], part.shape[0]))
                PIL.ImageDraw.Draw(drawn).polygon(corners, fill=1, outline=1)  # as labelme fills
                np.testing.assert_array_equal(np.asarray(drawn), part)
        np.testing.assert_array_equal(painted, labels == label)


@pytest.fixture
def results(fsseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Results in all formats; predictions are replaced by label maps."""
    names = exports.images(tmp_path / "photos", count=4)
    exports.labelme(tmp_path / "labelled")
    wanted = {Path(name).stem: blobs(i) for i, name in enumerate(names)}
    wanted["img 3"][:] = 0
    left = iter(wanted.values())
    scores = {"dog": None, "sea lion": None}
    monkeypatch.setattr(Segmenter, "predict", lambda *_, **__: Prediction(next(left), None, scores))
    asked = ("predict", *TINY, "--support", "labelled", "--query", "photos", "--out", "out")
    assert fsseg(*asked).code == 0
    assert not (tmp_path / "out/labelme").exists()
    ran = fsseg(*asked, "--formats", "labelme", "yolo")  # nothing is segmented again
    assert ran.code == 0, ran
    assert "4 of 4 are done already" in ran.err
    assert "out/yolo/" in ran.out
    return wanted


@pytest.mark.slow
def test_results_return_as_supports_and_as_data_sets_to_the_pixel(results, tmp_path: Path) -> None:
    out, photos, classes = tmp_path / "out", tmp_path / "photos", ("dog", "sea lion")
    (out / "yolo/images").symlink_to(photos, target_is_directory=True)
    for name in ("img 0", "img 1", "img 2"):
        for place in (out / f"labelme/{name}.json", out / f"yolo/labels/{name}.txt", out / "annotations.json"):
            (shown,) = supports([f"dog,sea lion={photos / name}.png:{place}"])
            np.testing.assert_array_equal(shown.labels(), results[name], str(place))
    sets = [
        (LabellingExport(images="../../photos", folds=1, val_share=1), out / "labelme"),
        (LabellingExport(folds=1, val_share=1), out / "yolo"),
        (CocoJson("annotations.json", images="../photos", folds=1, val_share=1), out),
    ]
    content = json.loads((out / "annotations.json").read_text())
    for image in content["images"]:
        image["file_name"] = Path(image["file_name"]).name
    (out / "annotations.json").write_text(json.dumps(content))
    for dataset, root in sets:
        dataset.open(root)
        assert dataset.class_names == classes
        for number in dataset.numbers("val"):
            wanted = results[Path(dataset.image_name(number)).name]
            for class_id in (1, 2):
                found = dataset.episode_mask(number, (class_id,)) == 1
                np.testing.assert_array_equal(found, wanted == class_id, f"{root} {dataset.image_name(number)}")


@pytest.mark.slow
def test_areas_and_files_of_other_programs(results, tmp_path: Path) -> None:
    with (tmp_path / "out/areas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for row in rows:
        area = int((results[row["name"]] == ("dog", "sea lion").index(row["class"]) + 1).sum())
        assert int(row["pixels"]) == area
        assert float(row["share"]) == pytest.approx(area / (HEIGHT * WIDTH), abs=1e-6)
    content = json.loads((tmp_path / "out/labelme/img 0.json").read_text())
    assert (tmp_path / "out/labelme" / content["imagePath"]).resolve() == (tmp_path / "photos/img 0.png").resolve()
    assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon", "mask"}
    assert json.loads((tmp_path / "out/labelme/img 3.json").read_text())["shapes"] == []
    assert (tmp_path / "out/yolo/labels/img 3.txt").read_text() == ""
    assert yaml.safe_load((tmp_path / "out/yolo/data.yaml").read_text())["names"] == {0: "dog", 1: "sea lion"}


def test_an_unknown_format_is_one_line(fsseg, tmp_path: Path) -> None:
    ran = fsseg("predict", *TINY, "--support", "x", "--query", "y", "--formats", "voc")
    assert ran.code == 2
    assert "labelme" in ran.line
