"""Which classes, images and sizes a validation has."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fsseg.datasets.class_counts import census, census_text
from fsseg.episodes import EpisodeData
from fsseg.episodes.eligible_images import Need
from fsseg.episodes.validation import Validation, validation
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from tests.class_disjoint import Disjoint
from tests.episode_options import grouped


def of_counts(counts: list[int], way: int, shot: int, query: int = 1, weak: int = 0, shrink: bool = True) -> Validation:
    """Validation on classes 1, 2 ... with so many images each; the first images of class 1 may have weak masks."""
    images = {c: 1000 * c + np.arange(count) for c, count in enumerate(counts, 1)}
    dataset: Any = SimpleNamespace(weak=frozenset(range(1000, 1000 + weak)), class_name="class {}".format)
    return validation(dataset, "base", images, Need(way, shot, query, "val", "shot"), "", shrink)


@pytest.mark.parametrize(
    ("counts", "asked", "classes", "sizes"),
    [
        ([9, 9, 9], (1, 1), [1, 2, 3], (1, 1)),
        ([9, 1, 0], (1, 1), [1], (1, 1)),  # on what there is
        ([6, 5, 0], (1, 5), [1], (1, 5)),  # the test's own sizes where one class allows them
        ([5, 3, 0], (1, 5), [1, 2], (1, 2)),  # else two classes rather than more shots
        ([5, 1, 0], (1, 5), [1], (1, 4)),
        ([9, 4, 0], (2, 5), [1, 2], (2, 3)),  # fewer shots before fewer ways
        ([9, 0, 0], (2, 5), [1], (1, 5)),
        ([3, 0, 0], (2, 5), [1], (1, 2)),
        ([9], (2, 1), [1], (1, 1)),
    ],
)
def test_a_training_validates_on_what_there_is(counts, asked, classes, sizes):
    found = of_counts(counts, *asked)
    assert (list(found.images), (found.way, found.shot), found.missing) == (classes, sizes, None)
    assert found.left_out == {c: count for c, count in enumerate(counts, 1) if c not in classes}


def test_two_queries_and_weak_masks_need_images_too():
    assert of_counts([4, 4], 1, 3, query=2).shot == 2
    assert list(of_counts([4, 4], 1, 1, query=2, weak=3).images) == [2]


@pytest.mark.parametrize("shrink", [True, False])
def test_no_validation_has_a_reason(shrink):
    found = of_counts([1, 0], 1, 1, shrink=shrink)
    assert found.images == {}
    assert found.missing is not None
    assert found.missing.lack.startswith(
        "1-way 1-shot with 1 query needs 2 val images a class; too few show: 1 class 1 (1)"
    )
    assert of_counts([], 1, 1, shrink=shrink).missing is not None


def test_a_validation_of_its_own_keeps_the_sizes_that_are_asked_for():
    missing = of_counts([5, 3], 1, 5, shrink=False).missing
    assert missing is not None
    assert "1-way 5-shot with 1 query needs 6 val images" in str(missing)
    assert "Lower `data.shot`" in str(missing)


def disjoint(stage: str, dataset: Disjoint | None = None, **options: Any) -> EpisodeData:
    small = {"size": 16, "train": 12, "val": 12, "workers": 0, "shot": 5}
    protocol = {"runs": 1, "episodes": 12} | {k: options.pop(k) for k in ("split", "selection") if k in options}
    data = EpisodeData(dataset or Disjoint(), **grouped(**small | options), protocol=Protocol(**protocol))
    data.setup(stage)
    return data


def drawn(batches: Any) -> set[int]:
    return {c for batch in batches for c in batch.classes.flatten().tolist()}


def test_class_disjoint_splits_train_validate_and_test_on_their_own_classes():
    data = disjoint("fit")
    assert data.base == (1, 2, 3, 4, 5, 6)
    assert list(data.trained.images) == [1, 2, 3, 4, 5, 6]
    assert data.trained.left_out == {}
    assert drawn(data.train_dataloader()) <= {1, 2, 3, 4, 5, 6}
    assert (list(data.validation.images), data.validation.left_out, data.validation.kind) == ([7, 8], {}, "validation")
    assert drawn(data.val_dataloader()) == {7, 8}
    tested = disjoint("test")
    assert tested.pair_count == 40
    assert drawn(tested.test_dataloader()) == {9, 10, 11, 12}


def test_a_protocol_may_validate_class_disjoint_splits_on_novel_classes():
    data = disjoint("fit", selection="novel_val")
    assert (list(data.validation.images), data.validation.kind) == ([9, 10, 11, 12], "novel")


def test_a_test_on_train_images_names_the_split_with_the_novel_classes():
    with pytest.raises(FssegError, match=r"No train image shows a novel class: give `protocol\.split` val"):
        disjoint("test", split="train")


def test_a_class_is_not_novel_and_for_validation():
    class Both(Disjoint):
        def validation(self, fold: int) -> tuple[int, ...]:
            return (8, 9)

    with pytest.raises(FssegError, match="square 9 is a novel class of fold 0 of Both and a class of its validation"):
        disjoint("fit", Both())


def test_classes_of_validation_may_be_excluded():
    assert list(disjoint("fit", exclude=["square 7"]).validation.images) == [8]
    none = disjoint("fit", exclude=["square 7", "square 8"]).validation
    assert (none.images, none.missing.lack) == ({}, "the fold has no class to validate")


def test_counts_name_the_classes_of_validation():
    dataset = Disjoint()
    dataset.open(None)
    text = census_text(dataset, census(dataset))
    assert "novel classes: 0 train and 40 val pairs; 60 train images (100 %) show none of them" in text
    assert "  2 classes of validation: 0 train and 20 val pairs" in text
