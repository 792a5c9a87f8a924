"""Data sets whose masks are regions in a cache, one per image and class: COCO, and other files of its format."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fsseg.datasets.base import ClassMap, Dataset, Image, Mask
from fsseg.datasets.boxes import Box
from fsseg.datasets.coco_annotations import AnnotatedImage
from fsseg.datasets.coco_masks import find_regions
from fsseg.datasets.images import image_size, read_image
from fsseg.datasets.mask_store import ImageRegions, Regions, pack, paint
from fsseg.episode import IGNORE
from fsseg.errors import FssegError
from fsseg.progress import tracked
from fsseg.protocols.protocol import Crowds, Masks, OtherWays, Split

_NAMED = 5  # annotations that an error names


class RegionDataset(Dataset):
    """Answers from regions; `open` sets ``_regions`` and ``_folders``, where the images of each split lie."""

    other_ways: OtherWays = "labelled"
    full: ClassVar[bool] = False  # an object that marks no pixel is a mistake; COCO's own files have a few
    upright: ClassVar[bool] = False  # images are turned by their EXIF tags; COCO's own are not
    _regions: Regions
    _folders: dict[Split, Path]
    _located: tuple[AnnotatedImage, ...] = ()  # of `locate`, train split first
    _located_train: int = 0

    def numbers(self, split: Split) -> range:
        """Image numbers of a split; within it they follow COCO's image ids."""
        if self._located:
            train, every = self._located_train, len(self._located)
        else:
            train, every = self._regions.train, len(self._regions)
        return range(train) if split == "train" else range(train, every)

    def image_name(self, number: int) -> str:
        """COCO's name of an image, e.g. ``000000391895``."""
        return _stem(self._file_name(number))

    def image(self, number: int) -> Image:
        """An image, RGB, also if the file is grey."""
        return read_image(self._path(number), self.upright)

    def _path(self, number: int) -> Path:
        split: Split = "train" if number in self.numbers("train") else "val"
        return self._folders[split] / self._file_name(number)

    def _file_name(self, number: int) -> str:
        return self._located[number].name if self._located else self._regions.name(number)

    def _place(self, annotated: Mapping[Split, Sequence[AnnotatedImage]]) -> None:
        """Know images by their annotations alone, without regions."""
        self._located = (*annotated["train"], *annotated["val"])
        self._located_train = len(annotated["train"])

    def check(self, number: int) -> None:
        """Read an image and its annotations, after `locate`.

        Raises:
            FssegError: it is missing, truncated or of another size than its annotations say, or one is malformed.
        """
        annotated, shape = self._located[number], self.image(number).shape
        if shape[:2] != (annotated.height, annotated.width):
            raise other_size(annotated, (shape[0], shape[1]), self._path(number), self.upright)
        empty = find_regions(annotated, "exact", "include").empty
        if empty and self.full:
            raise FssegError(
                f"{_listed(empty)} of image {annotated.name} mark no pixel of it: outside of its {annotated.width}x"
                f"{annotated.height} pixels, or in fractions. Mend them, or take them out of the annotation file."
            )

    def mask(self, number: int) -> ClassMap:
        """An image's label map, for pictures: class ids, the smaller class over the larger; ignored crowds are void."""
        labels = [(class_id, class_id) for class_id in self._regions.class_ids(number)]
        if len(self.class_names) < IGNORE:
            return paint(self._regions, number, labels, np.uint8)
        return paint(self._regions, number, labels, np.uint16)

    def episode_mask(self, number: int, classes: Sequence[int], own: int | None = None) -> Mask:
        """An image's mask in episode labels, a region per class; with ``other_ways="background"``, the own way's only.

        See `Dataset.episode_mask`.
        """
        ways = sorted(range(len(classes)), key=lambda way: way == own)  # the last is on top
        if own is not None and self.other_ways == "background":
            ways = [own]
        return paint(self._regions, number, [(classes[way], way + 1) for way in ways], np.uint8)

    def boxes(self, number: int, class_id: int) -> list[Box]:
        """Boxes of a class's objects, crowds left out; of its region's parts where a crowd is all there is."""
        return self._regions.boxes(number, class_id) or super().boxes(number, class_id)

    def __getstate__(self) -> dict[str, Any]:
        """All but the index, which lies in the mapped regions: workers map it too."""
        return {name: value for name, value in self.__dict__.items() if name != "index"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_regions" in state:
            self.index = self._regions.index


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage among millions of objects that stay, which takes longer than all the rest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def pack_splits(
    annotated: Mapping[Split, Sequence[AnnotatedImage]], masks: Masks, crowds: Crowds, class_names: Sequence[str]
) -> Regions:
    """Regions of annotated images, train split first.

    Raises:
        FssegError: a segmentation is malformed, or two images have one name.
    """
    images: list[ImageRegions] = []
    for split, listed in annotated.items():
        told = tracked(listed, f"masks of {len(listed):,} {split} images")
        images += [find_regions(image, masks, crowds) for image in told]
    known: set[str] = set()
    for image in images:
        if (stem := _stem(image.name)) in known:
            raise FssegError(f"two images are called {stem}, of train and val or with two endings; each image once.")
        known.add(stem)
    return pack(images, len(annotated["train"]), class_names)


def check_images(annotated: Sequence[AnnotatedImage], folder: Path, file: Path) -> None:
    """Refuse images that are not in their folder.

    Raises:
        FssegError: one is missing, or its name leads out of the folder.
    """
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    inside = folder.resolve()
    missing = []
    for image in annotated:
        if image.name in there:
            continue
        if not (inside / image.name).resolve().is_relative_to(inside):
            raise FssegError(f"{file} names the image {image.name}, which leads out of {folder}. Replace the file.")
        if not (folder / image.name).is_file():
            missing.append(image.name)
    if missing:
        mend = "Put them there."
        if (folder.parent / missing[0]).is_file():
            mend = "The names begin with a folder: give --data.dataset.images . (a dot)."
        raise FssegError(
            f"image {folder / missing[0]} is missing, one of {len(missing):,} that are, of {len(annotated):,} in "
            f"{file.name}. {mend}"
        )


def other_size(annotated: AnnotatedImage, shape: tuple[int, int], path: Path, upright: bool) -> FssegError:
    """An image is not as large as its annotations say."""
    why = "Replace one"
    if shape == (annotated.width, annotated.height) != shape[::-1]:
        why = "Width and height are swapped in the annotation file; swap them there"
        if upright and image_size(path) != shape:
            why = "The image is turned upright by its EXIF tag; annotate it so, or take the tag off"
    return FssegError(
        f"image {annotated.name} is {shape[1]}x{shape[0]}, its annotations are of {annotated.width}x"
        f"{annotated.height}. {why}."
    )


def _listed(numbers: Sequence[int | str]) -> str:
    listed = ", ".join(map(str, numbers[:_NAMED])) + ", ..." * (len(numbers) > _NAMED)
    return f"annotations {listed}"


def _stem(name: str) -> str:
    return str(Path(name).with_suffix(""))
