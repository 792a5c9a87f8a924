"""The data set contract, and the index from class ids to images.

A data set knows files, class names and folds; it does not know episodes. Images are numbered over all splits, so that
an episode needs only integers.
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
from fsseg.datasets.pixel_counts import SparseCounts
from fsseg.episode import BACKGROUND, IGNORE, ClassMap, Image, Mask, relabel, void_of
from fsseg.errors import FssegError
from fsseg.protocols.protocol import SPLITS, Pairs, Split

Numbers = Sequence[int] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Index:
    """How many pixels of each class each image shows.

    Attributes:
        pixels: images x (classes + 1), pixel counts by class id; column 0 is background, ignored pixels are not
            counted. Where classes overlap, a pixel counts for each class. An array, or counts that read like one.
        official: images x (classes + 1), True where the official lists have an (image, class) pair; None without lists.
        cache: path of the index on disk; None if it is not cached.
        fresh: whether the index was counted now, not read from the cache.
        order: (image number, class id) pairs in the order of list files, as the official codes draw them; empty if the
            image numbers have this order.
    """

    pixels: npt.NDArray[np.int32] | SparseCounts
    official: npt.NDArray[np.bool_] | None = None
    cache: Path | None = None
    fresh: bool = True
    order: tuple[tuple[int, int], ...] = ()

    def images(
        self, class_id: int, numbers: Numbers, min_pixels: int = 1, pairs: Pairs = "any"
    ) -> npt.NDArray[np.int64]:
        """The image numbers that are eligible for a class, in ascending order.

        Args:
            class_id: class id.
            numbers: image numbers to choose from, ascending.
            min_pixels: pixels of the class that an image must show.
            pairs: ``official``: only pairs of the official lists.

        Raises:
            FssegError: ``official`` on a data set without official lists.
        """
        chosen = _array(numbers)
        enough = self.pixels[chosen, class_id] >= min_pixels
        if pairs == "official":
            if self.official is None:
                raise FssegError(
                    "official pairs exist for PASCAL-5i, not for this data set: give `data.episodes.pairs` any, or "
                    "`protocol.pairs` any in a test."
                )
            enough &= self.official[chosen, class_id]
        eligible: npt.NDArray[np.int64] = chosen[enough]
        return eligible

    def without(self, class_ids: Sequence[int], numbers: Numbers) -> npt.NDArray[np.int64]:
        """The image numbers whose images show no pixel of any of the classes."""
        chosen = _array(numbers)
        shown = np.zeros(len(chosen), dtype=np.bool_)
        for class_id in class_ids:
            shown |= self.pixels[chosen, class_id] > 0
        eligible: npt.NDArray[np.int64] = chosen[~shown]
        return eligible


def _array(numbers: Numbers) -> npt.NDArray[np.int64]:
    if isinstance(numbers, range):  # numpy would read it number by number
        return np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.int64)
    return np.asarray(numbers, dtype=np.int64)


class Count(NamedTuple):
    """Number of files or objects found, and the number in the official data set; None if unknown."""

    found: int
    official: int | None


class Dataset(ABC):
    """Images and masks with class ids, divided into splits and folds.

    The constructor reads no file; `open` does.

    Attributes:
        name: name in tables and in `published.csv`; by default the name of the class, also for a subclass of another
            data set.
        class_names: name of class id ``i + 1`` at position ``i``; empty until `open` if the files hold the names.
        folds: number of folds.
        needs_root: whether `open` needs a folder.
        family: ``pascal``, ``coco`` or ``suim`` if protocols have special values for the data set; otherwise any other
            text, or an empty one.
        weak: image numbers whose masks are weak annotations (scribbles, boxes, points); such images are supports only.
        never_novel: whether some classes are novel in no fold, such as LVIS' classes with few val images.
        fold_words: how classes are divided into folds, as text.
        listed_pairs: number of val pairs of each fold in published lists, by rule; only for a complete data set.
        list_hashes: found hash and published hash of each official list; only for an opened, complete data set.
        pairs_note: caveat for results on official pairs; empty if the pairs are the published ones.
        note: caveat for every result, e.g. that the data set is incomplete; empty without caveat.
    """

    name: str
    class_names: tuple[str, ...]
    folds: int = 4
    needs_root: ClassVar[bool] = True
    family: ClassVar[str] = ""
    weak: frozenset[int] = frozenset()
    never_novel: ClassVar[bool] = False
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
        """Novel class ids of a fold: a block of equal size (OSLSM; PANet, PMMs on PASCAL-5i)."""
        size = len(self.class_names) // self.folds
        return tuple(range(fold * size + 1, (fold + 1) * size + 1))

    def validation(self, fold: int) -> tuple[int, ...]:
        """Class ids of a fold for validation alone, neither base nor novel; without any, validation has base classes.

        A data set with class-disjoint splits (FSS-1000) overrides this method: its train images show base classes, its
        val images show classes of validation and novel classes.
        """
        return ()

    def base(self, fold: int) -> tuple[int, ...]:
        """Base class ids of a fold: all but the novel ones and those for validation alone."""
        others = {*self.novel(fold), *self.validation(fold)}
        return tuple(c for c in self.class_ids if c not in others)

    def class_name(self, class_id: int) -> str:
        """Name of a class id."""
        return self.class_names[class_id - 1]

    @abstractmethod
    def open(self, root: Path | None) -> None:
        """Find the files and build or load the index.

        Raises:
            FssegError: the folder is missing or has another layout; a mask is missing or broken.
        """

    def locate(self, root: Path | None) -> None:
        """Find files, names and splits without reading masks; the index stays unknown. By default `open`.

        `fsseg data verify` starts with this method, so that it can report all broken masks, not only the first.
        """
        self.open(root)

    def check(self, number: int) -> None:
        """Read and check all files of an image.

        Raises:
            FssegError: a file is missing or truncated, sizes differ, or a mask holds an unknown class id.
        """
        image, mask = self.image(number), self.mask(number)
        self.refuse_other_size(number, image, mask)
        count_pixels(mask, len(self.class_names), lambda: f"the mask of {self.image_name(number)}")

    def refuse_other_size(self, number: int, image: Image, mask: ClassMap) -> None:
        """Refuse an image and a mask of different sizes.

        Raises:
            FssegError: the sizes differ.
        """
        if image.shape[:2] != mask.shape:
            raise FssegError(
                f"image {self.image_name(number)} is {image.shape[1]}x{image.shape[0]}, its mask "
                f"{mask.shape[1]}x{mask.shape[0]}. Replace one."
            )

    def counts(self) -> dict[str, Count]:
        """Numbers of images, masks or objects by description, after `locate`."""
        return {f"{split} images": Count(len(self.numbers(split)), None) for split in SPLITS}

    @abstractmethod
    def numbers(self, split: Split) -> range:
        """Image numbers of a split."""

    @abstractmethod
    def image_name(self, number: int) -> str:
        """Name of an image, for tables and figures."""

    @abstractmethod
    def image(self, number: int) -> Image:
        """An image, RGB."""

    @abstractmethod
    def mask(self, number: int) -> ClassMap:
        """An image's mask: class ids, 0 background, 255 (of 8 bits) or 65535 (of 16 bits) ignore.

        Episodes use `episode_mask` instead, since a pixel may belong to several classes.
        """

    def episode_mask(self, number: int, classes: Sequence[int], own: int | None = None) -> Mask:
        """An image's mask in episode labels: 0 background, n + 1 for ``classes[n]``, 255 ignore.

        A data set with overlapping classes overrides this method.

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
        """Boxes of the instances of a class in an image; without known instances, of the mask's connected parts.

        A data set with instance annotations overrides this method.
        """
        return parts(self.episode_mask(number, (class_id,)) == 1)


def class_map(shape: tuple[int, ...], classes: int) -> ClassMap:
    """A mask of background only: uint8 for up to 254 classes, else uint16."""
    return np.zeros(shape, dtype=np.uint8) if classes < IGNORE else np.zeros(shape, dtype=np.uint16)


def count_pixels(mask: ClassMap, classes: int, describe: Callable[[], str] = lambda: "a mask") -> npt.NDArray[np.int32]:
    """Pixel count of each class id of a mask, without ignored pixels.

    Args:
        mask: ``H W`` class ids.
        classes: number of classes.
        describe: returns the mask's name for an error.

    Raises:
        FssegError: the mask holds an unknown class id, or has neither 8 nor 16 bits.
    """
    try:
        void = void_of(mask)
    except TypeError as error:
        raise FssegError(f"{describe()}: {error}") from error
    counts = np.bincount(mask.ravel(), minlength=classes + 1)
    unknown = [int(i) for i in np.flatnonzero(counts[classes + 1 :]) + classes + 1 if i != void]
    if unknown:
        raise FssegError(
            f"{describe()} holds class ids {unknown[:5]}; allowed are {BACKGROUND} to {classes} and {void} (ignore)."
        )
    if void <= classes:
        counts[void] = 0
    return counts[: classes + 1].astype(np.int32)
