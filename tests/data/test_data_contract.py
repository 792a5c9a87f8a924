"""What every data set promises; a new one joins by being listed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fsseg.data import Dataset, Pascal, Shapes

DATASETS: dict[str, Callable[[], Dataset]] = {
    "Pascal": Pascal,
    "Shapes": lambda: Shapes(size=32, train=40, val=40),
}


@pytest.fixture(params=DATASETS)
def dataset(request: pytest.FixtureRequest, fake_voc: Path) -> Dataset:
    made = DATASETS[request.param]()
    made.open(fake_voc)
    return made


def numbers(dataset: Dataset) -> list[int]:
    return [*dataset.numbers("train"), *dataset.numbers("val")]


def test_masks_hold_class_ids_background_and_ignore_only(dataset: Dataset) -> None:
    for i in numbers(dataset):
        image, mask = dataset.image(i), dataset.mask(i)
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        assert set(np.unique(mask).tolist()) <= {0, 255, *dataset.class_ids}


def test_index_equals_a_scan_of_all_masks(dataset: Dataset) -> None:
    masks = {i: dataset.mask(i) for i in numbers(dataset)}
    for split in ("train", "val"):
        for class_id in dataset.class_ids:
            shown = [i for i in dataset.numbers(split) if (masks[i] == class_id).any()]
            assert dataset.index.images(class_id, dataset.numbers(split)).tolist() == shown
            large = [i for i in shown if (masks[i] == class_id).sum() >= 60]
            assert dataset.index.images(class_id, dataset.numbers(split), min_pixels=60).tolist() == large
    without = [i for i in dataset.numbers("train") if not np.isin(masks[i], [2, 5]).any()]
    assert dataset.index.without((2, 5), dataset.numbers("train")).tolist() == without


def test_reading_twice_gives_the_same_and_a_change_stays_with_the_caller(dataset: Dataset) -> None:
    for i in numbers(dataset)[::17]:
        image, mask = dataset.image(i).copy(), dataset.mask(i).copy()
        if dataset.image(i).flags.writeable:
            dataset.image(i)[:] = 0
            dataset.mask(i)[:] = 0
        assert np.array_equal(dataset.image(i), image)
        assert np.array_equal(dataset.mask(i), mask)


def test_folds_partition_the_classes(dataset: Dataset) -> None:
    folds = [dataset.novel(fold) for fold in range(dataset.folds)]
    assert sorted(c for fold in folds for c in fold) == list(dataset.class_ids)
    for fold in range(dataset.folds):
        assert sorted(dataset.base(fold) + dataset.novel(fold)) == list(dataset.class_ids)
    assert len(set(dataset.class_names)) == len(dataset.class_ids)


def test_splits_share_no_image_and_images_have_names_of_their_own(dataset: Dataset) -> None:
    every = numbers(dataset)
    assert len(set(every)) == len(every)
    assert len({dataset.image_name(i) for i in every}) == len(every)


def test_folds_of_pascal_are_panets(oracle_folder: Path) -> None:
    official = json.loads((oracle_folder / "panet_label_sets.json").read_text())["VOC"]
    for fold in range(4):
        assert list(Pascal().base(fold)) == official[str(fold)]["train_iter_order"]
        assert list(Pascal().novel(fold)) == official[str(fold)]["test_iter_order"]
