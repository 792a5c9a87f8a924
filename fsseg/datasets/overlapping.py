"""Data sets with overlapping masks, cached as one region per image and class: COCO and files in COCO's format."""

import gc
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fsseg.datasets.base import Dataset
from fsseg.datasets.boxes import Box
from fsseg.datasets.coco_annotations import AnnotatedImage
from fsseg.datasets.coco_masks import find_regions
from fsseg.datasets.mask_store import ImageRegions, Regions, pack, paint, stem
from fsseg.episode import IGNORE, ClassMap, Image, Mask
from fsseg.errors import FssegError
from fsseg.files.images import image_size, read_image
from fsseg.progress import tracked
from fsseg.protocols.protocol import Crowds, Masks, OtherWays, Split

_NAMED = 5  # annotations that an error names


class RegionDataset(Dataset):
    """Base of data sets with regions; `open` of a subclass sets ``_regions`` and ``_folders`` (images of each split).

    Attributes:
        other_ways: see `Coco`.
        full: whether an object without pixels is an error; COCO's official files have a few.
        upright: whether images are rotated by their EXIF tags; the official COCO codes do not rotate.
        bits: see `read_image`.
    """

    other_ways: OtherWays = "labelled"
    full: ClassVar[bool] = False
    upright: ClassVar[bool] = False
    bits: int | None = None
    _regions: Regions
    _folders: dict[Split, Path]
    _located: tuple[AnnotatedImage, ...] = ()  # set by `locate`, train split first
    _located_train: int = 0
    _labels: Sequence[str] = ()

    def numbers(self, split: Split) -> range:
        """Image numbers of a split, in the order of COCO's image ids."""
        if self._located:
            train, every = self._located_train, len(self._located)
        else:
            train, every = self._regions.train, len(self._regions)
        return range(train) if split == "train" else range(train, every)

    def image_name(self, number: int) -> str:
        """COCO's name of an image, e.g. ``000000391895``; with its folder or ending if two images have one name."""
        return self._labels[number] if self._located else self._regions.label(number)

    def image(self, number: int) -> Image:
        """An image, RGB, even if the file is grey."""
        return read_image(self._path(number), self.upright, bits=self.bits)

    def _path(self, number: int) -> Path:
        split: Split = "train" if number in self.numbers("train") else "val"
        return self._folders[split] / self._file_name(number)

    def _file_name(self, number: int) -> str:
        return self._located[number].name if self._located else self._regions.name(number)

    def _place(self, annotated: Mapping[Split, Sequence[AnnotatedImage]]) -> None:
        """Store the annotations and names of all images, without regions."""
        self._labels = image_names(annotated, self._folders)
        self._located = (*annotated["train"], *annotated["val"])
        self._located_train = len(annotated["train"])

    def check(self, number: int) -> None:
        """Read and check an image and its annotations, after `locate`.

        Raises:
            FssegError: the image is missing or truncated, its size is wrong, or an annotation is malformed.
        """
        annotated, shape = self._located[number], self.image(number).shape
        if shape[:2] != (annotated.height, annotated.width):
            raise other_size(annotated, (shape[0], shape[1]), self._path(number), self.upright)
        empty = find_regions(annotated, "exact", "include").empty
        if empty and self.full:
            raise FssegError(
                f"{_listed(empty)} of image {annotated.name} mark no pixel: they lie outside its {annotated.width}x"
                f"{annotated.height} pixels, or are in fractions. Fix them, or remove them from the annotation file."
            )

    def mask(self, number: int) -> ClassMap:
        """An image's label map, for figures: class ids, smaller classes over larger ones; ignored crowds are void."""
        labels = [(class_id, class_id) for class_id in self._regions.class_ids(number)]
        if len(self.class_names) < IGNORE:
            return paint(self._regions, number, labels, np.uint8)
        return paint(self._regions, number, labels, np.uint16)

    def episode_mask(self, number: int, classes: Sequence[int], own: int | None = None) -> Mask:
        """An image's mask in episode labels, see `Dataset.episode_mask`.

        With ``other_ways="background"``, the mask shows only the way ``own``.
        """
        ways = sorted(range(len(classes)), key=lambda way: way == own)  # the last is on top
        if own is not None and self.other_ways == "background":
            ways = [own]
        return paint(self._regions, number, [(classes[way], way + 1) for way in ways], np.uint8)

    def boxes(self, number: int, class_id: int) -> list[Box]:
        """Boxes of a class's objects without crowds; if there are only crowds, of the connected parts of the region."""
        return self._regions.boxes(number, class_id) or super().boxes(number, class_id)

    def __getstate__(self) -> dict[str, Any]:
        """State without the index: workers map it together with the regions."""
        return {name: value for name, value in self.__dict__.items() if name != "index"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_regions" in state:
            self.index = self._regions.index


@contextmanager
def uncollected() -> Iterator[None]:
    """Context without garbage collection: searching millions of live objects would take most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def pack_splits(
    annotated: Mapping[Split, Sequence[AnnotatedImage]],
    folders: Mapping[Split, Path],
    masks: Masks,
    crowds: Crowds,
    class_names: Sequence[str],
    note: str = "",
) -> Regions:
    """Find and pack the regions of annotated images, train split first.

    Raises:
        FssegError: a segmentation is malformed, or an image is listed twice.
    """
    images = [region for split, listed in annotated.items() for region in find_split(listed, split, masks, crowds)]
    return pack_images(images, annotated, folders, class_names, note)


def find_split(listed: Sequence[AnnotatedImage], split: Split, masks: Masks, crowds: Crowds) -> Iterator[ImageRegions]:
    """Find the regions of a split's images. Their annotations are dropped, since both together take gigabytes.

    Raises:
        FssegError: a segmentation is malformed.
    """
    for image in tracked(listed, f"masks of {len(listed):,} {split} images"):
        yield find_regions(image, masks, crowds)
        image.annotations.clear()


def pack_images(
    images: Sequence[ImageRegions],
    annotated: Mapping[Split, Sequence[AnnotatedImage]],
    folders: Mapping[Split, Path],
    class_names: Sequence[str],
    note: str = "",
) -> Regions:
    """Pack the regions of annotated images under names that differ, train split first.

    Raises:
        FssegError: an image is listed twice.
    """
    labels = image_names(annotated, folders)
    labelled = [image._replace(label=label) for image, label in zip(images, labels, strict=True)]
    return pack(labelled, len(annotated["train"]), class_names, note)


def image_names(annotated: Mapping[Split, Sequence[AnnotatedImage]], folders: Mapping[Split, Path]) -> list[str]:
    """A name of each image, train split first: the file's without its ending, as long as no two images have it.

    Otherwise the name begins with the folder of the split (``train/a`` and ``valid/a``), or has its ending.

    Raises:
        FssegError: an image is listed twice.
    """
    common = Path(os.path.commonpath([os.path.abspath(folder) for folder in folders.values()]))
    below = {split: os.path.relpath(folder, common) for split, folder in folders.items()}
    files = [(below[split], image.name) for split, listed in annotated.items() for image in listed]
    labels = [stem(name) for _, name in files]
    for form in (lambda folder, name: Path(folder, stem(name)), Path):
        times = Counter(labels)
        labels = [
            label if times[label] == 1 else form(*file).as_posix() for label, file in zip(labels, files, strict=True)
        ]
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise FssegError(f"image {twice[0]} is listed twice, in train and val or under two names. List it once.")
    return labels


def check_images(annotated: Sequence[AnnotatedImage], folder: Path, file: Path) -> None:
    """Refuse images that are not in their folder. Links are followed.

    Raises:
        FssegError: an image is missing.
    """
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [image.name for image in annotated if image.name not in there and not (folder / image.name).is_file()]
    if missing:
        fix = "Put them there."
        if (folder.parent / missing[0]).is_file():
            fix = "The names begin with a folder: give `data.dataset.images` . (a dot)."
        raise FssegError(
            f"image {folder / missing[0]} is missing, one of {len(missing):,} missing images of {len(annotated):,} in "
            f"{file.name}. {fix}"
        )


def other_size(annotated: AnnotatedImage, shape: tuple[int, int], path: Path, upright: bool) -> FssegError:
    """Error for an image whose size differs from its annotations."""
    why = "Replace one"
    if shape == (annotated.width, annotated.height) != shape[::-1]:
        why = "Width and height are swapped in the annotation file; swap them there"
        if upright and image_size(path) != shape:
            why = "The image is rotated upright by its EXIF tag; annotate the upright image, or remove the tag"
    return FssegError(
        f"image {annotated.name} is {shape[1]}x{shape[0]}, its annotations are for {annotated.width}x"
        f"{annotated.height}. {why}."
    )


def _listed(numbers: Sequence[int | str]) -> str:
    listed = ", ".join(map(str, numbers[:_NAMED])) + ", ..." * (len(numbers) > _NAMED)
    return f"annotations {listed}"
