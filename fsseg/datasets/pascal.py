"""PASCAL-5i: VOC 2012 with SBD's annotations, from a `VOCdevkit` tree with `SegmentationClassAug`.

Folds are blocks of five classes in VOC's order (OSLSM and all later codes): fold f tests on class ids 5f+1 .. 5f+5.
For trainings on COCO, ``folds_of="coco"`` gives VOC's classes the folds that they have in COCO-20i.
"""

from collections import Counter
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from fsseg.datasets.base import Count, Dataset, Index, count_pixels
from fsseg.datasets.boxes import Box, boxes_of
from fsseg.datasets.pascal_pairs import compare_lists, count_grid, official_pairs
from fsseg.disk_cache import cached
from fsseg.episode import IGNORE, ClassMap, Image
from fsseg.errors import FssegError
from fsseg.files.images import image_size, read_image
from fsseg.files.masks import read_labels
from fsseg.progress import tracked
from fsseg.protocols.protocol import Pairs, Split
from fsseg.untrusted.text import decoded

_LISTS = {
    "train": (
        "SegmentationAug/train_aug",
        "SegmentationAug/trainaug",
        "Segmentation/trainaug",
        "Segmentation/train_aug",
    ),
    "val": ("SegmentationAug/val", "Segmentation/val"),
}
FoldsOf = Literal["pascal", "coco"]
# COCO-20i's class id of each of VOC's classes: airplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining
# table, dog, horse, motorcycle, person, potted plant, sheep, couch, train, tv.
_COCO_IDS = (5, 2, 15, 9, 40, 6, 3, 16, 57, 20, 61, 17, 18, 4, 1, 59, 19, 58, 7, 63)
_OBJECTS = ("SegmentationObjectAug", "SegmentationObject")  # instance maps
_COMPLETE: dict[Split, int] = {"train": 10_582, "val": 1_449}
_FILES = {"photos": 17_125, "masks": 12_031}
# Number of val pairs per fold: in HSNet's and PMMs' lists, and over all images that show the class.
_LISTED: dict[Pairs, tuple[int, ...]] = {"official": (346, 451, 725, 346), "any": (440, 514, 804, 390)}


class Pascal(Dataset):
    """VOC 2012 + SBD: 20 classes in 4 folds; ignored pixels are 255.

    Args:
        folds_of: ``pascal``: PASCAL-5i's folds. ``coco``: fold f has the classes that are in fold f of COCO-20i (its
            interleaved folds), under the names that they have there, so that a training on a fold of COCO-20i has seen
            no class of the same fold. These folds have six, four, six and four classes.

    Raises:
        FssegError: the folds are neither.
    """

    name = "PASCAL-5i"
    family = "pascal"
    fold_words = "blocks of five (OSLSM)"
    class_names = (
        "aeroplane", "bicycle", "bird", "boat", "bottle",
        "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person",
        "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    )  # fmt: skip
    folds_of: FoldsOf = "pascal"

    def __init__(self, folds_of: FoldsOf = "pascal") -> None:
        if folds_of not in get_args(FoldsOf):
            raise FssegError(f"Pascal: folds_of is {folds_of!r}; one of {get_args(FoldsOf)} is needed.")
        self.folds_of = folds_of
        if folds_of == "coco":
            self.fold_words = "folds of COCO-20i, for trainings on COCO"
            self.name = self._named(type(self).name)

    def _named(self, name: str) -> str:
        return f"{name} (COCO's folds)" if self.folds_of == "coco" else name

    def novel(self, fold: int) -> tuple[int, ...]:
        """Novel class ids of a fold."""
        if self.folds_of == "pascal":
            return super().novel(fold)
        return tuple(c for c, place in enumerate(_COCO_IDS, 1) if (place - 1) % self.folds == fold)

    def open(self, root: Path | None) -> None:
        """Read the lists and build or load the index.

        Raises:
            FssegError: the folder is no VOC tree, a list is missing, or a mask is missing or broken.
        """
        self.locate(root)
        masks = [self._mask_path(number) for number in range(len(self._names))]
        shape = (len(self._names), len(self.class_names) + 1)
        found = cached("pascal", masks, self._scan_all, {"pixels": shape, "grid": shape})
        pixels, grid = found.arrays["pixels"], found.arrays["grid"]
        self.index = Index(pixels, official_pairs(grid, pixels, self._names), found.cache, found.fresh)
        if self.listed_pairs:
            self.list_hashes = compare_lists(self)
        self.pairs_note = self._describe_pairs()

    def locate(self, root: Path | None) -> None:
        """Read the lists.

        Raises:
            FssegError: the folder is no VOC tree, a list is missing, or the lists share an image.
        """
        self._folder = _devkit(root)
        names = {split: _names(self._folder, split) for split in ("train", "val")}
        if both := sorted(set(names["train"]) & set(names["val"])):
            raise FssegError(
                f"{both[0]} and {len(both) - 1} more are in the train and in the val list. Remove them from one."
            )
        self._names = [*names["train"], *names["val"]]
        self._train = len(names["train"])
        incomplete = [f"{len(names[s]):,} of {n:,} {s} images" for s, n in _COMPLETE.items() if len(names[s]) != n]
        if incomplete:
            if type(self) is Pascal:
                self.name = self._named("VOC subset")  # results must not be compared with PASCAL-5i
            self.note = f"a subset of PASCAL VOC 2012 + SBD: {', '.join(incomplete)}"
        elif self.folds_of == "pascal":
            self.listed_pairs = _LISTED

    def _describe_pairs(self) -> str:
        """Note on the official pairs; empty if they equal the published lists."""
        if self.folds_of == "coco":
            return ""  # the published lists have other folds, but the same pairs
        rule = "pairs are by rule (OSLSM's, with its known exceptions)"
        if not self.list_hashes:
            return f"{rule}: the published lists are for the complete PASCAL-5i"
        other = [f"{split} {fold}" for (split, fold), (found, known) in self.list_hashes.items() if found != known]
        return (
            f"{rule}: these masks are not the usual ones, so that {len(other)} of {len(self.list_hashes)} lists are "
            f"not the published ones ({', '.join(other)})"
            if other
            else ""
        )

    def counts(self) -> dict[str, Count]:
        """Number of photos, masks and listed images, and in the official VOC and SBD."""
        folders = {"photos": ("JPEGImages", "*.jpg"), "masks": ("SegmentationClassAug", "*.png")}
        found = {
            what: Count(sum(1 for _ in (self._folder / folder).glob(pattern)), _FILES[what])
            for what, (folder, pattern) in folders.items()
        }
        return found | {f"{s} images": Count(len(self.numbers(s)), n) for s, n in _COMPLETE.items()}

    def check(self, number: int) -> None:
        """Read and check an image, its mask, and its instance map, if it has one.

        Raises:
            FssegError: a file is missing or broken, sizes differ, or the mask holds an unknown class id.
        """
        super().check(number)
        for class_id in np.flatnonzero(np.bincount(self.mask(number).ravel(), minlength=256)[1:IGNORE])[:1] + 1:
            self.boxes(number, int(class_id))

    def numbers(self, split: Split) -> range:
        """Image numbers of a split."""
        return range(self._train) if split == "train" else range(self._train, len(self._names))

    def image_name(self, number: int) -> str:
        """Name of an image in VOC, e.g. ``2007_000033``."""
        return self._names[number]

    def image(self, number: int) -> Image:
        """An image, RGB."""
        return read_image(self._image_path(number))

    def mask(self, number: int) -> ClassMap:
        """An image's mask: class ids, 0 background, 255 ignore."""
        return read_labels(self._mask_path(number))

    def boxes(self, number: int, class_id: int) -> list[Box]:
        """Boxes of instances from SegmentationObjectAug or SegmentationObject; else of the mask's connected parts.

        Raises:
            FssegError: the instance map cannot be read, or differs from the mask in size.
        """
        for folder in _OBJECTS:
            path = self._folder / folder / f"{self._names[number]}.png"
            if path.is_file():
                mask, instances = self.mask(number), read_labels(path)
                if instances.shape != mask.shape:
                    raise FssegError(f"{path} and the mask of {self._names[number]} differ in size. Replace one.")
                return boxes_of(instances, mask == class_id)
        return super().boxes(number, class_id)

    def _image_path(self, number: int) -> Path:
        return self._folder / "JPEGImages" / f"{self._names[number]}.jpg"

    def _mask_path(self, number: int) -> Path:
        return self._folder / "SegmentationClassAug" / f"{self._names[number]}.png"

    def _scan_all(self) -> dict[str, npt.NDArray[np.int32]]:
        numbers = tracked(range(len(self._names)), f"index of {len(self._names):,} masks")
        counts = np.stack([self._scan(number) for number in numbers])
        return {"pixels": counts[:, 0], "grid": counts[:, 1]}

    def _scan(self, number: int) -> npt.NDArray[np.int32]:
        path, mask = self._mask_path(number), self.mask(number)
        size = image_size(self._image_path(number))
        if mask.shape != size:
            raise FssegError(
                f"mask {path} is {mask.shape[1]}x{mask.shape[0]}, its image {size[1]}x{size[0]}. Replace one."
            )
        classes = len(self.class_names)
        return np.stack([count_pixels(mask, classes, lambda: f"mask {path}"), count_grid(mask, classes)])


def _devkit(root: Path | None) -> Path:
    if root is None:
        raise FssegError("PASCAL-5i needs `data.root` DIR (or FSSEG_DATA_ROOT), the folder that holds VOC2012.")
    for folder in (root / "VOC2012", root / "VOCdevkit" / "VOC2012", root):
        if (folder / "JPEGImages").is_dir():
            break
    else:
        raise FssegError(f"`data.root` {root} is no VOCdevkit: it has no VOC2012/JPEGImages. Give the folder above.")
    if not (folder / "SegmentationClassAug").is_dir():
        raise FssegError(f"{folder} has no SegmentationClassAug: put the masks of VOC and SBD there, as indexed PNGs.")
    return folder


def _names(folder: Path, split: str) -> list[str]:
    """Image names of a split; a line is a name, or the paths of image and mask as in DeepLab's lists."""
    lists = folder / "ImageSets"
    for name in _LISTS[split]:
        path = lists / f"{name}.txt"
        if path.is_file():
            # A name that is no UTF-8 is reported later, as a missing mask.
            lines = decoded(path.read_bytes(), "replace").splitlines()
            names = [Path(line.split()[0]).stem for line in lines if line.strip()]
            if not names:
                raise FssegError(f"list {path} is empty. Write one image name per line.")
            if len(set(names)) < len(names):  # an image could be support and query of the same episode
                twice = next(name for name, times in Counter(names).items() if times > 1)
                raise FssegError(f"list {path} names {twice} twice. Name each image once.")
            return names
    raise FssegError(f"{lists} has no list of the {split} images; one of {', '.join(_LISTS[split])} (.txt) is needed.")
