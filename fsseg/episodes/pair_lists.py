"""Files with lists of (image, class) pairs that replace a data set's official pairs.

A file has the pairs of one split and the novel classes of one fold. Each line has an image name and a class id:
``2007_000452__09``. The layouts are those of PMMs and CANet (``val/split0_val.txt``), of HSNet (``val/fold0.txt``,
``trn/fold0.txt``) and of `fsseg data prepare pascal` (``train/fold0.txt``).
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsseg.datasets.base import Dataset
from fsseg.datasets.pascal_pairs import list_sha256, published_lists
from fsseg.errors import FssegError
from fsseg.protocols.protocol import SPLITS, Protocol, Split
from fsseg.untrusted.text import decoded

_LAYOUTS: dict[Split, tuple[str, ...]] = {
    "train": ("train/split{}_train.txt", "train/fold{}.txt", "trn/fold{}.txt"),
    "val": ("val/split{}_val.txt", "val/fold{}.txt"),
}
_LINE = re.compile(r"(.+)__(\d{2,3})")


class PairLists(NamedTuple):
    """Lists of a folder.

    Attributes:
        folder: folder of the files.
        digests: six hexadecimal digits of a hash of each list, by split and fold; empty for a published list.
    """

    folder: Path
    digests: dict[tuple[Split, int], str]

    def named(self, protocol: Protocol, fold: int) -> Protocol:
        """The protocol with the digest of the list that its official pairs come from."""
        if protocol.pairs == "any":
            return protocol
        return replace(protocol, listed_pairs=self.digests[protocol.split, fold])

    def require(self, dataset: Dataset, classes: Sequence[int], split: Split) -> None:
        """Refuse a folder without the lists of some classes.

        Raises:
            FssegError: a list that the classes need is missing.
        """
        for fold in range(dataset.folds):
            if set(dataset.novel(fold)) & set(classes) and (split, fold) not in self.digests:
                names = " or ".join(layout.format(fold) for layout in _LAYOUTS[split])
                raise FssegError(
                    f"`data.episodes.pairs_files` {self.folder} has no list of the {split} images of fold {fold}: "
                    f"{names} is needed."
                )


def use_pair_lists(folder: Path, dataset: Dataset) -> PairLists:
    """Replace a data set's official pairs by all lists of a folder.

    Args:
        folder: folder of the files.
        dataset: opened data set; its index is replaced.

    Raises:
        FssegError: the folder is missing or has no list, or a list does not fit the data set.
    """
    if not folder.is_dir():
        raise FssegError(f"`data.episodes.pairs_files` {folder}: no such folder.")
    official = np.zeros(dataset.index.pixels.shape, dtype=np.bool_)
    order: list[tuple[int, int]] = []
    digests = {}
    for split in SPLITS:
        numbers = {dataset.image_name(number): number for number in dataset.numbers(split)}
        for fold in range(dataset.folds):
            if (path := _find(folder, split, fold)) is not None:
                pairs = _read(path, dataset, split, fold, numbers)
                digests[split, fold] = _digest(pairs, dataset, split, fold)
                order += [(numbers[name], class_id) for name, class_id in pairs]
    if not digests:
        raise FssegError(
            f"`data.episodes.pairs_files` {folder} has no lists: files such as {_LAYOUTS['val'][0].format(0)} or "
            f"{_LAYOUTS['val'][1].format(0)} are needed, lines such as 2007_000452__09."
        )
    for number, class_id in order:
        official[number, class_id] = True
    dataset.index = replace(dataset.index, official=official, order=tuple(order))
    dataset.pairs_note = ""  # the protocol names the lists
    return PairLists(folder, digests)


def _find(folder: Path, split: Split, fold: int) -> Path | None:
    found = [path for layout in _LAYOUTS[split] if (path := folder / layout.format(fold)).is_file()]
    if len(found) > 1:
        raise FssegError(f"{found[0]} and {found[1]} are lists of the same pairs. Keep one of them.")
    return found[0] if found else None


def _read(path: Path, dataset: Dataset, split: Split, fold: int, numbers: dict[str, int]) -> list[tuple[str, int]]:
    """Image names and class ids of a list, in order."""
    try:
        lines = decoded(path.read_bytes()).splitlines()
    except (OSError, ValueError) as error:
        raise FssegError(f"list {path} cannot be read: {error}.") from error
    pairs: dict[tuple[str, int], None] = {}
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        pair = _pair(line.strip(), dataset, split, fold, numbers)
        problem = "stands in the list twice" if pair in pairs else pair if isinstance(pair, str) else ""
        if problem:
            raise FssegError(f"list {path}, line {at}, {line.strip()[:60]!r}: {problem}.")
        pairs[pair] = None  # type: ignore[index]
    if not pairs:
        raise FssegError(f"list {path} is empty.")
    return list(pairs)


def _pair(line: str, dataset: Dataset, split: Split, fold: int, numbers: dict[str, int]) -> tuple[str, int] | str:
    """Image name and class id of a line, or the problem of the line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return "an image and its class id are needed, such as 2007_000452__09"
    name, class_id = found[1], int(found[2])
    if name not in numbers:
        return f"{dataset.name} has no {split} image of this name"
    if class_id not in dataset.novel(fold):
        classes = dataset.novel(fold)
        return f"fold {fold} has the classes {classes[0]} to {classes[-1]}"
    if not dataset.index.pixels[numbers[name], class_id]:
        return f"the mask does not show {dataset.class_name(class_id)}"
    return name, class_id


def _digest(pairs: list[tuple[str, int]], dataset: Dataset, split: Split, fold: int) -> str:
    """Six hexadecimal digits of a hash of a list; empty for the published list of PASCAL-5i, which is sorted."""
    published = published_lists().get((split, fold)) if dataset.family == "pascal" else None
    if pairs == sorted(pairs) and list_sha256(pairs) == published:
        return ""
    return hashlib.sha256("\n".join(f"{name} {class_id}" for name, class_id in pairs).encode()).hexdigest()[:6]
