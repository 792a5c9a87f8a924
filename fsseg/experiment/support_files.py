"""Supports and negative images of `fsseg predict`, and their masks from files."""

from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsseg.datasets.export_formats import ENDINGS, ONE, annotation_of, classes_in, find_export, painted, read_export
from fsseg.datasets.export_images import ExportImage, ImageIndex
from fsseg.datasets.folder_layout import SCRIBBLE
from fsseg.episode import IGNORE, Mask, void_of
from fsseg.errors import FssegError
from fsseg.files.decoders import is_image
from fsseg.files.images import has_transparency, image_size
from fsseg.files.masks import read_labels, read_region
from fsseg.segmenter.mask_inputs import BOX, as_labels, box_labels, scribble_labels

DEFAULT = "object"  # class of supports without a class name
_EXPORTS = (".json", ".xml", ".yaml", ".yml")  # of files that list images


class Shown(NamedTuple):
    """A support or a negative image of the command line.

    Attributes:
        classes: Class names; several if the mask is a label map, none for a negative image.
        image: File of the image.
        mask: File of its mask, or a box; None if every pixel counts.
        value: Value of the class in a label map of several classes.
        drawn: Its shapes, if it belongs to the export of a labelling program.
    """

    classes: tuple[str, ...]
    image: Path
    mask: str | None
    value: int | None = None
    drawn: ExportImage | None = None

    def labels(self) -> Mask:
        """The mask ``H W`` for `fsseg.Segmenter.learn`.

        Raises:
            FssegError: The mask is missing or broken, or a box lies outside of the image.
        """
        size = image_size(self.image, upright=True)
        if self.mask is None:
            return np.ones(size, dtype=np.uint8)
        if BOX.match(self.mask):
            return box_labels([*map(float, self.mask.split(","))], f"box {self.mask} on {self.image}", size)
        path = Path(self.mask)
        if path.suffix.lower() in ENDINGS:
            return self._marked(path, size)
        if self.value is not None:
            return _chosen(path, self.value)
        if len(self.classes) > 1:
            return as_labels(path, len(self.classes), size)
        return scribble_labels(path) if path.name.endswith(SCRIBBLE) else read_region(path)

    def _marked(self, path: Path, size: tuple[int, int]) -> Mask:
        """Mask from annotations. In a negative image every shape counts, whatever its label."""
        found = self.drawn or annotation_of(path, self.image)
        try:
            return painted(found, self.classes, size, self.drawn is not None or read_export(path).program != ONE)
        except FssegError as error:
            hint = " Name the class in front: CLASS=IMAGE:MASK." if self.classes == (DEFAULT,) else ""
            raise FssegError(f"{error}{hint}") from error


def _chosen(path: Path, value: int) -> Mask:
    """Mask of one value in a label map."""
    labels = read_labels(path)
    void = void_of(labels)
    if value == void:
        raise FssegError(f"mask {path}: {value} marks ignored pixels. In a black and white mask, leave :{value} out.")
    if not (labels == value).any():
        found = ", ".join(map(str, np.unique(labels)[:10].tolist()))
        raise FssegError(f"mask {path} holds no pixel of {value}; it has {found}. Give one of them.")
    return np.where(labels == void, np.uint8(IGNORE), labels == value).astype(np.uint8)


def exported(place: Path, classes: Sequence[str]) -> list[Shown]:
    """The images of an export that show a class.

    Args:
        place: Folder of a labelling program, or its file that lists images.
        classes: Names of classes, the others are background; the default alone stands for all classes.

    Raises:
        FssegError: No export, a broken one, an image is missing, or no shape has the name of a class.
    """
    export = read_export(place)
    index = ImageIndex(place if place.is_dir() else place.parent)
    wanted = () if tuple(classes) == (DEFAULT,) else classes
    shown = [(image, classes_in(image, wanted)) for image in export.images]
    found = [
        Shown(tuple(names), _beside(place, image) or index.find(image), str(image.file), None, image)
        for image, names in shown
        if names
    ]
    if not found:
        there = sorted({name for image in export.images for name in classes_in(image)})
        raise FssegError(
            f"{place} has no shape of {', '.join(wanted) or 'a class'}; its classes are {', '.join(there) or 'none'}."
        )
    return found


def _beside(place: Path, image: ExportImage) -> Path | None:
    """The only image with the name of a file of one image, which may not name it."""
    if image.names != (place.stem,):
        return None
    there = [path for path in place.parent.glob(f"{escape(place.stem)}.*") if is_image(path)]
    return there[0] if len(there) == 1 else None


def is_export(path: Path) -> bool:
    """Whether a path is a labelling program's folder, or a file that may list images."""
    if path.is_dir():
        return find_export(path) is not None
    return path.is_file() and path.suffix.lower() in _EXPORTS


def with_classes(shown: Shown) -> Shown:
    """A support whose mask is a file of several images' annotations, with the classes there if none were named."""
    path = Path(shown.mask or "")
    if shown.classes != (DEFAULT,) or path.suffix.lower() not in ENDINGS or read_export(path).program == ONE:
        return shown
    names = classes_in(annotation_of(path, shown.image))
    return shown._replace(classes=tuple(names)) if names and DEFAULT not in names else shown


def is_cut_out(path: Path) -> bool:
    """Whether an image is its own mask: an object on a transparent background."""
    return path.is_file() and path.suffix.lower() in (".png", ".webp", ".tif", ".tiff") and has_transparency(path)
