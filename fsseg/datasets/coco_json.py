"""Custom data set: a folder of images with an annotation file in COCO's format."""

from pathlib import Path

import numpy as np

from fsseg.datasets.coco_annotations import AnnotatedImage, AnnotationFile, leave_out_unused, read_annotations
from fsseg.datasets.custom import CustomDataset, Folds, check_bits, check_share, is_val
from fsseg.datasets.export_formats import export_hint
from fsseg.datasets.mask_store import Regions, load, store
from fsseg.datasets.overlapping import RegionDataset, check_images, other_size, pack_splits, uncollected
from fsseg.disk_cache import cache_folder, fingerprint
from fsseg.errors import FssegError
from fsseg.files.images import depth_note, image_header
from fsseg.files.names import FileNames, plain
from fsseg.progress import tracked
from fsseg.protocols.protocol import Crowds, Masks, OtherWays, Split

_FORMAT = 5  # version of the cache; increase it when the checks or the stored arrays change
_ROBOFLOW = "_annotations.coco.json"  # annotation file in each folder of a Roboflow export
_NAMED = 3  # categories that a note names


class CocoJson(RegionDataset, CustomDataset):
    """A folder of images and an annotation file in COCO's format with any categories.

    Images are rotated upright by their EXIF tags, as labelling programs show them.

    Args:
        annotations: annotation file in the root folder. If it is missing and the root has Roboflow's layout
            (``train/_annotations.coco.json`` and others), that layout is used.
        val_annotations: annotation file of the val split. None: ``val_share`` of the images are val, chosen by name.
        images: folder of the images in the root folder; the root folder itself if this folder does not exist.
        val_images: folder of the val split's images. None: ``images``.
        folds: number of folds, or the names of each fold's novel classes. None: up to four folds. 0: no class is novel,
            so that a training has all classes.
        val_share: share of the images in the val split if one file lists all images; 1 for testing only.
        masks: see `Coco`.
        crowds: see `Coco`.
        other_ways: see `Coco`.
        bits: bits of grey images of more than 8 bits, such as 12 or 16; 0 scales each image by its own range.

    Raises:
        FssegError: an argument is out of range.
    """

    name = "COCO-JSON"
    full = True
    upright = True  # labelling programs show images upright

    def __init__(
        self,
        annotations: str = "annotations.json",
        val_annotations: str | None = None,
        images: str = "images",
        val_images: str | None = None,
        folds: Folds | None = None,
        val_share: float = 0.3,
        masks: Masks = "exact",
        crowds: Crowds = "include",
        other_ways: OtherWays = "labelled",
        bits: int = 0,
    ) -> None:
        check_share(val_share)
        check_bits(bits)
        if masks != "exact" and crowds == "ignore":
            raise FssegError(f"CocoJson: crowds 'ignore' needs masks 'exact'; {masks!r} leaves crowds out anyway.")
        self.annotations, self.val_annotations = annotations, val_annotations
        self.images, self.val_images = images, val_images or images
        self.asked_folds, self.val_share = folds, val_share
        self.masks, self.crowds, self.other_ways = masks, crowds, other_ways
        self.bits = bits

    def open(self, root: Path | None) -> None:
        """Map the cached regions, or read the annotation files and cache their regions.

        Raises:
            FssegError: no root, an annotation file is missing or broken, or an image is missing.
        """
        self._find(root)
        options = (
            _FORMAT,
            self.masks,
            self.crowds,
            self.val_share,
            self.bits,
            [str(f) for f in self._folders.values()],
        )
        cache = cache_folder() / f"coco-json-{fingerprint(self._files, *options)}"
        try:
            self._regions = load(cache)
        except (OSError, ValueError):  # no cache yet, or a truncated one
            self._regions = store(self._scan(), cache)
        self.index = self._regions.index
        self.weak = frozenset(np.flatnonzero(self._regions.arrays["weak"]).tolist())
        self._set_classes(self._regions.class_names, self.asked_folds, self._files[0].name)
        self._note_left_out()

    def locate(self, root: Path | None) -> None:
        """Read the annotation files without decoding masks.

        Raises:
            FssegError: no root, or an annotation file is missing or broken.
        """
        self._find(root)
        read, unused = self._read()
        self._place(self._split(read))
        self._set_classes(read[0].class_names, self.asked_folds, self._files[0].name)
        self._add_notes(unused)

    def _find(self, root: Path | None) -> None:
        if root is None:
            raise FssegError("CocoJson needs `data.root` DIR (or FSSEG_DATA_ROOT), the folder that holds its files.")
        if not self.annotations:
            raise FssegError("`data.dataset.annotations` is empty: the name of the annotation file is needed.")
        splits = None if (root / self.annotations).is_file() or self.val_annotations else _roboflow(root)
        if splits is None:
            self._files = [_found(root, name) for name in (self.annotations, self.val_annotations) if name]
            named: dict[Split, str] = {"train": self.images, "val": self.val_images}
            self._folders = {split: _folder(root, name) for split, name in named.items()}
        else:
            self._files = [root / name / _ROBOFLOW for name in splits[:2]]
            self._folders = {"train": root / splits[0], "val": root / splits[:2][-1]}
        self.name = root.resolve().name
        notes = {
            f"masks {self.masks}, not the exact ones": self.masks != "exact",
            "crowds ignored": self.crowds == "ignore",
            "other ways of an episode as background": self.other_ways == "background",
            f"{', '.join((splits or [])[2:])} is left out": bool(splits and splits[2:]),
        }
        self.note = ", ".join(note for note, applies in notes.items() if applies)

    def _note_left_out(self) -> None:
        """Note what the regions do not show; refuse if no object has a pixel."""
        counts = {name: int(self._regions.arrays[name].sum()) for name in ("empty", "strays", "weak")}
        notes = [self._regions.note]
        if counts["empty"]:
            first = self.image_name(int(np.flatnonzero(self._regions.arrays["empty"])[0]))
            why = "outside the image, in fractions of the image, or points and lines"
            if not self.index.pixels[:, 1:].any():
                raise FssegError(
                    f"{self._files[0].name}: none of its {counts['empty']:,} objects marks a pixel: they are {why}. "
                    "Coordinates in pixels are needed: multiply x by the image's width and y by its height."
                )
            noted = f"objects without a pixel ({why}): {counts['empty']:,}, the first in {first}"
            notes.append(f"{noted}; fsseg data verify names them")
        if counts["strays"]:
            notes.append(f"points and lines beside polygons, left out: {counts['strays']:,}")
        if counts["weak"]:
            notes.append(f"images of objects with a box only, used as supports only: {counts['weak']:,}")
        self._add_notes(*notes)

    def _add_notes(self, *notes: str) -> None:
        self.note = "; ".join(filter(None, [self.note, *notes]))

    @uncollected()
    def _read(self) -> tuple[list[AnnotationFile], str]:
        """The annotation files, with the names of files in the image folders, and a note on unused categories."""
        folders = [self._folders["train"], self._folders["val"]]
        read = []
        for path, folder in zip(self._files, folders, strict=False):
            file, names = read_annotations(path, folder=folder), FileNames(folder)
            found = [image._replace(name=names.find(image.name) or image.name) for image in file.images]
            read.append(file._replace(images=found))
        if read[0].class_names != read[-1].class_names:
            raise FssegError(
                f"{self._files[0].name} and {self._files[1].name} list different categories. Use the same in both."
            )
        read, unused = leave_out_unused(read, self._files[0])
        if isinstance(self.asked_folds, list):
            self.asked_folds = [[name for name in fold if plain(str(name)) not in unused] for fold in self.asked_folds]
        listed = ", ".join(unused[:_NAMED]) + ", ..." * (len(unused) > _NAMED)
        return read, f"categories without objects, left out: {len(unused):,} ({listed})" if unused else ""

    @uncollected()
    def _scan(self) -> Regions:
        read, unused = self._read()
        annotated = self._split(read)
        deep = 0
        for split, images in annotated.items():
            check_images(images, self._folders[split], self._files[-1 if split == "val" else 0])
            for image in tracked(images, f"sizes of {len(images):,} {split} images"):
                header = image_header(self._folders[split] / image.name, self.upright)
                deep += header.deep
                if header.size != (image.height, image.width):
                    raise other_size(image, header.size, self._folders[split] / image.name, self.upright)
        note = "; ".join(filter(None, [unused, depth_note(deep, self.bits or 0)]))
        return pack_splits(annotated, self._folders, self.masks, self.crowds, read[0].class_names, note)

    def _split(self, read: list[AnnotationFile]) -> dict[Split, list[AnnotatedImage]]:
        if len(read) == 2:
            return {"train": read[0].images, "val": read[1].images}
        images = read[0].images
        split: dict[Split, list[AnnotatedImage]] = {
            "train": [image for image in images if not is_val(image.name, self.val_share)],
            "val": [image for image in images if is_val(image.name, self.val_share)],
        }
        if not split["val"] or (not split["train"] and self.val_share < 1):
            raise FssegError(
                f"{self._files[0].name} has {len(images)} images, too few for a train and a val split. Give "
                "`data.dataset.val_annotations` FILE, or another `data.dataset.val_share`."
            )
        return split


def _found(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file():
        found = [*root.glob("*.json"), *root.glob("annotations/*.json")] if root.is_dir() else []
        others = sorted(str(p.relative_to(root)) for p in found)[:3]
        hint = export_hint(root) or (f" Found: {', '.join(others)}." if others else "")
        raise FssegError(f"{path} is missing: give the annotation file by `data.dataset.annotations`.{hint}")
    return path.resolve()


def _roboflow(root: Path) -> list[str] | None:
    """Folders of Roboflow's splits, train first; None if the root has another layout."""
    there = [name for name in ("train", "valid", "test") if (root / name / _ROBOFLOW).is_file()]
    return there or None


def _folder(root: Path, name: str) -> Path:
    return root / name if (root / name).is_dir() else root
