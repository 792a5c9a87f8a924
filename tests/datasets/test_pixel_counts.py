"""Sparse pixel counts read like the dense matrix."""

from typing import Any

import numpy as np
import pytest

from fsseg.datasets.base import Index
from fsseg.datasets.pixel_counts import SparseCounts, by_class

IMAGES, CLASSES = 30, 300


def made(seed: int) -> tuple[np.ndarray, SparseCounts]:
    """A dense matrix and its sparse form; every image has an ignored region, and some classes have no image."""
    random = np.random.default_rng(seed)
    dense = np.zeros((IMAGES, CLASSES + 1), dtype=np.int32)
    first, kinds, areas = [0], list[int](), list[int]()
    for image in range(IMAGES):
        shown = random.choice(np.arange(1, CLASSES + 1), random.integers(0, 9), replace=False)
        for class_id in shown.tolist():
            dense[image, class_id] = random.integers(1, 900)
            kinds.append(class_id)
            areas.append(int(dense[image, class_id]))
        kinds.append(-int(random.integers(1, CLASSES + 1)))
        areas.append(77)
        first.append(len(kinds))
    dense[:, 0] = random.integers(0, 900, IMAGES)
    regions = (np.array(first), np.array(kinds, np.int32), np.array(areas, np.int32))
    return dense, SparseCounts(dense[:, 0], *regions, **by_class(*regions, CLASSES))


KEYS: list[Any] = [
    0, 29, -1, np.int64(3), slice(None), slice(2, 20, 3), [4, 2, 2], np.array([], dtype=np.int64),
    (3, 7), (3, 0), (slice(None), 0), (slice(None), 300), (slice(None), -1), (np.array([5, 1]), 12),
    (5, slice(1, None)), (slice(None), slice(1, None)), ([1, 2], slice(0, 9)),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_indexing_equals_numpys(key: Any) -> None:
    dense, sparse = made(0)
    assert np.array_equal(sparse[key], dense[key])
    assert np.asarray(sparse[key]).dtype == np.int32


def test_the_whole_equals_the_matrix() -> None:
    dense, sparse = made(1)
    assert np.array_equal(np.asarray(sparse), dense)
    assert np.array_equal([*sparse], dense)
    assert all(np.array_equal(sparse[:, c], dense[:, c]) for c in range(CLASSES + 1))
    assert (sparse.shape, sparse.ndim, sparse.dtype, len(sparse)) == (dense.shape, 2, dense.dtype, IMAGES)


def test_an_index_chooses_the_same_images() -> None:
    dense, sparse = made(2)
    numbers = range(3, 28)
    for class_id in range(1, CLASSES + 1):
        for least in (1, 400):
            found = [Index(counts).images(class_id, numbers, least).tolist() for counts in (dense, sparse)]
            assert found[0] == found[1] == [n for n in numbers if dense[n, class_id] >= least]
    classes = (4, 5, *range(100, 200))
    expected = [n for n in numbers if not dense[n, list(classes)].any()]
    assert Index(sparse).without(classes, numbers).tolist() == expected
