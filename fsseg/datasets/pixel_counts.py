"""Pixel counts of images and classes of which most are 0: a matrix of LVIS' size would be 580 MB."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SparseCounts:
    """Pixel counts, images x (classes + 1), as in `Index.pixels`; reads like a numpy array that cannot be changed.

    Attributes:
        background: of each image, in pixels.
        first: place of each image's first region, and the number of regions.
        kinds: class id of each region, sorted by image; negative for an ignored region, which is not counted.
        areas: pixels of each region.
        first_shown: for each class id, from 1, the place of its first image in ``images``; and their number.
        images: image numbers of each class, ascending.
        shown: pixels of the class in each of ``images``.
    """

    background: Counts
    first: npt.NDArray[np.int64]
    kinds: Counts
    areas: Counts
    first_shown: npt.NDArray[np.int64]
    images: Counts
    shown: Counts

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images, and of classes with the background."""
        return len(self.background), len(self.first_shown)

    @property
    def ndim(self) -> int:
        """Two, as a matrix."""
        return 2

    @property
    def dtype(self) -> np.dtype[np.int32]:
        """Type of the counts."""
        return np.dtype(np.int32)

    def column(self, class_id: int) -> Counts:
        """Pixels of a class id in each image."""
        if class_id == 0:
            return np.array(self.background)
        begin, end = self.first_shown[class_id - 1 : class_id + 1]
        found = np.zeros(len(self.background), dtype=np.int32)
        found[self.images[begin:end]] = self.shown[begin:end]
        return found

    def row(self, number: int) -> Counts:
        """Pixels of each class id in an image."""
        begin, end = self.first[number : number + 2]
        kinds, areas = self.kinds[begin:end], self.areas[begin:end]
        found = np.zeros(len(self.first_shown), dtype=np.int32)
        found[0] = self.background[number]
        found[kinds[kinds > 0]] = areas[kinds > 0]
        return found

    def __len__(self) -> int:
        return len(self.background)

    def __iter__(self) -> Iterator[Any]:
        return map(self.row, range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        """Counts as numpy's indexing gives them: ``[image]``, ``[images]``, ``[images, class_id]`` and so on."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(columns, int | np.integer):
            if isinstance(rows, int | np.integer):
                return self.row(int(rows) % len(self))[columns]
            return self.column(int(columns) % len(self.first_shown))[rows]
        if isinstance(rows, int | np.integer):
            return self.row(int(rows) % len(self))[columns]
        numbers = np.arange(len(self))[rows]
        dense = np.zeros((len(numbers), len(self.first_shown)), dtype=np.int32)
        for place, number in enumerate(numbers.tolist()):
            dense[place] = self.row(number)
        return dense[:, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """The dense matrix."""
        return np.asarray(self[:], dtype=dtype)


def by_class(first: npt.NDArray[np.int64], kinds: Counts, areas: Counts, classes: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `SparseCounts` that are sorted by class."""
    numbers = np.repeat(np.arange(len(first) - 1, dtype=np.int32), np.diff(first))
    counted = np.flatnonzero(kinds > 0)
    order = counted[np.argsort(kinds[counted], kind="stable")]
    return {
        "first_shown": np.searchsorted(kinds[order], np.arange(1, classes + 2)).astype(np.int64),
        "images": numbers[order],
        "shown": areas[order],
    }
