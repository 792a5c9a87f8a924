"""A training on COCO-20i, tested on PASCAL-5i: class names are matched, seen classes are refused or named."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
