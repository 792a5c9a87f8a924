"""COCO-20i: COCO's 80 object classes in 4 folds of 20, from the official images and instance annotations.

Objects overlap: in samples of COCO, 6 to 10 % of the labelled pixels belong to more than one class. So an episode's
mask is made of one region per class, not of a label map, and the index counts a pixel for each class that it shows.

Codes disagree on nearly everything else; the defaults are the ones that most of them share and that are right:

* release: 2017 (PMMs; most others are on 2014, with other images in train and val).
* folds: interleaved, fold f tests on f, f + 4, f + 8 ... in 0-based order (FWB, PMMs, HSNet); PANet has blocks of 20.
* masks: exact; PMMs and the label maps of PFENet and its successors use the first polygon of each object only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from fsseg.datasets.base import Count
from fsseg.datasets.coco_annotations import AnnotatedImage, read_annotations
from fsseg.datasets.images import cache_folder, fingerprint
from fsseg.datasets.mask_store import Regions, load, store
from fsseg.datasets.overlapping import RegionDataset, check_images, pack_splits, uncollected
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
_FORMAT = 3  # of the cache; raise it when what is stored, or how it is found, changes


class Coco(RegionDataset):
    """COCO 2017 or 2014: 80 classes, 4 folds. Class id: place of the category's id among all, from 1.

    Args:
        year: release.
        fold_rule: ``interleaved``: fold f tests on class ids f + 1, f + 5, f + 9 ... ``contiguous``: on blocks of 20,
            as PANet does; numbers of the two are not comparable, and the data set's name says which it is.
        masks: ``exact``: pycocotools' annToMask. The others only reproduce published numbers: with both, just the first
            polygon of each object counts, with truncated coordinates, and crowds count nowhere.
            ``first_polygon_convex``: filled as if it were convex (PMMs' code, support and ground truth).
            ``first_polygon_map``: painted on one label map, the later over the earlier (PFENet and its successors).
            An object that COCO gives as run-length encoding has no polygon and keeps its exact mask.
        crowds: with exact masks, ``include``: a crowd belongs to its class (PANet's code). ``ignore``: its pixels are
            255 in episodes of that class, and the index does not count them.
        other_ways: ``labelled``: an image of an episode shows all ways. ``background``: only the way that it was drawn
            for, other ways are background (PANet's code, on COCO only).

    Raises:
        FssegError: an argument has no such value.
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
                raise FssegError(f"Coco: {option} is {value!r}, one of {get_args(kinds[option])} is needed.")
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
        """Class ids that the fold tests on, by the fold rule."""
        if self.fold_rule == "contiguous":
            return super().novel(fold)
        return tuple(range(fold + 1, len(self.class_names) + 1, self.folds))

    def open(self, root: Path | None) -> None:
        """Map the cached regions, or read the annotation files and cache their regions.

        Raises:
            FssegError: no tree of COCO, an annotation file that is missing or broken, or an image that is missing.
        """
        files = self._find(root)
        cache = cache_folder() / f"coco-{fingerprint([*files.values()], _FORMAT, self.masks, self.crowds)}"
        try:
            self._regions = load(cache)
        except (OSError, ValueError):  # no cache yet, or one that was cut off
            self._regions = store(self._scan(files), cache)
        self.index = self._regions.index
        self._tell()

    def locate(self, root: Path | None) -> None:
        """Read the annotation files, without their masks.

        Raises:
            FssegError: no tree of COCO, or an annotation file that is missing or broken.
        """
        self._place(self._read(self._find(root)))
        self._tell()

    def counts(self) -> dict[str, Count]:
        """Images and objects, beside the release's."""
        images, objects = _COMPLETE[self.year], _OBJECTS[self.year]
        located = {split: [self._located[i] for i in self.numbers(split)] for split in SPLITS}
        found = {f"{split} images": Count(len(located[split]), images[split]) for split in SPLITS}
        for split in SPLITS:
            marked = sum(len(image.annotations) for image in located[split])
            found[f"{split} objects"] = Count(marked, objects[split])
        return found

    def _find(self, root: Path | None) -> dict[Split, Path]:
        """The annotation files; the images' folders are kept."""
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
        return pack_splits(annotated, self.masks, self.crowds, self.class_names)

    def _tell(self) -> None:
        """Set name and note."""
        found = {split: len(self.numbers(split)) for split in SPLITS}
        complete = _COMPLETE[self.year]
        incomplete = [f"{found[s]:,} of {complete[s]:,} {s} images" for s in SPLITS if found[s] != complete[s]]
        # Neither a subset nor other folds or images may be taken for, or compared with, COCO-20i of 2017.
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
            "COCO-20i needs --data.root DIR (or FSSEG_DATA_ROOT), the folder that holds COCO's annotations."
        )
    if not (root / "annotations").is_dir():
        raise FssegError(f"--data.root {root} is no tree of COCO: no folder annotations in it.")
    return root


def _image_folder(root: Path, split: Split, year: Year) -> Path:
    for folder in (root / f"{split}{year}", root / "images" / f"{split}{year}"):
        if folder.is_dir():
            return folder
    raise FssegError(
        f"{root} has no images of COCO {year}: {split}{year} or images/{split}{year} is needed there. The release is "
        f"chosen by --data.dataset.year {2017 if year == 2014 else 2014} (data prepare: --year)."
    )


def _annotation_file(root: Path, split: Split, year: Year) -> Path:
    path = root / "annotations" / f"instances_{split}{year}.json"
    if not path.is_file():
        raise FssegError(f"{path} is missing. Unpack COCO's annotations_trainval{year}.zip in {root}.")
    return path.resolve()
