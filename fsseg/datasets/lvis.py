"""LVIS-92i (Liu et al., Matcher, ICLR 2024): LVIS v1's 1,203 classes over the images of COCO 2017, in ten folds.

::

    annotations/lvis_v1_train.json      also without the folder; 100,170 images
    annotations/lvis_v1_val.json        19,809 images
    train2017/*.jpg  val2017/*.jpg      COCO's images, also in images/ or coco/; val needs both folders

The folds follow Matcher's code (matcher/data/lvis.py): of the classes with more val images than shots, in the order of
their ids, fold f tests on classes f, f + 10, f + 20 ... of the first 10 n. The mask of a class is the union of its
instances. The code reads tables that its authors made of LVIS' files; the order of classes and images in these tables
is unknown, here both are in the order of their ids.

LVIS is annotated in a federated way: an image lists classes of which only some instances are labelled
(not_exhaustive_category_ids). Matcher's code does not look at the list.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from fsseg.datasets.base import Count
from fsseg.datasets.coco_annotations import AnnotatedImage, AnnotationFile, read_annotations
from fsseg.datasets.mask_store import ImageRegions, Regions, load, store
from fsseg.datasets.overlapping import RegionDataset, check_images, find_split, pack_images, uncollected
from fsseg.disk_cache import cache_folder, fingerprint
from fsseg.errors import FssegError
from fsseg.protocols.protocol import SPLITS, Split

NotExhaustive = Literal["include", "ignore"]

_CLASSES = 1_203
_COMPLETE: dict[Split, int] = {"train": 100_170, "val": 19_809}
_OBJECTS: dict[Split, int] = {"train": 1_270_141, "val": 244_707}
_OLD = 1_230  # classes of LVIS v0.5
_URL = re.compile(r"https?://images\.cocodataset\.org/((?:train|val)2017/\d{12}\.jpg)")
_FILES = ("annotations/lvis_v1_{}.json", "lvis_v1_{}.json", "LVIS/lvis_v1_{}.json")
IMAGES = ("", "images", "coco", "LVIS/coco")
PARTS = ("train2017", "val2017")
_FORMAT = 1  # version of the cache; increase it when the stored arrays or their computation change


class Lvis(RegionDataset):
    """LVIS-92i: 1,203 classes, ten folds of 92 classes. Class ids are LVIS' category ids.

    Args:
        shots: a class is tested if more val images than this show it. Matcher's code takes the number of shots of the
            test, so that a 5-shot test has other classes; a test by protocol ``lvis92i`` sets it.
        not_exhaustive: images in which only some instances of a class are labelled: ``include`` them, as Matcher's
            code does, so that unlabelled instances are background; or ``ignore`` the class on these images: they are
            no queries and supports of it, and its labelled instances are 255 in episodes of it.

    Raises:
        FssegError: an argument is out of range.
    """

    name = "LVIS-92i"
    family = "lvis"
    class_names: tuple[str, ...] = ()
    folds = 10
    never_novel = True
    _tested: tuple[int, ...] = ()

    def __init__(self, shots: int = 1, not_exhaustive: NotExhaustive = "include") -> None:
        if shots < 1:
            raise FssegError(f"Lvis: shots is {shots}; at least 1 is needed.")
        if not_exhaustive not in get_args(NotExhaustive):
            raise FssegError(f"Lvis: not_exhaustive is {not_exhaustive!r}; one of {get_args(NotExhaustive)} is needed.")
        self.shots, self.not_exhaustive = shots, not_exhaustive
        more = "more than one val image" if shots == 1 else f"more than {shots} val images"
        self.fold_words = f"every tenth of the classes with {more} (Matcher)"

    def novel(self, fold: int) -> tuple[int, ...]:
        """Novel class ids of a fold, by Matcher's rule."""
        return tuple(self._tested[fold + self.folds * place] for place in range(len(self._tested) // self.folds))

    def open(self, root: Path | None) -> None:
        """Map the cached regions, or read the annotation files and cache their regions.

        Raises:
            FssegError: the folder has another layout, an annotation file is missing, broken or no LVIS v1, an image is
                missing, or fewer than ten classes can be tested.
        """
        files = self._find(root)
        cache = cache_folder() / f"lvis-{fingerprint([*files.values()], _FORMAT, self.not_exhaustive)}"
        try:
            self._regions = load(cache)
        except (OSError, ValueError):  # no cache yet, or a truncated one
            self._regions = store(self._scan(files), cache)
        self.index, self.class_names = self._regions.index, self._regions.class_names
        val = self.numbers("val")
        shown = [len(self.index.images(class_id, val)) for class_id in self.class_ids]
        self._tested = tuple(int(c) + 1 for c in np.flatnonzero(np.array(shown) > self.shots))
        if len(self._tested) < self.folds:
            raise FssegError(
                f"{files['val']}: {len(self._tested)} classes have more than {self.shots} val images; ten folds need "
                "at least ten such classes. Give `data.dataset.shots` a smaller number, or more images."
            )
        self._describe()

    @uncollected()
    def locate(self, root: Path | None) -> None:
        """Read the annotation files without decoding masks.

        Raises:
            FssegError: the folder has another layout, or an annotation file is missing, broken or no LVIS v1.
        """
        files = self._find(root)
        self._place({split: self._read(files[split]).images for split in SPLITS})
        self._describe()

    def counts(self) -> dict[str, Count]:
        """Number of images and objects of each split, and in the official release."""
        found = {"classes": Count(len(self.class_names), _CLASSES)}
        for split in SPLITS:
            images = [self._located[number] for number in self.numbers(split)]
            found[f"{split} images"] = Count(len(images), _COMPLETE[split])
            found[f"{split} objects"] = Count(sum(len(image.annotations) for image in images), _OBJECTS[split])
        return found

    def _find(self, root: Path | None) -> dict[Split, Path]:
        """Find the annotation files (returned) and the folder of the images (stored)."""
        self.class_names = ()
        if root is None:
            raise FssegError("LVIS-92i needs `data.root` DIR (or FSSEG_DATA_ROOT), the folder of LVIS' files.")
        files = {split: _annotation_file(root, split) for split in SPLITS}
        places = [root / place for place in IMAGES if all((root / place / part).is_dir() for part in PARTS)]
        if not places:
            raise FssegError(
                f"{root} has no images of COCO 2017: the folders train2017 and val2017 are needed there, or in "
                "images/ or coco/. LVIS' val images are in both. fsseg data prepare lvis downloads them."
            )
        self._folders = dict.fromkeys(SPLITS, places[0])
        return files

    def _read(self, path: Path) -> AnnotationFile:
        """Read an annotation file; the first one gives the classes, the second one must have the same."""
        read = read_annotations(path, adapt=partial(as_coco, path, mark=self.not_exhaustive == "ignore"))
        if self.class_names and read.class_names != self.class_names:
            raise FssegError(f"{path} lists other categories than the train file. Use both files of one release.")
        if len(set(read.class_names)) < len(read.class_names):
            raise FssegError(f"{path} has two categories with the same id or name. Remove one.")
        self.class_names = read.class_names
        return read

    @uncollected()
    def _scan(self, files: Mapping[Split, Path]) -> Regions:
        annotated: dict[Split, list[AnnotatedImage]] = {}
        images: list[ImageRegions] = []
        for split in SPLITS:  # one after the other: the train file alone takes gigabytes
            annotated[split] = self._read(files[split]).images
            check_images(annotated[split], self._folders[split], files[split])
            images += find_split(annotated[split], split, "exact", self.not_exhaustive)
        if both := {image.name for image in annotated["train"]} & {image.name for image in annotated["val"]}:
            raise FssegError(f"image {min(both)} is in train and in val. Remove it from one annotation file.")
        return pack_images(images, annotated, self._folders, self.class_names)

    def _describe(self) -> None:
        """Set name and note; a subset must not be compared with LVIS-92i."""
        found = {split: len(self.numbers(split)) for split in SPLITS}
        lacking = [f"{found[s]:,} of {_COMPLETE[s]:,} {s} images" for s in SPLITS if found[s] != _COMPLETE[s]]
        if len(self.class_names) != _CLASSES:
            lacking.insert(0, f"{len(self.class_names):,} of {_CLASSES:,} classes")
        if type(self) is Lvis:
            self.name = "LVIS subset" if lacking else Lvis.name
        notes = [f"a subset of LVIS v1: {', '.join(lacking)}"] if lacking else []
        if self.not_exhaustive == "ignore":
            notes.append("classes are ignored on images that do not label all their instances")
        self.note = "; ".join(notes)


def as_coco(path: Path, content: dict[str, Any], mark: bool) -> None:
    """Check LVIS' own keys, and write what COCO's files have: the file name, with its folder, of each image.

    Args:
        path: of the file, for errors.
        content: of the file, changed in place.
        mark: mark instances of a class whose instances are not all labelled on an image like a crowd (iscrowd).

    Raises:
        FssegError: the file is no LVIS v1.
    """
    try:
        _check_categories(path, [category["id"] for category in content["categories"]])
        partial_pairs = set()
        for image in content["images"]:
            found = _URL.fullmatch(str(image.get("coco_url")))
            if "not_exhaustive_category_ids" not in image:
                raise FssegError(
                    f"{path} is no file of LVIS v1: image {str(image.get('id'))!a:.40} has no "
                    "not_exhaustive_category_ids. Put LVIS' own file there."
                )
            if found is None:
                raise FssegError(
                    f"{path}: image {str(image.get('id'))!a:.40} has the coco_url {str(image.get('coco_url'))!a:.60}, "
                    "no image of COCO 2017. Put LVIS' own file there."
                )
            image["file_name"] = found[1]
            partial_pairs |= {(image["id"], class_id) for class_id in image["not_exhaustive_category_ids"]}
        for item in content["annotations"] if mark else ():
            item["iscrowd"] = int((item["image_id"], item["category_id"]) in partial_pairs)
    except (KeyError, TypeError, AttributeError) as error:
        raise FssegError(
            f"{path} has an image, an annotation or a category without LVIS' keys. Put LVIS' own file there."
        ) from error


def _check_categories(path: Path, ids: list[Any]) -> None:
    if len(ids) == _OLD:
        raise FssegError(f"{path} has {_OLD:,} categories, as LVIS v0.5 has. LVIS v1 ({_CLASSES:,}) is needed.")
    if gaps := set(range(1, len(ids) + 1)) - set(ids):
        raise FssegError(
            f"{path}: category ids are not 1 to {len(ids):,}, e.g. {min(gaps)} is missing. Put LVIS' own file there."
        )


def _annotation_file(root: Path, split: Split) -> Path:
    for place in _FILES:
        if (root / place.format(split)).is_file():
            return (root / place.format(split)).resolve()
    raise FssegError(
        f"{root / _FILES[0].format(split)} is missing: unpack lvis_v1_{split}.json.zip of lvisdataset.org there, or "
        "run fsseg data prepare lvis."
    )
