"""Store of overlapping masks: one run-length encoded region per image and class, in a shared cache folder.

The folder holds all facts about the images, so that a second start reads no annotation file. Its arrays are
memory-mapped: opening takes milliseconds, and data loading workers share the memory.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from fsseg.datasets.base import Index
from fsseg.datasets.boxes import Box
from fsseg.datasets.pixel_counts import SparseCounts, by_class
from fsseg.episode import void_of
from fsseg.errors import FssegError
from fsseg.files.run_lengths import Code, Region, decode

Label = TypeVar("Label", np.uint8, np.uint16)
Arrays = dict[str, npt.NDArray[Any]]

# One row per image: `names`, `labels` (names for tables), `sizes` (height, width), `empty` (number of annotations
# without a pixel), `strays` and `weak` (see `ImageRegions`). Regions and objects are sorted by image: `first` and
# `first_object` are indices of an image's first region in `kinds` and first object in `object_kinds` and
# `object_boxes` (as `Box`); `offsets` is the index of a region's first byte in `codes`. `background`, `areas`,
# `first_shown`, `images` and `shown` are the pixel counts, see `SparseCounts`. `class_names` starts with class id 1;
# `train` is the number of train images; `note` says what the annotation files hold and the data set lacks.
_COUNTS = ("background", "first", "kinds", "areas", "first_shown", "images", "shown")  # fields of `SparseCounts`
_ARRAYS = ("names", "labels", "sizes", *_COUNTS, "offsets", "codes", "first_object", "object_kinds", "object_boxes",
           "empty", "strays", "weak", "class_names", "train", "note")  # fmt: skip

_TEXTS = ("names", "labels", "class_names", "note")


class ImageRegions(NamedTuple):
    """Regions and objects of one image.

    Attributes:
        name: file name.
        height: of the image.
        width: of the image.
        codes: encoded region by class id; the key ``-class_id`` holds the pixels to ignore in episodes of the class.
        objects: class id and box of each object.
        empty: ids of annotations without a pixel.
        strays: number of points and lines beside polygons, which have no area.
        weak: whether an object is known by its box only.
        label: name for tables and figures; empty: the file name without its ending.
    """

    name: str
    height: int
    width: int
    codes: Mapping[int, Code]
    objects: Sequence[tuple[int, Box]] = ()
    empty: Sequence[int | str] = ()
    strays: int = 0
    weak: bool = False
    label: str = ""


class Regions:
    """Regions of all images of a data set.

    Args:
        arrays: see `pack`.
        folder: the cache folder of memory-mapped arrays; None if the arrays are in memory only.
        fresh: whether the arrays were packed now, not read from the cache.
    """

    def __init__(self, arrays: Arrays, folder: Path | None = None, fresh: bool = False) -> None:
        self.arrays, self.folder = arrays, folder
        self.train = int(arrays["train"])
        self.class_names = tuple(bytes(name).decode() for name in arrays["class_names"])
        self.note = bytes(arrays["note"].item()).decode()
        # Plain arrays over the mapped memory, because indexing np.memmap is slower.
        counts = SparseCounts(*(np.asarray(arrays[name]) for name in _COUNTS))
        self.index = Index(counts, None, folder, fresh)

    def __len__(self) -> int:
        return len(self.arrays["names"])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the folder: workers map it themselves instead of receiving a copy."""
        if self.folder is None:
            return Regions, (self.arrays, None, self.index.fresh)
        return _reopen, (self.folder,)

    def name(self, number: int) -> str:
        """File name of an image."""
        return bytes(self.arrays["names"][number]).decode(errors="replace")

    def label(self, number: int) -> str:
        """Name of an image for tables and figures."""
        return bytes(self.arrays["labels"][number]).decode(errors="replace")

    def size(self, number: int) -> tuple[int, int]:
        """``(height, width)`` of an image."""
        height, width = self.arrays["sizes"][number].tolist()
        return height, width

    def class_ids(self, number: int) -> list[int]:
        """Class ids with a region in an image, ignored regions included; the class with the most pixels first."""
        found = {abs(kind) for kind in self._kinds(number)}
        pixels = self.index.pixels[number]
        return sorted(found, key=lambda class_id: (-pixels[class_id], class_id))

    def region(self, number: int, kind: int) -> Region | None:
        """Region ``H W`` of a class id in an image; ``-class_id`` gives the ignored region. None without region."""
        kinds = self._kinds(number)
        if kind not in kinds:
            return None
        place = int(self.arrays["first"][number]) + kinds.index(kind)
        begin, end = self.arrays["offsets"][place : place + 2].tolist()
        try:
            return decode({"size": [*self.size(number)], "counts": self.arrays["codes"][begin:end]})
        except (ValueError, IndexError) as error:
            raise FssegError(f"the cache {self.folder} is damaged. Delete it and start again.") from error

    def boxes(self, number: int, class_id: int) -> list[Box]:
        """Boxes of the objects of a class on an image."""
        begin, end = self.arrays["first_object"][number : number + 2].tolist()
        own = self.arrays["object_kinds"][begin:end] == class_id
        return [Box(*box) for box in self.arrays["object_boxes"][begin:end][own].tolist()]

    def _kinds(self, number: int) -> list[int]:
        begin, end = self.arrays["first"][number : number + 2].tolist()
        kinds: list[int] = self.arrays["kinds"][begin:end].tolist()
        return kinds


def pack(images: Iterable[ImageRegions], train: int, class_names: Sequence[str], note: str = "") -> Regions:
    """Pack the regions of all images into arrays in memory.

    Args:
        images: train split first.
        train: number of train images.
        class_names: names of the classes, class id 1 first.
        note: what was left out of the annotation files.
    """
    images = list(images)
    objects = [found for image in images for found in image.objects]
    arrays: Arrays = {
        **_regions(images, len(class_names)),
        "names": np.array([image.name.encode() for image in images]),
        "labels": np.array([(image.label or stem(image.name)).encode() for image in images]),
        "sizes": np.array([(image.height, image.width) for image in images], dtype=np.int32),
        "first_object": np.cumsum([0, *(len(image.objects) for image in images)], dtype=np.int64),
        "object_kinds": np.array([class_id for class_id, _ in objects], dtype=np.int32),
        "object_boxes": np.array([box for _, box in objects], dtype=np.int32).reshape(-1, 5),
        "empty": np.array([len(image.empty) for image in images], dtype=np.int32),
        "strays": np.array([image.strays for image in images], dtype=np.int32),
        "weak": np.array([image.weak for image in images], dtype=np.int32),
        "class_names": np.array([name.encode() for name in class_names]),
        "train": np.array(train),
        "note": np.array(note.encode()),
    }
    return Regions(arrays, fresh=True)


def _regions(images: Sequence[ImageRegions], classes: int) -> Arrays:
    """Codes and pixel counts of all regions."""
    codes = [code for image in images for code in image.codes.values()]
    first = np.cumsum([0, *(len(image.codes) for image in images)], dtype=np.int64)
    kinds = np.array([kind for image in images for kind in image.codes], dtype=np.int32)
    # One by one: pycocotools' area overflows for more than 255 regions at once.
    areas = np.array([int(rle.area(code)) for code in codes], dtype=np.int32)
    return {
        "first": first,
        "kinds": kinds,
        "areas": areas,
        "background": np.array([_background(image) for image in images], dtype=np.int32),
        **by_class(first, kinds, areas, classes),
        "offsets": np.cumsum([0, *(len(code["counts"]) for code in codes)], dtype=np.int64),
        "codes": np.frombuffer(b"".join(code["counts"] for code in codes), dtype=np.uint8),
    }


def stem(name: str) -> str:
    """A file name without its ending."""
    return str(Path(name).with_suffix(""))


def _background(image: ImageRegions) -> int:
    shown = rle.area(rle.merge(list(image.codes.values()))) if image.codes else 0
    return int(image.height * image.width - shown)


def load(folder: Path, fresh: bool = False) -> Regions:
    """Memory-map the regions of a cache folder.

    Raises:
        OSError: the folder or one of its files is missing.
        ValueError: a file is broken, or the files do not match.
    """
    try:
        arrays: Arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    except OSError:
        raise
    except Exception as error:  # numpy raises nearly anything on a broken file
        raise ValueError(f"{folder} has a broken file") from error
    try:
        consistent = _is_consistent(arrays)
    except (IndexError, TypeError) as error:  # arrays without axes, or of another type than numbers
        raise ValueError(f"{folder} is damaged") from error
    if not consistent:
        raise ValueError(f"{folder} is damaged")
    return Regions(arrays, folder, fresh)


def _is_consistent(arrays: Arrays) -> bool:
    """Whether arrays match the description of `_ARRAYS`; the content of `codes` is checked when a region is read."""
    images, regions, objects = (len(arrays[name]) for name in ("names", "kinds", "object_kinds"))
    classes, shown = len(arrays["class_names"]), int((arrays["kinds"] > 0).sum())
    shapes: dict[str, tuple[int, ...]] = {
        "names": (images,), "sizes": (images, 2), "background": (images,), "first": (images + 1,),
        "areas": (regions,), "first_shown": (classes + 1,), "images": (shown,), "shown": (shown,), "kinds": (regions,),
        "offsets": (regions + 1,), "codes": (int(arrays["offsets"][-1]),),
        "first_object": (images + 1,), "object_kinds": (objects,), "object_boxes": (objects, 5),
        "empty": (images,), "labels": (images,), "strays": (images,), "weak": (images,),
        "class_names": (classes,), "train": (), "note": (),
    }  # fmt: skip
    kinds = {name: "S" if name in _TEXTS else "u" if name == "codes" else "i" for name in shapes}
    if any(arrays[n].shape != shape or arrays[n].dtype.kind != kinds[n] for n, shape in shapes.items()):
        return False
    places = (
        ("first", regions),
        ("first_object", objects),
        ("offsets", len(arrays["codes"])),
        ("first_shown", shown),
    )
    ordered = all(arrays[n][0] == 0 and arrays[n][-1] == end and (np.diff(arrays[n]) >= 0).all() for n, end in places)
    named = all(
        ((found := np.abs(arrays[n])) >= 1).all() and (found <= classes).all() for n in ("kinds", "object_kinds")
    )
    listed = ((arrays["images"] >= 0) & (arrays["images"] < images)).all()
    return bool(ordered and named and listed and 0 <= arrays["train"] <= images and (arrays["sizes"] > 0).all())


def store(regions: Regions, folder: Path) -> Regions:
    """Write regions to a cache folder and memory-map them from there; on failure, the given regions are returned."""
    # Written to a temporary folder and renamed, so that another process never reads an incomplete folder.
    part = folder.with_name(f".{os.getpid()}-{folder.name}")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for name, array in regions.arrays.items():
            np.save(part / f"{name}.npy", array)
        with suppress(OSError, ValueError):
            return load(folder, fresh=True)  # another process was faster
        shutil.rmtree(folder, ignore_errors=True)  # damaged, since load failed
        part.replace(folder)
        return load(folder, fresh=True)
    except (OSError, ValueError):
        return regions
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _reopen(folder: Path) -> Regions:
    try:
        return load(folder)
    except (OSError, ValueError) as error:
        raise FssegError(f"the cache {folder} was removed or changed while in use. Start again.") from error


def paint(regions: Regions, number: int, labels: Sequence[tuple[int, int]], kind: type[Label]) -> npt.NDArray[Label]:
    """Paint an image's mask ``H W``: a label for each given class id, 0 elsewhere.

    Ignored regions of these classes become `void_of` the mask (255 or 65535) where no given class covers them.

    Args:
        regions: of the data set.
        number: image number.
        labels: class id and label; later pairs are painted over earlier ones.
        kind: type of the mask.
    """
    mask: npt.NDArray[Label] = np.zeros(regions.size(number), dtype=kind, order="F")  # the order of decoded regions
    kinds = [(-class_id, void_of(mask)) for class_id, _ in labels] + list(labels)
    for class_id, label in kinds:
        region = regions.region(number, class_id)
        if region is not None:
            mask[region] = label
    contiguous: npt.NDArray[Label] = np.ascontiguousarray(mask)
    return contiguous
