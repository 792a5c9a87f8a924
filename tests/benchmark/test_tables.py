import csv
import json
from collections import defaultdict
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fsseg.benchmark import tables  # not Tested by name, which pytest takes for a test
from fsseg.benchmark.published import Setting, published
from fsseg.benchmark.rows import Row, batch_rows, read_rows, write_rows
from fsseg.benchmark.tables import Table, as_json, as_markdown, as_text, make_table
from fsseg.episode import Batch
from fsseg.metrics import Absent, BinaryIoU, ClassIoU, count

CLASSES = {6: "bus", 7: "car", 9: "chair"}
TESTED = tables.Tested(Setting("PANet", "VGG16", "PASCAL-5i", 1, 1), 1, CLASSES, "last.ckpt at step 3", "as PANet")
EPISODES, RUNS = 24, 3


class Experiment:
    """Random predictions of a test with padding, and all that is made of them."""

    def __init__(self, way: int, absent: Absent) -> None:
        random = torch.Generator().manual_seed(way)
        self.mask = torch.randint(0, 1 + way, (EPISODES, 2, 5, 5), generator=random)
        self.mask[torch.rand(self.mask.shape, generator=random) < 0.1] = 255
        self.mask[::4][self.mask[::4] == 1] = 0  # some queries lack a class
        self.prediction = torch.randint(0, 1 + way, self.mask.shape, generator=random)
        order = torch.stack([torch.randperm(3, generator=random)[:way] for _ in range(EPISODES)])
        self.classes = torch.tensor(list(CLASSES))[order]
        self.run = torch.arange(EPISODES) % RUNS
        self.number = torch.arange(EPISODES) // RUNS
        self.number[-1] = -1
        self.way, self.absent = way, absent

    def rows(self) -> list[Row]:
        image = torch.zeros(EPISODES, self.way, 2, 3, 5, 5, dtype=torch.uint8)
        batch = Batch(
            image,
            torch.zeros(EPISODES, self.way, 2, 5, 5, dtype=torch.uint8),
            torch.zeros(EPISODES, 2, 3, 5, 5, dtype=torch.uint8),
            self.mask.to(torch.uint8),
            self.classes,
            torch.arange(EPISODES * self.way * 2).view(EPISODES, self.way, 2),
            torch.arange(EPISODES * 2).view(EPISODES, 2),
            self.run,
            self.number,
        )
        return batch_rows(batch, count(self.prediction, self.mask, self.way))

    def table(self) -> Table:
        return make_table(replace(TESTED, absent=self.absent), self.rows())

    def metrics(self, prediction: Tensor) -> tuple[ClassIoU, BinaryIoU]:
        by_class, binary = ClassIoU(tuple(CLASSES), RUNS, self.absent), BinaryIoU(RUNS, self.absent)
        run = self.run.where(self.number >= 0, -1)
        counts = count(prediction, self.mask, self.way)
        by_class.update(counts, self.classes, run)
        binary.update(counts, run)
        return by_class, binary


@pytest.fixture(params=[(1, "count"), (1, "drop"), (2, "count"), (2, "drop")], ids=str)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return Experiment(*request.param)


def test_a_table_of_rows_equals_the_metrics(experiment: Experiment) -> None:
    table = experiment.table()
    by_class, binary = (metric.compute() for metric in experiment.metrics(experiment.prediction))
    assert tuple(table.mean_iou) == pytest.approx((100 * by_class.mean.item(), 100 * by_class.std.item()))
    assert tuple(table.binary_iou) == pytest.approx((100 * binary.mean.item(), 100 * binary.std.item()))
    assert [line.iou.mean for line in table.classes] == pytest.approx((100 * by_class.per_class.nanmean(0)).tolist())
    assert [line.name for line in table.classes] == list(CLASSES.values())


def test_everything_foreground_is_what_such_a_prediction_scores(experiment: Experiment) -> None:
    runs = []
    for run in range(RUNS):
        scores = []
        for class_id in CLASSES:
            above = below = 0
            for e in range(EPISODES):
                if experiment.run[e] != run or experiment.number[e] < 0 or class_id not in experiment.classes[e]:
                    continue
                label = experiment.classes[e].tolist().index(class_id) + 1
                for mask in experiment.mask[e]:
                    if experiment.absent == "count" or (mask == label).any():
                        above += int((mask == label).sum())
                        below += int((mask != 255).sum())
            if below:
                scores.append(above / below)
        runs.append(sum(scores) / len(scores))
    assert experiment.table().everything_foreground.mean == pytest.approx(100 * sum(runs) / RUNS)


def test_everything_foreground_equals_the_metric_of_that_prediction() -> None:
    experiment = Experiment(1, "count")
    by_class, _ = experiment.metrics(torch.ones_like(experiment.prediction))
    assert experiment.table().everything_foreground.mean == pytest.approx(100 * by_class.compute().mean.item())


def test_rows_survive_a_file(experiment: Experiment, tmp_path: Path) -> None:
    rows = experiment.rows()
    write_rows(rows, tmp_path / "rows.csv")
    assert read_rows(tmp_path / "rows.csv") == rows
    assert len(rows) == (EPISODES - 1) * 2 * (1 + experiment.way)


def test_a_row_names_its_images() -> None:
    background, first, second = Experiment(2, "count").rows()[:3]
    assert (background.class_id, background.support, background.query) == (0, "0 1 2 3", "0")
    assert (first.support, second.support) == ("0 1", "2 3")


def test_the_table_in_all_its_forms() -> None:
    table = Experiment(1, "count").table()
    number = f"{table.mean_iou.mean:.1f}"
    for text in (as_text(table), as_markdown(table)):
        assert number in text
        assert "as PANet" in text
        assert "published 58.0 (PANet table 1, fold 1)" in text  # 1-way 1-shot of fold 1
        assert "published as mean of all folds only" in text  # of binary-IoU
        assert all(name in text for name in CLASSES.values())
    content = json.loads(as_json(table))
    assert content["mean_iou"]["mean"] == pytest.approx(table.mean_iou.mean)
    assert content["published"]["mean-IoU"]["value"] == 58.0
    assert content["published"]["binary-IoU"] is None


def test_a_class_without_episodes_is_a_dash_and_does_not_enter_the_mean() -> None:
    rows = [Row(0, 0, 0, 5, 8, 6, 10, "1", "2"), Row(0, 0, 7, 2, 5, 4, 10, "1", "2")]
    table = make_table(TESTED, rows)
    assert table.mean_iou.mean == pytest.approx(40)
    assert "| bus | - | - | 0 |" in as_markdown(table)
    assert json.loads(as_json(table))["classes"][0]["iou"] is None


def test_no_rows_give_dashes_and_no_crash() -> None:
    table = make_table(TESTED, [])
    assert str(table.mean_iou) == str(table.binary_iou) == "-"
    json.loads(as_json(table))
    as_text(table)


# Published numbers

LINES = list(csv.DictReader(files("fsseg.benchmark").joinpath("published.csv").read_text().splitlines()))


def test_published_rows_are_well_formed() -> None:
    for line in LINES:
        assert None not in line
        assert all(value.strip() == value != "" for value in line.values())
        assert line["fold"] in ("0", "1", "2", "3", "mean")
        assert line["metric"] in ("mean-IoU", "binary-IoU")
        assert int(line["way"]) >= 1
        assert int(line["shot"]) >= 1
        assert 0 < float(line["value"]) < 100
    keys = [tuple(line[k] for k in ("method", "encoder", "dataset", "way", "shot", "metric", "fold")) for line in LINES]
    assert len(set(keys)) == len(keys)


def test_published_folds_agree_with_their_mean() -> None:
    numbers: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for line in LINES:
        key = tuple(line[k] for k in ("method", "encoder", "dataset", "way", "shot", "metric"))
        numbers[key][line["fold"]] = float(line["value"])
    for key, by_fold in numbers.items():
        folds = [value for fold, value in by_fold.items() if fold != "mean"]
        if folds and "mean" in by_fold:
            assert len(folds) == 4
            assert sum(folds) / 4 == pytest.approx(by_fold["mean"], abs=0.06), key


def test_a_fold_is_never_answered_with_a_mean() -> None:
    one_way = Setting("PANet", "VGG16", "PASCAL-5i", 1, 1)
    fold, mean = published(one_way, "mean-IoU", 1), published(one_way, "mean-IoU", None)
    assert fold is not None
    assert mean is not None
    assert (fold.value, mean.value) == (58.0, 48.1)
    assert published(one_way, "binary-IoU", 1) is None
    assert published(one_way, "binary-IoU", None) is not None
    assert published(one_way._replace(encoder="resnet50"), "mean-IoU", None) is None
    assert published(one_way._replace(shot=2), "mean-IoU", 0) is None
