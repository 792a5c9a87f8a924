"""PASCAL-5i's official pairs: OSLSM's size rule, and the pairs where the published lists differ from the rule.

PMMs and HSNet train and test with the same lists of (image, class) pairs: 13,680 of train images, 1,868 of val images.
OSLSM's rule, as implemented by `count_grid`, agrees with the lists on 15,438 of these 15,548 pairs; `pascal_pairs.json`
holds the other pairs and the hash of each list.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fsseg.datasets.base import Dataset
from fsseg.episode import ClassMap
from fsseg.protocols.protocol import SPLITS, Split

_STRIDE, _LEAST = 32, 3  # pixels; ss_datalayer.py of OSLSM's code, _remove_small_objects

Matrix = npt.NDArray[np.bool_]  # images x (classes + 1)


def count_grid(mask: ClassMap, classes: int) -> npt.NDArray[np.int32]:
    """Pixel count of each class id on OSLSM's grid: every 32nd row and column, starting with the second.

    OSLSM's code pads by 15 pixels and samples the nearest neighbour half-way between pixels; the rounding of its image
    library is unknown. Rounding up gives the best agreement with the published lists.
    """
    return np.bincount(mask[1::_STRIDE, 1::_STRIDE].ravel(), minlength=256)[: classes + 1].astype(np.int32)


def official_pairs(grid: npt.NDArray[np.int32], pixels: npt.NDArray[np.int32], names: Sequence[str]) -> Matrix:
    """Which (image, class) pairs the published lists contain.

    Args:
        grid: images x (classes + 1), see `count_grid`.
        pixels: images x (classes + 1), counts of all pixels; images without a pixel of the class are never added.
        names: of the images.
    """
    official = grid >= _LEAST
    number = {name: i for i, name in enumerate(names)}
    for listed, exceptions in _exceptions().items():
        for name, class_id in exceptions:
            if name in number:
                official[number[name], class_id] = listed and pixels[number[name], class_id] > 0
    return official


def list_sha256(pairs: Iterable[tuple[str, int]]) -> str:
    """SHA-256 of a list of image names and class ids, independent of their order."""
    lines = [f"{name} {class_id}" for name, class_id in sorted(pairs)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def official_list(dataset: Dataset, split: Split, fold: int) -> list[tuple[str, int]]:
    """Image names and class ids of an official list of an opened data set, in the order of the published lists."""
    return sorted(
        (dataset.image_name(int(number)), class_id)
        for class_id in dataset.novel(fold)
        for number in dataset.index.images(class_id, dataset.numbers(split), pairs="official")
    )


def compare_lists(dataset: Dataset) -> dict[tuple[Split, int], tuple[str, str]]:
    """Found hash and published hash of each list of an opened, complete data set, by split and fold."""
    return {key: (list_sha256(official_list(dataset, *key)), known) for key, known in published_lists().items()}


@cache
def published_lists() -> Mapping[tuple[Split, int], str]:
    """SHA-256 of each published list, by split and fold, see `list_sha256`."""
    return MappingProxyType({(s, fold): _table()["sha256"][f"{s}{fold}"] for s in SPLITS for fold in range(4)})


@cache
def _exceptions() -> dict[bool, list[tuple[str, int]]]:
    """Pairs that the lists contain against the rule (True), and pairs that they lack against the rule (False)."""
    table = _table()
    return {
        listed: [(line[:-4], int(line[-2:])) for split in SPLITS for line in table[split][key]]
        for listed, key in ((True, "listed"), (False, "not_listed"))
    }


@cache
def _table() -> dict[str, Any]:
    text = files("fsseg.datasets").joinpath("pascal_pairs.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
