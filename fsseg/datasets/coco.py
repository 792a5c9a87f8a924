"""COCO-20i: COCO's 80 object classes in 4 folds of 20, from the official images and instance annotations.

Objects overlap: in samples of COCO, 6 to 10 % of the labelled pixels belong to more than one class. So the mask of an
episode is built from one region per class, not from a label map, and the index counts a pixel for each of its classes.

Official codes differ in three choices. The defaults are:

* release: 2017 (PMMs; most others use 2014, whose train and val images differ).
* folds: interleaved, fold f tests on classes f, f + 4, f + 8 ... from 0 (FWB, PMMs, HSNet); PANet uses blocks of 20.
* masks: exact; PMMs and the label maps of PFENet and its successors use only the first polygon of each object.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from fsseg.datasets.base import Count
from fsseg.datasets.coco_annotations import AnnotatedImage, read_annotations
from fsseg.datasets.mask_store import Regions, load, store
from fsseg.datasets.overlapping import RegionDataset, check_images, pack_splits, uncollected
from fsseg.disk_cache import cache_folder, fingerprint
from fsseg.errors import FssegError
from fsseg.protocols.protocol import SPLITS, Crowds, FoldRule, Masks, OtherWays, Split, Year

_COMPLETE: dict[Year, dict[Split, int]] = {
    2017: {"train": 118_287, "val": 5_000},
    2014: {"train": 82_783, "val": 40_504},
}
_OBJECTS: dict[Year, dict[Split, int]] = {
    2017: {"train": 860_001, "val": 36_781},
    2014: {"train": 604_907, "val": 291_875},
}
_FORMAT = 5  # version of the cache; increase it when the stored arrays or their computation change


class Coco(RegionDataset):
    """COCO 2017 or 2014: 80 classes, 4 folds. Class ids number the categories from 1, in the order of COCO's ids.

    Args:
        year: release.
        fold_rule: ``interleaved``: fold f tests on class ids f + 1, f + 5, f + 9 ... ``contiguous``: on blocks of 20,
            as PANet does. Results of the two rules are not comparable; the data set's name shows the rule.
        masks: ``exact``: pycocotools' annToMask. The other two values exist only to reproduce published numbers: they
            use the first polygon of each object with truncated coordinates, and leave out crowds.
            ``first_polygon_convex``: the polygon is filled as if it were convex (PMMs' code, supports and queries).
            ``first_polygon_map``: polygons are painted on one label map, later over earlier ones (PFENet and its
            successors). Objects in run-length encoding have no polygon and keep their exact mask.
        crowds: with exact masks, ``include``: a crowd belongs to its class (PANet's code). ``ignore``: the pixels of a
            crowd are 255 in episodes of its class, and the index does not count them.
        other_ways: ``labelled``: the mask of an image shows all ways of the episode. ``background``: the mask shows
            only the way that the image was drawn for (PANet's code, on COCO only).

    Raises:
        FssegError: an argument has an unknown value, or crowds are ignored without exact masks.
    """

    name = "COCO-20i"
    family = "coco"
    class_names = (
        "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
        "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
        "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
        "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
        "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
        "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
        "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
        "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
        "hair drier", "toothbrush",
    )  # fmt: skip

    def __init__(
        self,
        year: Year = 2017,
        fold_rule: FoldRule = "interleaved",
        masks: Masks = "exact",
        crowds: Crowds = "include",
        other_ways: OtherWays = "labelled",
    ) -> None:
        given = {"year": year, "fold_rule": fold_rule, "masks": masks, "crowds": crowds, "other_ways": other_ways}
        kinds = {"year": Year, "fold_rule": FoldRule, "masks": Masks, "crowds": Crowds, "other_ways": OtherWays}
        for option, value in given.items():
            if value not in get_args(kinds[option]):
                raise FssegError(f"Coco: {option} is {value!r}; one of {get_args(kinds[option])} is needed.")
        if masks != "exact" and crowds == "ignore":
            raise FssegError(f"Coco: crowds 'ignore' needs masks 'exact'; {masks!r} leaves crowds out anyway.")
        self.year, self.fold_rule, self.masks, self.crowds, self.other_ways = year, fold_rule, masks, crowds, other_ways

        self.name = self._named("COCO-20i")
        words = {
            "interleaved": "classes f + 1, f + 5, f + 9 ... are in fold f (FWB, PMMs, HSNet)",
            "contiguous": "blocks of 20 (PANet)",
        }
        self.fold_words = words[fold_rule]

    def _named(self, name: str) -> str:
        other = [*(["2014"] if self.year == 2014 else []), *(["contiguous"] if self.fold_rule == "contiguous" else [])]
        name = name if type(self) is Coco else type(self).name
        return f"{name} ({', '.join(other)})" if other else name

    def novel(self, fold: int) -> tuple[int, ...]:
        """Novel class ids of a fold, by the fold rule."""
        if self.fold_rule == "contiguous":
            return super().novel(fold)
        return tuple(range(fold + 1, len(self.class_names) + 1, self.folds))

    def open(self, root: Path | None) -> None:
        """Map the cached regions, or read the annotation files and cache their regions.

        Raises:
            FssegError: the folder is no COCO tree, an annotation file is missing or broken, or an image is missing.
        """
        files = self._find(root)
        cache = cache_folder() / f"coco-{fingerprint([*files.values()], _FORMAT, self.masks, self.crowds)}"
        try:
            self._regions = load(cache)
        except (OSError, ValueError):  # no cache yet, or a truncated one
            self._regions = store(self._scan(files), cache)
        self.index = self._regions.index
        self._describe()

    def locate(self, root: Path | None) -> None:
        """Read the annotation files without decoding masks.

        Raises:
            FssegError: the folder is no COCO tree, or an annotation file is missing or broken.
        """
        self._place(self._read(self._find(root)))
        self._describe()

    def counts(self) -> dict[str, Count]:
        """Number of images and objects of each split, and in the official release."""
        images, objects = _COMPLETE[self.year], _OBJECTS[self.year]
        located = {split: [self._located[i] for i in self.numbers(split)] for split in SPLITS}
        found = {f"{split} images": Count(len(located[split]), images[split]) for split in SPLITS}
        for split in SPLITS:
            annotated = sum(len(image.annotations) for image in located[split])
            found[f"{split} objects"] = Count(annotated, objects[split])
        return found

    def _find(self, root: Path | None) -> dict[Split, Path]:
        """Find the annotation files (returned) and the folders of the images (stored)."""
        root = _checked(root)
        self._folders = {split: _image_folder(root, split, self.year) for split in SPLITS}
        return {split: _annotation_file(root, split, self.year) for split in SPLITS}

    @uncollected()
    def _read(self, files: Mapping[Split, Path]) -> dict[Split, list[AnnotatedImage]]:
        return {split: read_annotations(files[split], self.class_names).images for split in SPLITS}

    @uncollected()
    def _scan(self, files: Mapping[Split, Path]) -> Regions:
        annotated = self._read(files)
        for split in SPLITS:
            check_images(annotated[split], self._folders[split], files[split])
        if both := {image.name for image in annotated["train"]} & {image.name for image in annotated["val"]}:
            raise FssegError(f"image {min(both)} is in train and in val. Remove it from one annotation file.")
        return pack_splits(annotated, self._folders, self.masks, self.crowds, self.class_names)

    def _describe(self) -> None:
        """Set name and note."""
        found = {split: len(self.numbers(split)) for split in SPLITS}
        complete = _COMPLETE[self.year]
        incomplete = [f"{found[s]:,} of {complete[s]:,} {s} images" for s in SPLITS if found[s] != complete[s]]
        # A subset, other folds or other images must not be compared with COCO-20i of 2017.
        self.name = self._named("COCO subset" if incomplete else "COCO-20i")
        notes = [f"a subset of COCO {self.year}: {', '.join(incomplete)}"] if incomplete else []
        if self.masks != "exact":
            notes.append(f"COCO masks {self.masks}, not the exact ones")
        if self.crowds == "ignore":
            notes.append("crowds ignored")
        if self.other_ways == "background":
            notes.append("other ways are background")
        self.note = "; ".join(notes)


def _checked(root: Path | None) -> Path:
    if root is None:
        raise FssegError(
            "COCO-20i needs `data.root` DIR (or FSSEG_DATA_ROOT), the folder that holds COCO's annotations folder."
        )
    if not (root / "annotations").is_dir():
        raise FssegError(f"`data.root` {root} is no COCO tree: it has no folder annotations. Give the folder above it.")
    return root


def _image_folder(root: Path, split: Split, year: Year) -> Path:
    for folder in (root / f"{split}{year}", root / "images" / f"{split}{year}"):
        if folder.is_dir():
            return folder
    raise FssegError(
        f"{root} has no images of COCO {year}: {split}{year} or images/{split}{year} is needed there. For the other "
        f"release give `data.dataset.year` {2017 if year == 2014 else 2014} (data prepare: --year)."
    )


def _annotation_file(root: Path, split: Split, year: Year) -> Path:
    path = root / "annotations" / f"instances_{split}{year}.json"
    if not path.is_file():
        raise FssegError(f"{path} is missing. Unpack COCO's annotations_trainval{year}.zip in {root}.")
    return path.resolve()
