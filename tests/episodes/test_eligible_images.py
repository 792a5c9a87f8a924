"""Which classes a training draws from: those with enough images."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fsseg.episodes.eligible_images import Eligible, Need, class_images
from fsseg.errors import FssegError

COUNTS = {1: 5, 2: 19, 3: 20, 4: 443}
NAMES = {1: "bicycle", 2: "bird", 3: "car", 4: "person"}


def found(counts: dict[int, int], missing: Any, weak: frozenset[int] = frozenset(), **need: Any) -> Eligible:
    """The classes of a data set with so many images of each class."""
    index = SimpleNamespace(images=lambda c, *_: 1000 * c + np.arange(counts[c]))
    dataset: Any = SimpleNamespace(index=index, weak=weak, class_name=NAMES.__getitem__)
    given = {"way": 1, "shot": 1, "query": 1, "split": "train", "option": "shot", "preferred": 20, **need}
    return class_images(dataset, [*counts], range(0), "any", 1, Need(**given), missing)


@pytest.mark.parametrize(
    ("counts", "missing", "need", "kept", "least"),
    [
        (COUNTS, "skip", {}, [3, 4], 20),
        (COUNTS, "error", {}, [1, 2, 3, 4], 2),  # what an episode needs
        (COUNTS, "skip", {"preferred": 0}, [1, 2, 3, 4], 2),  # a test
        (COUNTS | {3: 19}, "skip", {}, [1, 2, 3, 4], 2),  # one class of 20 is too few
        (COUNTS, "skip", {"way": 3}, [1, 2, 3, 4], 2),  # two are too few for three ways
        (COUNTS, "skip", {"way": 2}, [3, 4], 20),
        (COUNTS, "skip", {"shot": 20}, [4], 21),
        (COUNTS, "skip", {"least": 6}, [2, 3, 4], 6),
        (COUNTS, "skip", {"least": 100}, [4], 100),
        (COUNTS, "skip", {"least": 1}, [1, 2, 3, 4], 2),
        (COUNTS, "error", {"least": 5}, [1, 2, 3, 4], 5),
    ],
)
def test_classes_with_fewer_images_are_left_out(counts, missing, need, kept, least):
    eligible = found(counts, missing, **need)
    assert (list(eligible.images), eligible.least) == (kept, least)
    assert {c: len(images) for c, images in eligible.images.items()} == {c: counts[c] for c in kept}
    assert eligible.left_out == {c: count for c, count in counts.items() if c not in kept}


@pytest.mark.parametrize(
    ("missing", "need", "said"),
    [
        ("error", {"least": 20}, "min_images 20 needs 20 train images a class; too few show: 1 bicycle (5), "
         "2 bird (19). Lower `data.episodes.min_images`, choose another fold, or leave classes out with "
         "`data.episodes.missing_classes` skip."),
        ("skip", {"least": 444}, "Lower `data.episodes.min_images`, choose another fold."),
        ("skip", {"least": 100, "way": 2}, "too few show: 1 bicycle (5), 2 bird (19), 3 car (20). Lower"),
        ("error", {"shot": 5}, "1-way 5-shot with 1 query needs 6 train images a class; too few show: 1 bicycle (5). "
         "Lower `data.shot`,"),
    ],
)  # fmt: skip
def test_too_few_images_are_an_error_that_names_classes_and_option(missing, need, said):
    with pytest.raises(FssegError) as error:
        found(COUNTS, missing, **need)
    assert said in str(error.value)


def test_a_class_without_a_complete_mask_counts_no_image():
    eligible = found({3: 20, 4: 25}, "skip", weak=frozenset(range(3000, 3020)))
    assert (list(eligible.images), eligible.left_out, eligible.least) == ([4], {3: 20}, 2)
