"""Data sets of 1,000 classes: class ids have 16 bits, episode labels 8, in index, masks, training and test.

Class 255 is the trap: its id is what masks of 8 bits call ignored.
"""

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.cli import main
from fsseg.datasets import CocoJson, Dataset, Folder
from fsseg.datasets.base import Index, count_pixels
from fsseg.datasets.coco_annotations import AnnotatedImage, Annotation
from fsseg.datasets.coco_masks import find_regions
from fsseg.episode import relabel, void_of
from fsseg.episodes import EpisodeData, ImageOptions, LoadingOptions
from fsseg.errors import FssegError
from fsseg.experiment.files import experiment_folder
from fsseg.files.run_lengths import decode
from fsseg.protocols.protocol import Protocol, Split

CLASSES, IMAGES, SHAPE = 1000, 8, (40, 50)
NAMES = tuple(f"class {i:04d}" for i in range(1, CLASSES + 1))
TINY = ("--data.images.size=48", "--data.loading.workers=0", "--data.fold=1", "--data.episodes.val=2",
        "--data.episodes.train=4",
        "--data.batch_size=2", "--trainer.max_steps=2", "--trainer.accelerator=cpu",
        "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]")  # fmt: skip


def mask(number: int) -> np.ndarray:
    """500 classes of 2 x 2 pixels each, the lower ones on even images, the upper ones on odd; a row is not labelled."""
    ids = np.arange(1, 501).reshape(20, 25) + 500 * (number % 2)
    found = np.kron(ids, np.ones((2, 2))).astype(np.uint16)
    found[-1] = 65535
    return found


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


class Many(Dataset):
    """A custom data set of 1,000 classes."""

    name = "Many"
    class_names = NAMES
    needs_root = False

    def open(self, root: Path | None) -> None:
        self.index = Index(np.stack([count_pixels(self.mask(i), CLASSES) for i in range(IMAGES)]))

    def numbers(self, split: Split) -> range:
        return range(4) if split == "train" else range(4, 8)

    def image_name(self, number: int) -> str:
        return f"photo{number}"

    def image(self, number: int) -> np.ndarray:
        return image(number)

    def mask(self, number: int) -> np.ndarray:
        return mask(number)


def write_folder(root: Path) -> tuple[str, ...]:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(IMAGES):
        PIL.Image.fromarray(image(i)).save(root / f"images/photo{i}.png")
        PIL.Image.fromarray(mask(i)).save(root / f"masks/photo{i}.png")
    (root / "classes.yaml").write_text(json.dumps({"classes": NAMES}))
    (root / "train.txt").write_text("\n".join(f"photo{i}" for i in range(4)))
    return ("--data.dataset=Folder", f"--data.root={root}")


def write_coco(root: Path) -> tuple[str, ...]:
    (root / "images").mkdir(parents=True)
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
    for split, numbers in (("train", range(4)), ("val", range(4, 8))):
        images, annotations = [], []
        for i in numbers:
            PIL.Image.fromarray(image(i)).save(root / f"images/photo{i}.png")
            images.append({"id": i, "file_name": f"photo{i}.png", "height": SHAPE[0], "width": SHAPE[1]})
            for place in range(500):
                top, left = 2 * (place // 25), 2 * (place % 25)
                bottom = min(top + 2, SHAPE[0] - 1)
                polygon = [left, top, left + 2, top, left + 2, bottom, left, bottom]
                of = {"id": len(annotations), "image_id": i, "category_id": 1 + place + 500 * (i % 2)}
                annotations.append({**of, "segmentation": [polygon]})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))
    return ("--data.dataset=CocoJson", f"--data.root={root}", "--data.dataset.annotations=train.json",
            "--data.dataset.val_annotations=val.json")  # fmt: skip


def own(root: Path) -> tuple[str, ...]:
    return ("--data.dataset=tests.datasets.test_many_classes.Many",)


@pytest.mark.slow
@pytest.mark.parametrize("make", [write_folder, write_coco, own])
def test_a_thousand_classes_are_trained_and_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = make(tmp_path / "many")
    config = ("--config", str(experiment_folder() / "quickstart.yaml"))
    assert main(["fit", *config, *given, *TINY, "--out", "run"]) == 0, capsys.readouterr().err
    monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
    monkeypatch.setenv("FSSEG_TRUST", "tests")
    short = ("--protocol.runs", "1", "--protocol.episodes", "40")
    assert main(["test", "--ckpt_path", "run/last.ckpt", *short, "--out", "test"]) == 0, capsys.readouterr().err
    monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
    with Path("test/rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if int(row["class_id"])]  # others are background's
    shown = {int(row["class_id"]) for row in rows}
    assert shown <= set(range(251, 501))
    assert len(shown) > 20
    assert any(c > 255 for c in shown)
    assert all(int(row["truth"]) == 4 for row in rows if int(row["class_id"]) < 476), "2 x 2 pixels each"


@pytest.mark.slow
def test_index_and_masks_of_a_thousand_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "maps")
    write_coco(tmp_path / "coco")
    maps, coco, mine = Folder(), CocoJson(annotations="train.json", val_annotations="val.json"), Many()
    for dataset, root in ((maps, tmp_path / "maps"), (coco, tmp_path / "coco"), (mine, None)):
        dataset.open(root)
        assert dataset.index.pixels.shape == (8, 1001)
        for i in range(IMAGES):
            truth = np.where(mask(i) == 65535, 0, mask(i))
            counts = np.bincount(truth.ravel(), minlength=1001)[1:]
            assert np.array_equal(dataset.index.pixels[i, 1:], counts), dataset.name
            assert dataset.mask(i).dtype == np.uint16
        found = dataset.episode_mask(4, (255, 256, 300))
        assert found.dtype == np.uint8
        labelled = mask(4) != 65535
        for label, class_id in enumerate((255, 256, 300), 1):
            assert np.array_equal(found == label, mask(4) == class_id), "class 255 is one like others"
        assert (found[~labelled] == (0 if dataset is coco else 255)).all()
    data = EpisodeData(
        mine,
        fold=1,
        images=ImageOptions(size=48),
        loading=LoadingOptions(workers=0),
        protocol=Protocol(runs=1, episodes=2),
    )
    data.setup("test")
    assert 255 in data.novel


@pytest.mark.slow
def test_folders_of_three_hundred_classes(tmp_path: Path) -> None:
    root = tmp_path / "many"
    (root / "images").mkdir(parents=True)
    for i in range(2):
        PIL.Image.fromarray(image(i)).save(root / f"images/photo{i}.png")
    for c in range(300):
        (root / f"masks/{c:03d}").mkdir(parents=True)
        region = np.zeros(SHAPE, np.uint8)
        region.flat[2 * c : 2 * c + 2] = 255
        PIL.Image.fromarray(region).save(root / f"masks/{c:03d}/photo{c % 2}.png")
    dataset = Folder(folds=1, val_share=1)
    dataset.open(root)
    for i in range(2):
        found = dataset.mask(i)
        assert found.dtype == np.uint16
        expected = [c + 1 for c in range(300) if c % 2 == i]
        assert np.unique(found)[1:].tolist() == expected
        assert np.flatnonzero(dataset.index.pixels[i, 1:] == 2).tolist() == [c - 1 for c in expected]


@pytest.mark.slow
def test_masks_of_8_bits_among_those_of_16(tmp_path: Path) -> None:
    """Their 255 is not labelled; where it is also a class's id, it may be either."""
    root = tmp_path / "many"
    write_folder(root)
    small = np.where(mask(0) < 255, mask(0), 0).astype(np.uint8)
    small[0] = 255
    PIL.Image.fromarray(small).save(root / "masks/photo0.png")
    with pytest.raises(FssegError, match=r"photo0.png holds 255: is 255 the class of this id in classes.yaml, or not"):
        Folder().open(root)
    PIL.Image.fromarray(np.where(small == 255, 0, small).astype(np.uint8)).save(root / "masks/photo0.png")
    dataset = Folder()
    dataset.open(root)
    (number,) = (i for i in range(IMAGES) if dataset.image_name(i) == "photo0")
    assert np.array_equal(dataset.mask(number), np.where(small == 255, 0, small))
    ids = {i + (i > 254): name for i, name in enumerate(NAMES, 1)}  # none is 255
    (root / "classes.yaml").write_text(json.dumps({"classes": list(ids.items())}).replace("[[", "{").replace("]]", "}")
                                       .replace("], [", ", ").replace(', "class', ': "class'))  # fmt: skip
    PIL.Image.fromarray(small).save(root / "masks/photo0.png")
    for i in range(1, IMAGES):
        deep = mask(i)
        PIL.Image.fromarray(np.where((deep > 254) & (deep < 65535), deep + 1, deep).astype(np.uint16)).save(
            root / f"masks/photo{i}.png"
        )
    dataset = Folder()
    dataset.open(root)
    found = dataset.mask(number)
    assert (found[0] == void_of(found)).all()
    assert np.array_equal(found[1:], small[1:])
    assert np.array_equal(dataset.mask(1), mask(1))


def test_a_16_bit_map_whose_255_means_not_labelled_is_told(own_maps: Path) -> None:
    path = own_maps / "masks/photo01.png"
    deep = np.asarray(PIL.Image.open(path)).astype(np.uint16)
    deep[:2] = 255
    PIL.Image.fromarray(deep).save(path)
    with pytest.raises(FssegError, match=r"holds the ids \[255\].*In a mask of 16 bits, not labelled is 65535"):
        Folder().open(own_maps)
    deep[:2] = 65535
    PIL.Image.fromarray(deep).save(path)
    dataset = Folder()
    dataset.open(own_maps)
    (number,) = (i for i in range(30) if dataset.image_name(i) == "photo01")
    assert dataset.mask(number).dtype == np.uint8, "five classes fit into 8 bits, whatever the file has"
    assert (dataset.mask(number)[:2] == 255).all()


def test_relabelling_of_16_bits_is_that_of_8() -> None:
    random = np.random.default_rng(0)
    deep = random.integers(0, 70_000, (50, 60)).clip(0, 65535).astype(np.uint16)
    found = relabel(deep, (255, 1000, int(deep[0, 0])))
    expected = np.zeros(deep.shape, np.uint8)
    for way, class_id in enumerate((255, 1000, int(deep[0, 0])), 1):
        expected[deep == class_id] = way
    expected[deep == 65535] = 255
    assert np.array_equal(found, expected)
    for kind in (np.int64, np.int32, np.float32):
        with pytest.raises(TypeError, match=r"uint8 \(255 is ignored\) or uint16 \(65535 is ignored\) is needed"):
            void_of(deep.astype(kind))
        with pytest.raises(FssegError, match="is needed"):
            count_pixels(deep.astype(kind), 70_000)


@pytest.mark.parametrize("masks", ["exact", "first_polygon_convex", "first_polygon_map"])
def test_older_codes_masks_of_class_ids_above_255(masks: str) -> None:
    square = [2.0, 2.0, 9.0, 2.0, 9.0, 9.0, 2.0, 9.0]
    image = AnnotatedImage("a.png", 20, 30, [Annotation(1, 300, False, [square]), Annotation(2, 44, False, [[
        value + 10 for value in square]])])  # fmt: skip
    regions = find_regions(image, masks, "include")  # type: ignore[arg-type]
    assert sorted(regions.codes) == [44, 300]
    assert decode(regions.codes[300])[3:8, 3:8].all()
    assert not decode(regions.codes[300])[12:].any()
