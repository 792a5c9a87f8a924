"""Custom data set: a folder as a labelling program leaves it.

- labelme: a JSON file beside each image, see `fsseg.datasets.labelme`.
- CVAT for images 1.1: ``annotations.xml`` and images, see `fsseg.datasets.cvat`.
- Label Studio's JSON and images, see `fsseg.datasets.label_studio`.
- YOLO's segments: ``data.yaml``, ``labels/`` and ``images/``, see `fsseg.datasets.yolo`.

COCO files are read by `fsseg.datasets.coco_json`, masks by `fsseg.datasets.folder`.
"""

from collections.abc import Sequence
from math import ceil, floor, hypot
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools import mask as rle

from fsseg.datasets.boxes import Box
from fsseg.datasets.coco_annotations import AnnotatedImage
from fsseg.datasets.custom import CustomDataset, Folds, check_bits, check_share, is_val
from fsseg.datasets.export_formats import find_export, read_export
from fsseg.datasets.export_images import ExportImage, ImageIndex
from fsseg.datasets.mask_store import ImageRegions, Regions, load, pack, store
from fsseg.datasets.overlapping import RegionDataset, image_names, uncollected
from fsseg.disk_cache import cache_folder, fingerprint
from fsseg.episode import void_of
from fsseg.errors import FssegError
from fsseg.files.images import depth_note, image_header
from fsseg.files.marks import Mark, is_class, marks_of, objects_of
from fsseg.files.run_lengths import Code, encode
from fsseg.progress import tracked
from fsseg.protocols.protocol import SPLITS, Split

_FORMAT = 1  # version of the cache; increase it when shapes are painted or read in another way


class _Found(NamedTuple):
    """An image of the export and its file."""

    path: Path
    image: ExportImage


class LabellingExport(RegionDataset, CustomDataset):
    """A folder as labelme, CVAT, Label Studio or a program for YOLO leaves it.

    Images are rotated upright by their EXIF tags, as labelling programs show them. Classes may overlap.

    Args:
        images: folder of the images in the root folder, if they are not where the program puts them.
        folds: number of folds, or the names of each fold's novel classes. None: up to four folds. 0: no class is novel,
            so that a training has all classes.
        val_share: share of the images in the val split, chosen by name, if the export has no splits; 1 for testing
            only.
        bits: bits of grey images of more than 8 bits, such as 12 or 16; 0 scales each image by its own range.

    Raises:
        FssegError: an argument is out of range.
    """

    name = "labelling export"
    full = True
    upright = True

    def __init__(
        self, images: str | None = None, folds: Folds | None = None, val_share: float = 0.3, bits: int = 0
    ) -> None:
        check_share(val_share)
        check_bits(bits)
        self.images, self.asked_folds, self.val_share, self.bits = images, folds, val_share, bits

    def open(self, root: Path | None) -> None:
        """Map the cached regions, or read the export and cache its regions.

        Raises:
            FssegError: no export, a broken one, or an image is missing or has another size.
        """
        files = self._find(root)
        options = (_FORMAT, self.val_share, self.bits, str(self._folders["train"]))
        cache = cache_folder() / f"labelling-export-{fingerprint(files, *options)}"
        try:
            self._regions = load(cache)
        except (OSError, ValueError):  # no cache yet, or a truncated one
            self._regions = store(self._scan(self._read()), cache)
        self.index = self._regions.index
        self._set_classes(self._regions.class_names, self.asked_folds, str(self._root))
        self.weak = frozenset(np.flatnonzero(self._regions.arrays["weak"]).tolist())
        weak = f"images with weak masks, used as supports only: {len(self.weak):,}" if self.weak else ""
        self.note = "; ".join(filter(None, [self._regions.note, weak]))
        if not self.index.pixels[:, 1:].any():
            raise FssegError(f"{self._root}: none of its shapes covers a pixel. Annotate regions, and export again.")

    def locate(self, root: Path | None) -> None:
        """Read the export without painting masks.

        Raises:
            FssegError: no export, or a broken one.
        """
        self._find(root)
        found = self._read()
        sizes = {split: [_annotated(self._folders[split], each) for each in listed] for split, listed in found.items()}
        self._place(sizes)
        self._found = [each for split in SPLITS for each in found[split]]

    def check(self, number: int) -> None:
        """Read and check an image and its shapes, after `locate`.

        Raises:
            FssegError: the image is missing or truncated, its size is wrong, or a shape is malformed.
        """
        self.image(number)
        each = self._found[number]
        _regions(each, image_header(each.path, self.upright).size, self._ids)

    def _find(self, root: Path | None) -> list[Path]:
        """Files with annotations."""
        if root is None:
            raise FssegError("LabellingExport needs `data.root` DIR (or FSSEG_DATA_ROOT), the folder of the export.")
        if not root.is_dir():
            raise FssegError(f"`data.root` {root}: no such folder.")
        self._root, self.name = root, root.resolve().name
        self._folders = dict.fromkeys(SPLITS, root if self.images is None else root / self.images)
        found = find_export(root)
        if found is None and (root / "annotations.json").is_file():
            raise FssegError(f"{root} has annotations.json: its data set is coco_json (CocoJson).")
        return found[1] if found else []

    @uncollected()
    def _read(self) -> dict[Split, list[_Found]]:
        """Images of each split; sets classes and note."""
        export = read_export(self._root)
        shapes = [shape for image in export.images for shape in image.shapes]
        used = {shape.label for shape in shapes if is_class(shape.label)}
        if not used:
            raise FssegError(f"{self._root}: no shape has the name of a class. Annotate regions, and export again.")
        listed = [label for label in dict.fromkeys(export.labels) if label in used]
        self._set_classes([*listed, *sorted(used - set(listed))], self.asked_folds, str(self._root))
        self._ids = {name: c for c, name in enumerate(self.class_names, 1)}
        self.note = "; ".join(filter(None, [f"annotations of {export.program}", export.note]))
        index = ImageIndex(self._folders["train"])
        found = [_Found(index.find(image), image) for image in export.images]
        paths = [each.path for each in found]
        if len(set(paths)) < len(paths):
            twice = next(path for i, path in enumerate(paths) if path in paths[:i])
            raise FssegError(f"{self._root}: image {twice} is annotated twice. Keep one.")
        return self._split(found)

    def _split(self, found: Sequence[_Found]) -> dict[Split, list[_Found]]:
        given = {each.image.split for each in found}
        split: dict[Split, list[_Found]] = {"train": [], "val": []}
        for each in sorted(found, key=lambda each: each.path):
            name = each.path.relative_to(self._folders["train"]).as_posix()
            by_name: Split = "val" if is_val(name, self.val_share) else "train"
            split[(each.image.split or "train") if len(given) > 1 else by_name].append(each)
        if not split["val"] or (not split["train"] and self.val_share < 1):
            raise FssegError(
                f"{self._root} has {len(found)} images, too few for a train and a val split. Give another "
                "`data.dataset.val_share`."
            )
        return split

    def _scan(self, found: dict[Split, list[_Found]]) -> Regions:
        images, annotated, deep = [], {}, 0
        for split, listed in found.items():
            annotated[split] = [_annotated(self._folders[split], each) for each in listed]
            for each in tracked(listed, f"masks of {len(listed):,} {split} images"):
                header = image_header(each.path, self.upright)
                deep += header.deep
                name = each.path.relative_to(self._folders[split]).as_posix()
                images.append(_regions(each, header.size, self._ids)._replace(name=name))
        labels = image_names(annotated, self._folders)
        images = [image._replace(label=label) for image, label in zip(images, labels, strict=True)]
        note = "; ".join(filter(None, [self.note, depth_note(deep, self.bits or 0)]))
        return pack(images, len(found["train"]), self.class_names, note)


def _annotated(folder: Path, each: _Found) -> AnnotatedImage:
    """Name and size of an image, for its name in tables."""
    return AnnotatedImage(each.path.relative_to(folder).as_posix(), 1, 1, [])


def _regions(each: _Found, size: tuple[int, int], ids: dict[str, int]) -> ImageRegions:
    """Regions of the classes of an image, which may overlap, and boxes of its objects."""
    marks = marks_of(each.image.where, each.image.shapes_on(size), ids, each.image.size)
    marks.check(*size)
    codes: dict[int, Code] = {}
    for class_id in sorted({mark.label for mark in marks.marks} & set(ids.values())):
        painted = marks.paint(*size, only=class_id)
        for kind, label in ((class_id, class_id), (-class_id, void_of(painted))):
            if (region := painted == label).any():
                codes[kind] = encode(region)
    boxes = [(part[0].label, _box(part, size)) for part in objects_of(marks.marks) if part[0].label in codes]
    found = [(class_id, box) for class_id, box in boxes if box is not None]
    return ImageRegions("", *size, codes, found, (), 0, marks.weak)


def _box(parts: Sequence[Mark], size: tuple[int, int]) -> Box | None:
    """The box of an object from its points, and the area of the box; None outside of the image."""
    height, width = size
    xs, ys = [], []
    for part in parts:
        points = part.points
        if part.kind == "circle":
            radius = hypot(points[1][0] - points[0][0], points[1][1] - points[0][1])
            points = [(x + s * radius, y + s * radius) for x, y in points[:1] for s in (-1, 1)]
        if part.region is not None:
            left, top, columns, rows = (float(value) for value in rle.toBbox(part.region))
            if not columns:
                continue
            points = [(points[0][0] + left, points[0][1] + top)]
            points.append((points[0][0] + columns, points[0][1] + rows))
        xs += [x for x, _ in points]
        ys += [y for _, y in points]
    if not xs:
        return None
    left, top = max(floor(min(xs)), 0), max(floor(min(ys)), 0)
    right, bottom = min(max(ceil(max(xs)), left + 1), width), min(max(ceil(max(ys)), top + 1), height)
    return Box(top, left, bottom, right, (bottom - top) * (right - left)) if bottom > top and right > left else None
