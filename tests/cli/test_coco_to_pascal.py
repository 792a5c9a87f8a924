"""A training on COCO-20i, tested on PASCAL-5i: class names are matched, seen classes are refused or named."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fsseg.datasets import Coco, Pascal
from fsseg.experiment.compatibility import _SAME
from fsseg.experiment.files import experiment_folder

TINY = ("--data.images.size=32", "--data.loading.workers=0", "--data.episodes.val=2", "--data.episodes.train=4",
        "--data.batch_size=2", "--trainer.max_steps=1", "--trainer.accelerator=cpu",
        "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]")  # fmt: skip
SHORT = ("--protocol.runs", "1", "--protocol.episodes", "12", "--protocol.pairs", "any")


@pytest.fixture
def checkpoint(fsseg: Callable, fake_coco: Path) -> str:
    """A training on COCO-20i, fold 0, whose novel classes are person, airplane, boat, dog, chair, dining table ..."""
    config = ("--config", str(experiment_folder() / "quickstart.yaml"))
    ran = fsseg("fit", *config, "--data.dataset", "Coco", "--data.root", str(fake_coco), "--data.fold", "0", *TINY,
                "--out", "run")  # fmt: skip
    assert ran.code == 0, ran.err
    return "run/last.ckpt"


@pytest.mark.slow
def test_coco_to_pascal_in_one_command(fsseg: Callable, checkpoint: str, fake_voc: Path, tmp_path: Path) -> None:
    test = ("test", "--ckpt_path", checkpoint, "--data.dataset", "Pascal", "--data.root", str(fake_voc), *SHORT)
    refused = fsseg(*test, "--data.fold", "0", "--out", "refused")
    assert refused.code == 2
    assert "would test classes it has seen (bicycle, bird, bottle)" in refused.line, "not aeroplane and boat"
    assert "coco" in refused.line.lower()
    noted = fsseg(*test, "--data.fold", "0", "--protocol.seen_classes", "note", "--out", "noted")
    assert noted.code == 0, noted.err
    assert "bicycle, bird, bottle" in noted.out
    assert json.loads((tmp_path / "noted/table.json").read_text())["mean_iou"]
    with (tmp_path / "noted/rows.csv").open() as file:
        assert {int(row["class_id"]) for row in csv.DictReader(file)} <= {0, 1, 2, 3, 4, 5}


def test_folds_of_coco_hold_the_classes_that_are_novel_there() -> None:
    """By the class names of COCO-20i."""
    pascal, coco = Pascal(folds_of="coco"), Coco()
    for fold in range(4):
        novel = {coco.class_name(c) for c in coco.novel(fold)}
        found = {_SAME.get(pascal.class_name(c), pascal.class_name(c)) for c in pascal.novel(fold)}
        assert found == {name for name in (_SAME.get(n, n) for n in pascal.class_names) if name in novel}
    assert [len(pascal.novel(fold)) for fold in range(4)] == [6, 4, 6, 4]
    assert sorted(c for fold in range(4) for c in pascal.novel(fold)) == list(pascal.class_ids)


@pytest.mark.slow
def test_a_fold_of_coco_is_tested_on_its_unseen_classes_of_voc(
    fsseg: Callable, checkpoint: str, fake_voc: Path, tmp_path: Path
) -> None:
    test = ("test", "--ckpt_path", checkpoint, "--data.dataset", "Pascal", "--data.dataset.folds_of", "coco",
            "--data.root", str(fake_voc), *SHORT)  # fmt: skip
    ran = fsseg(*test, "--data.fold", "0", "--out", "unseen")
    assert ran.code == 0, ran.err
    assert "VOC subset (COCO's folds)" in ran.out
    with (tmp_path / "unseen/rows.csv").open() as file:
        assert {int(row["class_id"]) for row in csv.DictReader(file)} <= {0, 1, 4, 9, 11, 12, 15}
    assert "would test classes it has seen" in fsseg(*test, "--data.fold", "1", "--out", "seen").line
    told = fsseg("data", "info", "pascal", "--root", str(fake_voc), "--folds_of", "coco").out
    assert "folds of COCO-20i, for trainings on COCO" in told
    assert "folds_of" in fsseg("data", "info", "pascal", "--root", str(fake_voc), "--folds_of", "voc").line
