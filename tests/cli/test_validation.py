"""Trainings whose val images show few classes, and data sets with class-disjoint splits."""

import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import yaml

from tests.cli.conftest import QUICKSTART

SMALL = (*QUICKSTART[:2], *(word for word in QUICKSTART[2:] if not word.startswith("--data.dataset.")))


def folder(root: Path, train: str, val: str) -> Path:
    """A folder of images that show one class each, a letter of the splits."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for split, shown in (("train", train), ("val", val)):
        names = [f"{split}{i:02d}" for i in range(len(shown))]
        (root / f"{split}.txt").write_text("\n".join(names))
        for name, letter in zip(names, shown, strict=True):
            mask = np.zeros((48, 48), dtype=np.uint8)
            mask[8:30, 8:30] = "abcd".index(letter) + 1
            image = np.random.default_rng(len(name)).integers(255, size=(48, 48, 3), dtype=np.uint8)
            PIL.Image.fromarray(image).save(root / f"images/{name}.png")
            PIL.Image.fromarray(mask).save(root / f"masks/{name}.png")
    (root / "classes.yaml").write_text("classes: [ant, bee, cat, dog]\nfolds: [[ant, dog], [bee, cat]]\n")
    return root


def coco(root: Path, train: str, val: str) -> Path:
    """The same images as two files of COCO's format."""
    folder(root, train, val)
    for split, shown in (("train", train), ("val", val)):
        images, objects = [], []
        for i, letter in enumerate(shown):
            images.append({"id": i, "file_name": f"{split}{i:02d}.png", "height": 48, "width": 48})
            one = {"segmentation": [[8, 8, 30, 8, 30, 30, 8, 30]], "bbox": [8, 8, 22, 22], "area": 484, "iscrowd": 0}
            objects.append({"id": i, "image_id": i, "category_id": "abcd".index(letter) + 1, **one})
        kinds = [{"id": i, "name": name} for i, name in enumerate(("ant", "bee", "cat", "dog"), 1)]
        (root / f"{split}.json").write_text(json.dumps({"images": images, "annotations": objects, "categories": kinds}))
    return root


def line(text: str, start: str) -> str:
    return next(found for found in text.splitlines() if found.startswith(start))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("val", "options", "said"),
    [
        ("bbbcc", (), "validation: base classes bee, cat with 2 to 3 val images"),
        ("bbbc", (), "validation: base class bee with 3 val images (cat 1 left out: fewer than 2)"),
        ("bbbcc", ("--data.shot=5",), "validation: base classes bee, cat with 2 to 3 val images; "
         "1-way 1-shot episodes, because 1-way 5-shot ones need more images"),
        ("bbb", ("--data.way=2",), "validation: base class bee with 3 val images (cat 0 left out: fewer than 2); "
         "1-way 1-shot episodes, because 2-way 1-shot ones need more images"),
        ("bc", ("--protocol.selection=base_val",), "note: no validation: 1-way 1-shot with 1 query needs 2 val images "
         "a class; too few show: 2 bee (1), 3 cat (1). No best.ckpt is written."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["Folder", "CocoJson"])
def test_a_training_validates_on_what_there_is_and_says_so(fsseg, tmp_path, kind, val, options, said):
    root = (folder if kind == "Folder" else coco)(tmp_path / "own", 7 * "abcdc", val)
    files = ("annotations=train.json", "val_annotations=val.json", "folds=[[ant, dog], [bee, cat]]")
    more = [f"--data.dataset.{word}" for word in files] if kind == "CocoJson" else []
    ran = fsseg("fit", *SMALL, "--data.dataset", kind, *more, "--data.root", str(root), *options, "--out", "run")
    assert ran.code == 0, ran.err
    assert "training classes: 2 with 7 to 14 images: bee 7, cat 14\n" in ran.err
    assert line(ran.err, said[:4]) == said or said in ran.err.splitlines()
    gain = re.search(r"\nval mean-IoU (\S+), untrained prototypes of the encoder (\S+): ([+-]\S+)\n", ran.out)
    assert (gain is not None) == ("no validation" not in said)
    if gain:
        val, untrained, more = map(float, gain.groups())
        assert f"val mean-IoU {val} (prototypes of the encoder, untrained: {untrained})" in ran.err
        assert val - untrained == pytest.approx(more, abs=0.11)
    ran = fsseg("validate", "--ckpt_path", "run/last.ckpt")
    assert ran.code == (0 if len(options) == 0 else 2)
    assert ("needs" in ran.err) == (len(options) > 0)


def test_callbacks_that_watch_a_validation_need_one(fsseg, tmp_path):
    root = folder(tmp_path / "own", 7 * "abcd", "bc")
    stop = Path(__file__).parents[2] / "experiments/training/early_stopping.yaml"
    ran = fsseg("fit", *SMALL, "--config", str(stop), "--data.dataset", "Folder", "--data.root", str(root))
    assert ran.code == 2
    assert "EarlyStopping watches val/mean_iou, without a validation: 1-way 1-shot with 1 query needs" in ran.line


@pytest.mark.slow
def test_class_disjoint_splits_train_validate_and_test(fsseg, tmp_path):
    data = ("--data.dataset", "tests.class_disjoint.Disjoint", "--data.shot", "5", "--protocol.selection", "base_val")
    ran = fsseg("fit", *SMALL, *data, "--out", "run")
    assert ran.code == 0, ran.err
    assert "training classes: 6 with 10 images\n" in ran.err
    assert "validation: classes square 7, square 8 with 10 val images\n" in ran.err
    assert "left out" not in ran.err
    assert "best on the validation classes: run/best.ckpt" in ran.out
    assert torch.load("run/last.ckpt", weights_only=True)["fsseg"]["trained_on"] == [f"square {i}" for i in range(1, 7)]
    assert list(json.loads(Path("run/run.json").read_text())["train_images"].values()) == [10] * 6
    config = ("--config", "run/config.yaml")
    ran = fsseg("validate", *config, "--ckpt_path", "run/last.ckpt")
    assert ran.code == 0, ran.err
    assert "Disjoint fold 0, validation classes, val images, 2 episodes" in ran.out
    ran = fsseg("test", *config, "--ckpt_path", "run/best.ckpt", "--protocol.episodes", "30")
    assert ran.code == 0, ran.err
    assert "best on validation classes" in ran.out
    assert "40 pairs" in ran.out
    assert "too few" not in ran.out
    tested = json.loads((tmp_path / "run/test/table.json").read_text())["classes"]
    assert {one["name"] for one in tested} == {f"square {i}" for i in range(9, 13)}
    assert yaml.safe_load(Path("run/test/config.yaml").read_text())["data"]["episodes"]["missing_classes"] == "error"
