"""Number of images that show each class, per fold and split."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from fsseg.datasets.base import Dataset
from fsseg.protocols.protocol import SPLITS, Pairs, Split, pair_rule


class ClassCount(NamedTuple):
    """Number of train and val images that are eligible for a class."""

    class_id: int
    name: str
    train: int
    val: int


class FoldCount(NamedTuple):
    """Counts of one fold.

    Attributes:
        classes: the novel classes; all classes if none is novel.
        kept: number of train images that show no pixel of a novel class, i.e. those that ``drop_novel`` keeps.
        validation: the classes for validation alone, see `Dataset.validation`.
        kind: what `classes` are.
    """

    classes: tuple[ClassCount, ...]
    kept: int
    validation: tuple[ClassCount, ...]
    kind: Literal["novel", "base"] = "novel"

    @property
    def train(self) -> int:
        """Number of (image, class) pairs of train images."""
        return sum(c.train for c in self.classes)

    @property
    def val(self) -> int:
        """Number of (image, class) pairs of val images."""
        return sum(c.val for c in self.classes)


class Census(NamedTuple):
    """Counts of all folds of a data set.

    Attributes:
        name: of the data set.
        train: number of train images.
        val: number of val images.
        folds: counts of each fold.
        fold_words: how classes are divided into folds, as text.
        pairs: rule for eligible images, see `Protocol`.
        min_pixels: rule for eligible images, see `Protocol`.
        listed: number of val pairs of each fold in the published lists, by the same rule; None without published lists.
        hashes: found hash and published hash of each official list, see `Dataset.list_hashes`.
        note: caveat about the official pairs, see `Dataset.pairs_note`; empty if they are not counted.
    """

    name: str
    train: int
    val: int
    folds: tuple[FoldCount, ...]
    fold_words: str
    pairs: Pairs
    min_pixels: int
    listed: tuple[int, ...] | None = None
    hashes: Mapping[tuple[Split, int], tuple[str, str]] = MappingProxyType({})
    note: str = ""

    def kept_percent(self, fold: FoldCount) -> float:
        """Percentage of train images that show no novel class of a fold; 0 without train images."""
        return 100 * fold.kept / max(self.train, 1)


def census(dataset: Dataset, pairs: Pairs = "any", min_pixels: int = 1) -> Census:
    """Count the images of an opened data set.

    Raises:
        FssegError: ``official`` pairs on a data set without official lists.
    """
    train, val = dataset.numbers("train"), dataset.numbers("val")

    def counted(class_id: int) -> ClassCount:
        found = [len(dataset.index.images(class_id, numbers, min_pixels, pairs)) for numbers in (train, val)]
        return ClassCount(class_id, dataset.class_name(class_id), *found)

    folds = [
        FoldCount(
            tuple(map(counted, dataset.novel(fold) or dataset.base(fold))),
            len(dataset.index.without(dataset.novel(fold), train)),
            tuple(map(counted, dataset.validation(fold))),
            "novel" if dataset.novel(fold) else "base",
        )
        for fold in range(dataset.folds)
    ]
    listed = dataset.listed_pairs.get(pairs) if min_pixels == 1 else None
    hashes, note = ({}, "") if pairs == "any" or min_pixels > 1 else (dataset.list_hashes, dataset.pairs_note)
    sizes = (dataset.name, len(train), len(val))
    return Census(*sizes, tuple(folds), dataset.fold_words, pairs, min_pixels, listed, hashes, note)


def census_text(dataset: Dataset, counted: Census) -> str:
    """The counts as lines for a terminal."""
    rule = pair_rule(counted.pairs, counted.min_pixels) or "any size"
    lines = [
        f"{dataset.name}: {counted.train:,} train and {counted.val:,} val images, {len(dataset.class_names)} classes",
        f"folds: {dataset.fold_words}    images count for a class by: {rule}",
        *(f"note: {note}" for note in (dataset.note, counted.note) if note),
    ]
    width = max(len(c.name) for fold in counted.folds for c in fold.classes) + 2
    for number, fold in enumerate(counted.folds):
        listed = f" ({counted.listed[number]:,} in the published lists)" if counted.listed else ""
        kept = f"; {fold.kept:,} train images ({counted.kept_percent(fold):.0f} %) show none of them"
        pairs = f"{fold.train:,} train and {fold.val:,} val pairs{listed}"
        lines += [
            "",
            f"fold {number}   {fold.kind} classes: {pairs}{kept * (fold.kind == 'novel')}",
            f"  {'':{width}}train      val",
            *(f"  {c.name:{width}}{c.train:5,}  {c.val:7,}" for c in fold.classes),
            *_validation_lines(fold),
            *_list_lines(counted, number),
        ]
    return "\n".join(lines)


def _validation_lines(fold: FoldCount) -> list[str]:
    """The pairs of the classes for validation alone."""
    train, val = sum(c.train for c in fold.validation), sum(c.val for c in fold.validation)
    text = f"  {len(fold.validation)} classes of validation: {train:,} train and {val:,} val pairs"
    return [text] if fold.validation else []


def _list_lines(counted: Census, fold: int) -> list[str]:
    """The SHA-256 of a fold's official lists, beside the published ones."""
    return [
        f"  {split + ' list':11}{found}  {'as published' if found == known else f'published: {known}'}"
        for split in SPLITS
        if (split, fold) in counted.hashes
        for found, known in [counted.hashes[split, fold]]
    ]
