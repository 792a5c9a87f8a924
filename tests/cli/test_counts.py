"""One class, one run, one way: every number that may be 1 is 1 somewhere, from training to table."""

import json

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
    assert (ran.code, "no base class to train on" in ran.line) == (2, True)
