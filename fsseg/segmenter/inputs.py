"""Conversion of images and masks from arrays, tensors, PIL images or files."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from fsseg.datasets.export_formats import ENDINGS, annotation_of, painted, refuse_unread
from fsseg.episode import BACKGROUND, IGNORE, ClassMap, Image, Mask, label_table, void_of
from fsseg.errors import FssegError
from fsseg.files.images import is_deep, opaque, read_image, scaled
from fsseg.files.mask_regions import region_of, region_of_greys
from fsseg.files.masks import labels_of, read_labels, read_region
from fsseg.untrusted.text import is_line

# An image or a mask: a file, a PIL image, an array or a tensor.
Given = str | PathLike[str] | PIL.Image.Image | npt.NDArray[Any] | Tensor

_RGB, _RGBA = 3, 4
_LEAST = 8  # pixels of a side, as in `fsseg.limits`


def as_image(given: Given) -> Image:
    """An RGB image ``H W 3``, 0..255.

    Args:
        given: a file or a PIL image, rotated by its EXIF tag and, if grey of 16 or 32 bits, scaled by its own range. Or
            an array ``H W``, ``H W 3`` or ``H W 4``, or a tensor ``3 H W``, of uint8 or of floats in
            0..1. Transparent pixels become white.

    Raises:
        FssegError: the input is no image, or has a side below 8 pixels.
    """
    if isinstance(given, str | PathLike):
        image = read_image(Path(given), upright=True, on_white=True, bits=0)
    elif isinstance(given, PIL.Image.Image):
        if given.mode == "F":
            raise FssegError(f"an image has {given.mode} pixels; 8 bits a channel are needed. Convert the image.")
        upright = PIL.ImageOps.exif_transpose(given)
        image = scaled(upright, "an image") if is_deep(upright) else np.asarray(opaque(upright).convert("RGB"))
    elif isinstance(given, np.ndarray | Tensor):
        image = _pixels(given)
    else:
        raise FssegError(f"{type(given).__name__} is no image: give a file, a PIL image, an array or a tensor.")
    if min(image.shape[:2]) < _LEAST:
        what = f"image {given}" if isinstance(given, str | PathLike) else "an image"
        raise FssegError(f"{what} has {image.shape[1]}x{image.shape[0]} pixels; give at least {_LEAST}x{_LEAST}.")
    return image


def _pixels(given: Any) -> Image:
    array = _array(given.movedim(0, -1) if isinstance(given, Tensor) and given.ndim == 3 else given)
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], _RGB, axis=2)
    if array.ndim != 3 or array.shape[2] not in (_RGB, _RGBA) or not array.size:
        wanted = "3 H W is needed" if isinstance(given, Tensor) else "H W, H W 3 or H W 4 is needed"
        raise FssegError(f"an image of shape {tuple(getattr(given, 'shape', ()))}: {wanted}.")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise FssegError("an image of floats has values outside 0..1. Give uint8, or floats in 0..1.")
        array = np.rint(255 * array).astype(np.uint8)
    if array.dtype != np.uint8:
        raise FssegError(f"an image of {array.dtype}: give uint8, or floats in 0..1.")
    return np.asarray(opaque(PIL.Image.fromarray(np.ascontiguousarray(array))).convert("RGB"))


def as_labels(given: Given, classes: int, size: tuple[int, int]) -> Mask:
    """A mask as labels ``H W``: 0 background, 1..N classes, 255 unlabelled.

    For one class, `fsseg.files.mask_regions` describes which pixels belong to it: nonzero, white or opaque ones; 255
    beside another label is unlabelled. For several classes, the values are the positions of the classes, from 1.

    Args:
        given: a file, a PIL image, an array or a tensor ``H W`` (or ``1 H W``).
        classes: number of classes.
        size: ``(H, W)`` of the image.

    Raises:
        FssegError: the mask has another size, invalid values, an ambiguous format, or no pixel of a class.
    """
    labels = _region(given) if classes == 1 else _labels(given)
    if labels.shape != size:
        turned = " Is one of them rotated (EXIF)?" if labels.shape == size[::-1] else ""
        raise FssegError(
            f"{_name(given)} is {labels.shape[1]}x{labels.shape[0]}, its image {size[1]}x{size[0]}.{turned} Resize one."
        )
    void = void_of(labels)
    found = [int(value) for value in np.unique(labels) if value not in (BACKGROUND, void)]
    if found and found[-1] > classes:
        raise FssegError(f"{_name(given)} holds the value {found[-1]}, but {classes} classes are named. Fix one.")
    if not found:
        raise FssegError(f"{_name(given)} is empty: no pixel is marked. Mark the object.")
    return np.where(labels == void, IGNORE, labels).astype(np.uint8)


def _region(given: Given) -> Mask:
    if isinstance(given, str | PathLike):
        return read_region(Path(given))
    if isinstance(given, PIL.Image.Image):
        return region_of(given, "the mask")
    return region_of_greys(_values(given), "the mask", mostly_open=True)


def _labels(given: Given) -> ClassMap:
    if isinstance(given, str | PathLike):
        return read_labels(Path(given))
    return labels_of(given, "the mask") if isinstance(given, PIL.Image.Image) else _values(given)


def _values(given: Given) -> ClassMap:
    array = _array(given)
    array = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    if array.ndim != 2:
        raise FssegError(f"a mask of shape {array.shape}: H W is needed.")
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.uint16:
        return array
    numbers = array.dtype.kind in "iuf" and array.size > 0
    integers = numbers and (array.dtype.kind != "f" or bool((array == np.rint(array)).all()))
    if not integers or array.size == 0 or array.min() < 0 or array.max() > IGNORE:
        raise FssegError(f"a mask of {array.dtype} has other values than integers in 0..255. Give uint8 or uint16.")
    return array.astype(np.uint8)


def _array(given: Any) -> npt.NDArray[Any]:
    if isinstance(given, Tensor):
        values = given.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # numpy has no bfloat16
    return np.asarray(given)


def _name(given: Given) -> str:
    return f"mask {given}" if isinstance(given, str | PathLike) else "the mask"


def as_list(given: Given | Sequence[Given], several: int) -> list[Given]:
    """One or several images or masks as a list.

    Args:
        given: one, a sequence, or a stacked array or tensor.
        several: number of dimensions of a stacked array or tensor.
    """
    if isinstance(given, list | tuple) or (isinstance(given, np.ndarray | Tensor) and given.ndim == several):
        return list(given)
    return [given]  # type: ignore[list-item]


def to_tensor(image: Image) -> Tensor:
    """An image as a tensor ``3 H W``."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def as_names(classes: str | Sequence[str]) -> list[str]:
    """Names of classes as a list.

    Raises:
        FssegError: there is no name, a name is repeated, or a name is not one line of text.
    """
    names = [classes] if isinstance(classes, str) else list(classes) if isinstance(classes, list | tuple) else []
    if not names or not all(is_line(name) and name for name in names) or len(set(names)) < len(names):
        raise FssegError(f"classes {classes!r}: give names, each once, and each one line of text.")
    return names


def as_masks(images: Sequence[Image], masks: Sequence[Given], classes: int) -> list[Mask]:
    """Labels of each image, see `as_labels`.

    Raises:
        FssegError: there is not one mask per image, or see `as_labels`.
    """
    if len(images) != len(masks) or not images:
        raise FssegError(f"{len(images)} images and {len(masks)} masks: give one mask per image.")
    return [as_labels(mask, classes, image.shape[:2]) for mask, image in zip(masks, images, strict=True)]


def painted_files(
    given: Sequence[Given], images: Sequence[Image], masks: Sequence[Given], names: Sequence[str]
) -> list[Given]:
    """Masks, of which files of annotations (labelme, CVAT, Label Studio, YOLO, COCO) are painted.

    Args:
        given: images as given; a file of several images' annotations is searched for the file of the image.
        images: the images.
        masks: masks as given.
        names: of the classes; shapes of others are background.

    Raises:
        FssegError: a file is broken, of another program, or shows no class of the image.
    """
    found = list(masks)
    for place, (source, image, mask) in enumerate(zip(given, images, masks, strict=False)):
        if isinstance(mask, str | PathLike) and Path(mask).suffix.lower() in ENDINGS:
            path = Path(source) if isinstance(source, str | PathLike) else Path("an array")
            height, width = image.shape[:2]
            found[place] = painted(annotation_of(Path(mask), path), names, (height, width), others=True)
        elif isinstance(mask, str | PathLike):
            refuse_unread(Path(mask))
    return found


def relabelled(labels: Mask, table: dict[int, int]) -> Mask:
    """Labels replaced by a table. 0 and 255 stay; labels outside the table become background."""
    return label_table(table)[labels]
