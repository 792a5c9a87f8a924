"""One class, one run, one way: every number that may be 1 is 1 somewhere, from training to table."""

import json
import re

import numpy as np
import PIL.Image
import pytest

TINY = (
    "--config", "experiments/quickstart.yaml", "--data.dataset", "Folder", "--data.root", "own",
    "--data.images.size=16",
    "--data.batch_size=1", "--data.episodes.train=2", "--data.episodes.val=2", "--data.loading.workers=0",
    "--data.images.augment=[]",
    "--data.dataset.val_share=0.5",
    "--model.method.encoder.widths=[8]", "--model.method.encoder.strides=[2]", "--protocol.episodes=2",
    "--trainer.max_steps=2", "--trainer.accelerator=cpu",
)  # fmt: skip


def write_classes(root, classes, folds, images=16):
    """Photos that show every class, each a stripe of its own."""
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(images):
        mask = np.zeros((16, 16), dtype=np.uint8)
        for c in range(classes):
            mask[4 * c : 4 * c + 3, 2:12] = c + 1
        PIL.Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / f"images/{i}.png")
        PIL.Image.fromarray(mask).save(root / f"masks/{i}.png")
    names = ", ".join("abcd"[:classes])
    (root / "classes.yaml").write_text(f"classes: [{names}]\nfolds: {folds}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "folds", "runs", "way", "shot", "query"),
    [
        (2, 2, 1, 1, 1, 1),
        *(pytest.param(*numbers, marks=pytest.mark.slow) for numbers in ((3, 3, 2, 1, 1, 2), (4, 2, 1, 2, 2, 1))),
    ],
)
def test_every_number_from_one_on_is_trained_validated_and_tested(
    fsseg, tmp_path, classes, folds, runs, way, shot, query
):
    write_classes(tmp_path / "own", classes, folds)
    sizes = (f"--protocol.runs={runs}", f"--data.way={way}", f"--data.shot={shot}", f"--data.query={query}")
    ran = fsseg("fit", *TINY, *sizes, "--out", "run")
    assert ran.code == 0, ran.err
    for command, out in (("validate", ()), ("test", ("--out", "tested"))):
        ran = fsseg(command, "--ckpt_path", "run/last.ckpt", *sizes, *out)
        assert ran.code == 0, ran.err
    assert "mean-IoU" in ran.out
    table = json.loads((tmp_path / "tested/table.json").read_text())
    assert len(table["classes"]) == classes // folds
    assert 0 <= table["mean_iou"]["mean"] <= 100


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "way", "runs"), [(1, 1, 1), (2, 2, 1)])
def test_all_classes_are_novel(fsseg, tmp_path, classes, way, runs):
    write_classes(tmp_path / "own", classes, 1)
    ran = fsseg("test", *TINY, "--untrained", f"--data.way={way}", f"--protocol.runs={runs}", "--out", "tested")
    assert ran.code == 0, ran.err
    ran = fsseg("fit", *TINY, "--out", "run")
    assert (ran.code, "no base class to train on" in ran.line, "--data.dataset.folds 0" in ran.line) == (2, True, True)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_all_classes_are_base(fsseg, tmp_path, classes):
    """A training on all classes, measured and used on images that it has not seen."""
    write_classes(tmp_path / "own", classes, 0)
    ran = fsseg("fit", *TINY, "--data.images.size=32", "--out", "run")
    assert ran.code == 0, ran.err
    val = int(re.search(r"; no class is held out, but (\d+) val images are\n", ran.err)[1])
    assert f"training classes: {classes} with {16 - val} images;" in ran.err
    assert f"with {val} val images" in ran.err
    assert "next: fsseg predict --support [CLASS=]IMAGE:MASK --query IMAGES --ckpt_path run/last.ckpt" in ran.out
    ran = fsseg("validate", "--ckpt_path", "run/last.ckpt")
    assert (ran.code, "own fold 0, base classes, val images" in ran.out) == (0, True), ran.err
    ran = fsseg("predict", "--ckpt_path", "run/last.ckpt", "--support", "a=own/images/0.png:own/masks/0.png:1",
                "--query", "own/images/1.png", "--out", "found")  # fmt: skip
    assert ran.code == 0, ran.err
    ran = fsseg("data", "info", "folder", "--root", "own", "--val_share=0.5", "--out", "info.png")
    assert (ran.code, f"fold 0   base classes: {classes * (16 - val)} train and" in ran.out) == (0, True), ran.err
    for more in ((), ("--data.episodes.test_file", "run/episodes.json")):
        (tmp_path / "run/episodes.json").write_text("{}")
        ran = fsseg("test", "--ckpt_path", "run/last.ckpt", *more)
        assert ran.code == 2
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt")
    assert ran.line == (
        "fsseg: own has no novel class to test on, because --data.dataset.folds 0 trains on all: `fsseg validate` "
        "measures the checkpoint on the val images, which the training has not seen."
    )


@pytest.mark.slow
def test_a_training_counts_the_images_of_its_rarest_classes(fsseg, tmp_path):
    root, classes, images = tmp_path / "own", 22, 30  # and two val images, with all classes
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i in range(images + 2):
        mask = np.zeros((16, 16), dtype=np.uint8)
        for c in range(min(classes, i + 1)):  # class c is on the train images c to 29
            mask[c // 5 * 3 : c // 5 * 3 + 2, c % 5 * 3 : c % 5 * 3 + 2] = c + 1
        PIL.Image.fromarray(np.full((16, 16, 3), 7 * i, dtype=np.uint8)).save(root / f"images/{i}.png")
        PIL.Image.fromarray(mask).save(root / f"masks/{i}.png")
    (root / "train.txt").write_text("\n".join(map(str, range(images))))
    (root / "val.txt").write_text(f"{images}\n{images + 1}\n")
    (root / "classes.yaml").write_text(f"classes: [{', '.join(f'c{c}' for c in range(classes))}]\nfolds: 0\n")
    ran = fsseg("fit", *TINY, "--out", "run")
    assert ran.code == 0, ran.err
    rarest = ", ".join(f"c{c} {images - c}" for c in range(classes - 1, 1, -1))
    assert f"training classes: 22 with 9 to 30 images: {rarest} and 2 more" in ran.err
