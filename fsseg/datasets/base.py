"""The data set contract, and the index from class ids to images.

A data set knows files, class names and folds; it knows nothing of episodes. An image number counts over all splits, so
that an episode is a handful of integers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.datasets.boxes import Box, parts
from fsseg.episode import BACKGROUND, IGNORE, relabel, void_of
from fsseg.errors import FssegError
from fsseg.protocols.protocol import SPLITS, Pairs, Split

Numbers = Sequence[int] | npt.NDArray[np.int64]
Image = npt.NDArray[np.uint8]  # H W 3, RGB
Mask = npt.NDArray[np.uint8]  # H W, episode labels: 0 background, 255 ignore
ClassMap = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]  # H W, class ids: 0 background, 255 or 65535 ignore
MOST_CLASSES = 65_534  # of a data set: 65535 is the class id of pixels to ignore


@dataclass(frozen=True)
class Index:
    """How many pixels of each class each image shows.

    Attributes:
        pixels: images x (classes + 1), pixel counts by class id; column 0 is background, ignored pixels are nowhere.
            Where classes overlap, a pixel counts for each of them.
        official: images x (classes + 1), which images the official lists have for each class; None without lists.
        cache: where it is kept on disk; None if nowhere.
        fresh: it was counted just now, not read from the cache.
        order: (image number, class id) pairs in the order of list files, which the draws of codes walk; empty where
            the order is that of the image numbers.
    """

    pixels: npt.NDArray[np.int32]
    official: npt.NDArray[np.bool_] | None = None
    cache: Path | None = None
    fresh: bool = True
    order: tuple[tuple[int, int], ...] = ()

    def images(
        self, class_id: int, numbers: Numbers, min_pixels: int = 1, pairs: Pairs = "any"
    ) -> npt.NDArray[np.int64]:
        """Those of the image numbers that count for a class, in ascending order.

        Args:
            class_id: class id.
            numbers: image numbers, ascending.
            min_pixels: that an image must show of the class.
            pairs: ``official``: only pairs of the official lists.

        Raises:
            FssegError: ``official`` on a data set that has no lists.
        """
        chosen = _array(numbers)
        enough = self.pixels[chosen, class_id] >= min_pixels
        if pairs == "official":
            if self.official is None:
                raise FssegError(
                    "pairs official is PASCAL-5i's rule, which this data set does not have: give "
                    "--data.episodes.pairs any, or --protocol.pairs any in a test."
                )
            enough &= self.official[chosen, class_id]
        kept: npt.NDArray[np.int64] = chosen[enough]
        return kept

    def without(self, class_ids: Sequence[int], numbers: Numbers) -> npt.NDArray[np.int64]:
        """Those of the image numbers that show no pixel of any of the classes."""
        chosen = _array(numbers)
        shown = self.pixels[chosen][:, np.asarray(class_ids)] > 0
        kept: npt.NDArray[np.int64] = chosen[~shown.any(axis=1)]
        return kept


def _array(numbers: Numbers) -> npt.NDArray[np.int64]:
    if isinstance(numbers, range):  # numpy would read it number by number
        return np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.int64)
    return np.asarray(numbers, dtype=np.int64)


class Count(NamedTuple):
    """How many there are, and how many the whole data set has; None where nobody knows."""

    found: int
    official: int | None


class Dataset(ABC):
    """Images and masks with class ids, cut into splits and folds.

    Building one touches no file; `open` does.

    Attributes:
        name: how tables and `published.csv` call it; by default by the name of its class, also where that extends
            another data set.
        class_names: name of class id ``i + 1`` at position ``i``; empty until `open` where they are in the files.
        folds: number of folds.
        needs_root: whether `open` needs a folder.
        family: ``pascal`` or ``coco`` where protocols have values of their own for it; empty elsewhere.
        one_size: all images have one size, so that they fit into a batch as they are.
        weak: image numbers whose masks are weak annotations (scribbles, boxes, points); such images are supports only.
        fold_words: how classes are cut into folds.
        listed_pairs: val pairs of each fold in published lists, by their rule; of a whole data set only.
        list_hashes: hash found and hash published of each official list; of an opened, whole data set only.
        pairs_note: what a reader of a result on official pairs must know; empty if they are the published ones.
        note: what a reader of a result must know, e.g. that the set is incomplete; empty if nothing.
    """

    name: str
    class_names: tuple[str, ...]
    folds: int = 4
    needs_root: ClassVar[bool] = True
    family: ClassVar[str] = ""
    one_size: ClassVar[bool] = False
    weak: frozenset[int] = frozenset()
    fold_words: str = "blocks of equal size"
    note: str = ""
    listed_pairs: Mapping[Pairs, tuple[int, ...]] = MappingProxyType({})
    list_hashes: Mapping[tuple[Split, int], tuple[str, str]] = MappingProxyType({})
    pairs_note: str = ""
    index: Index

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__dict__.get("name", cls.__name__)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """All class ids, 1 .. number of classes."""
        return tuple(range(1, len(self.class_names) + 1))

    def novel(self, fold: int) -> tuple[int, ...]:
        """Class ids that the fold tests on: a block of equal size (OSLSM; PANet, PMMs on PASCAL-5i)."""
        size = len(self.class_names) // self.folds
        return tuple(range(fold * size + 1, (fold + 1) * size + 1))

    def base(self, fold: int) -> tuple[int, ...]:
        """Class ids that the fold trains on: all but the novel ones."""
        novel = set(self.novel(fold))
        return tuple(c for c in self.class_ids if c not in novel)

    def class_name(self, class_id: int) -> str:
        """Name of a class id."""
        return self.class_names[class_id - 1]

    @abstractmethod
    def open(self, root: Path | None) -> None:
        """Find the files and build or load the index.

        Raises:
            FssegError: the folder is missing or isn't of this data set's layout; a mask is missing or broken.
        """

    def locate(self, root: Path | None) -> None:
        """What of `open` comes before reading masks: files are found, names and splits known, the index is not.

        `fsseg data verify` starts from here, so as to find all that is wrong and not the first. By default `open`.
        """
        self.open(root)

    def check(self, number: int) -> None:
        """Read all that belongs to an image.

        Raises:
            FssegError: a file is missing, truncated, of another size than it should be, or holds ids that are none.
        """
        image, mask = self.image(number), self.mask(number)
        self.refuse_other_size(number, image, mask)
        count_pixels(mask, len(self.class_names), lambda: f"the mask of {self.image_name(number)}")

    def refuse_other_size(self, number: int, image: Image, mask: ClassMap) -> None:
        """Refuse an image and a mask that differ in size.

        Raises:
            FssegError: they do.
        """
        if image.shape[:2] != mask.shape:
            raise FssegError(
                f"image {self.image_name(number)} is {image.shape[1]}x{image.shape[0]}, its mask "
                f"{mask.shape[1]}x{mask.shape[0]}. Replace one."
            )

    def counts(self) -> dict[str, Count]:
        """What there is, by what it is called, after `locate`."""
        return {f"{split} images": Count(len(self.numbers(split)), None) for split in SPLITS}

    @abstractmethod
    def numbers(self, split: Split) -> range:
        """Image numbers of a split."""

    @abstractmethod
    def image_name(self, number: int) -> str:
        """Name of an image, for tables and pictures."""

    @abstractmethod
    def image(self, number: int) -> Image:
        """An image, RGB."""

    @abstractmethod
    def mask(self, number: int) -> ClassMap:
        """An image's mask: class ids, 0 background; 255 ignore where it has 8 bits, 65535 where it has 16.

        Episodes are made of `episode_mask`: where classes overlap, one class id per pixel is not the whole truth.
        """

    def episode_mask(self, number: int, classes: Sequence[int], own: int | None = None) -> Mask:
        """An image's mask in episode labels: 0 background, n + 1 for ``classes[n]``, 255 ignore.

        A data set whose classes overlap overrides this.

        Args:
            number: image number.
            classes: class id of each way.
            own: the way that the image was drawn for; its label wins where classes overlap. None: the later way wins.
        """
        try:
            return relabel(self.mask(number), classes)
        except TypeError as error:
            raise FssegError(f"{self.name}: {error}") from error

    def boxes(self, number: int, class_id: int) -> list[Box]:
        """Boxes of the instances of a class that an image shows; of its connected parts where instances are unknown.

        A data set that knows its instances overrides this.
        """
        return parts(self.episode_mask(number, (class_id,)) == 1)


def class_map(shape: tuple[int, ...], classes: int) -> ClassMap:
    """A mask of background, of 8 bits where ids up to the number of classes fit beside 255, else of 16."""
    return np.zeros(shape, dtype=np.uint8) if classes < IGNORE else np.zeros(shape, dtype=np.uint16)


def count_pixels(mask: ClassMap, classes: int, describe: Callable[[], str] = lambda: "a mask") -> npt.NDArray[np.int32]:
    """Pixel count of each class id of a mask, ignored pixels left out.

    Args:
        mask: ``H W`` class ids.
        classes: number of classes.
        describe: names the mask in an error.

    Raises:
        FssegError: the mask holds an id that is no class, or has neither 8 nor 16 bits.
    """
    try:
        void = void_of(mask)
    except TypeError as error:
        raise FssegError(f"{describe()}: {error}") from error
    counts = np.bincount(mask.ravel(), minlength=classes + 1)
    alien = [int(i) for i in np.flatnonzero(counts[classes + 1 :]) + classes + 1 if i != void]
    if alien:
        raise FssegError(
            f"{describe()} holds class ids {alien[:5]}; allowed are {BACKGROUND} to {classes} and {void} (ignore)."
        )
    if void <= classes:
        counts[void] = 0
    return counts[: classes + 1].astype(np.int32)
