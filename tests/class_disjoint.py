"""A data set with class-disjoint splits, as FSS-1000 has, written against the public contract."""

from pathlib import Path

import numpy as np

from fsseg.datasets import Dataset
from fsseg.datasets.base import Index, count_pixels
from fsseg.episode import ClassMap, Image
from fsseg.protocols.protocol import Split

EACH = 10  # images of a class


class Disjoint(Dataset):
    """Six classes to train on, two to validate on, four to test on; one class and one square an image."""

    class_names = tuple(f"square {i}" for i in range(1, 13))
    folds = 1
    needs_root = False
    fold_words = "as given"

    def open(self, root: Path | None) -> None:
        self.index = Index(np.stack([count_pixels(self.mask(i), 12) for i in range(12 * EACH)]))

    def novel(self, fold: int) -> tuple[int, ...]:
        return tuple(range(9, 13))

    def validation(self, fold: int) -> tuple[int, ...]:
        return (7, 8)

    def numbers(self, split: Split) -> range:
        return range(6 * EACH) if split == "train" else range(6 * EACH, 12 * EACH)

    def image_name(self, number: int) -> str:
        return f"{number // EACH + 1}/{number % EACH + 1}"

    def image(self, number: int) -> Image:
        noise = np.random.default_rng(number).integers(100, size=(32, 32, 3), dtype=np.uint8)
        return noise + 10 * self.mask(number)[..., None]

    def mask(self, number: int) -> ClassMap:
        return np.pad(np.full((16, 16), number // EACH + 1, dtype=np.uint8), 8)
