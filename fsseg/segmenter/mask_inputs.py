"""Masks of a segmenter's supports from arrays, boxes, annotations or files, as labels."""

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from torch import Tensor

from fsseg.datasets.boxes import Box, box_mask
from fsseg.datasets.export_formats import ENDINGS, annotation_of, painted, refuse_unread
from fsseg.datasets.export_images import ExportImage
from fsseg.datasets.folder_layout import SCRIBBLE
from fsseg.episode import BACKGROUND, IGNORE, ClassMap, Image, Mask, void_of
from fsseg.errors import FssegError
from fsseg.files.annotation_json import shapes_of
from fsseg.files.mask_regions import region_of, region_of_greys
from fsseg.files.masks import labels_of, read_labels, read_region, read_scribble
from fsseg.segmenter.inputs import Given, naming, to_array

BOX = re.compile(r"^\d+(\.\d+)?(,\d+(\.\d+)?){3}$", re.ASCII)
_CONTENT = "given as a dict"

# A mask: a file, a PIL image, an array, a tensor, a box ``(left, top, right, bottom)``, or the content of a JSON.
GivenMask = Given | Sequence[Any] | Mapping[str, Any]


def as_masks(images: Sequence[Image], sources: Sequence[Any], masks: Any, names: Sequence[str]) -> list[Mask]:
    """Labels of each image, see `mask_of`.

    Args:
        images: the images.
        sources: images as given.
        masks: one per image: a list, or a stacked array or tensor; or the mask of the only image.
        names: of the classes; none if each marked pixel has the label 1.

    Raises:
        FssegError: there is not one mask per image, or see `mask_of`.
    """
    each = _as_list(masks, len(images))
    if len(images) != len(each) or not images:
        raise FssegError(f"`masks`: {len(images)} images and {len(each)} masks: give one mask per image.")
    found = []
    for place, (image, source, mask) in enumerate(zip(images, sources, each, strict=True)):
        with naming("masks" if len(each) == 1 else f"masks[{place}]", mask):
            found.append(mask_of(mask, source, (image.shape[0], image.shape[1]), names))
    return found


def _as_list(masks: Any, count: int) -> list[Any]:
    if isinstance(masks, list | tuple) and not _is_box(masks):
        return list(masks)
    if isinstance(masks, np.ndarray | Tensor) and masks.ndim >= 3 and len(masks) == count:
        return list(masks)
    return [masks]


def mask_of(given: Any, source: Any, size: tuple[int, int], names: Sequence[str]) -> Mask:
    """A mask as labels ``H W``, see `as_labels`.

    Args:
        given: see `GivenMask`; a file is an image, ``.npy``, scribbles (``NAME.scribble.png``: 1, 0, 255 unlabelled) or
            annotations (labelme, CVAT, Label Studio, YOLO, COCO).
        source: the image as given; in annotations of several images, that of this file counts.
        size: ``(H, W)`` of the image.
        names: of the classes; none if each marked pixel has the label 1.

    Raises:
        FssegError: a file is broken, of another program, or shows no class; see `box_labels` and `as_labels`.
    """
    if isinstance(given, str) and BOX.match(given) and not Path(given).is_file():
        given = [float(value) for value in given.split(",")]
    if isinstance(given, Mapping):
        shapes = shapes_of(Path(_CONTENT), given)
        content = ExportImage((_CONTENT,), shapes.shapes, shapes.size, _CONTENT, Path(_CONTENT))
        return painted(content, names, size, others=True)
    if _is_box(given):
        if len(names) > 1:
            raise FssegError(f"a box marks one class, but {len(names)} classes are named. Give a mask of labels.")
        return box_labels([float(value) for value in given], f"box {tuple(given)}", size)
    if isinstance(given, str | PathLike):
        path = Path(given)
        if path.suffix.lower() in ENDINGS:
            image = Path(source) if isinstance(source, str | PathLike) else Path("an array")
            return painted(annotation_of(path, image), names, size, others=True)
        refuse_unread(path)
        if path.name.endswith(SCRIBBLE) and len(names) <= 1:
            return scribble_labels(path)
    return as_labels(given, max(1, len(names)), size)


def _is_box(given: Any) -> bool:
    """Whether four numbers are given."""
    if isinstance(given, np.ndarray | Tensor):
        return given.ndim == 1 and len(given) == 4
    numbers = (int, float, np.integer, np.floating)
    return isinstance(given, list | tuple) and len(given) == 4 and all(isinstance(value, numbers) for value in given)


def box_labels(corners: Sequence[float], name: str, size: tuple[int, int]) -> Mask:
    """Labels ``H W`` of a box: 1 inside, 0 outside.

    Args:
        corners: left, top, right and bottom in pixels.
        name: of the box, for errors.
        size: ``(H, W)`` of the image.

    Raises:
        FssegError: the box is empty, lies outside of the image, or is in fractions of the image.
    """
    height, width = size
    if min(corners) >= 0 and max(corners) <= 1:
        scaled = ",".join(str(round(value * side)) for value, side in zip(corners, (width, height) * 2, strict=True))
        raise FssegError(f"{name}: pixels are needed, not fractions of the image. Did you mean {scaled}?")
    if not all(np.isfinite(corners)):
        raise FssegError(f"{name}: finite numbers are needed.")
    left, top, right, bottom = (round(value) for value in corners)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise FssegError(f"{name}: LEFT,TOP,RIGHT,BOTTOM within its {width}x{height} pixels is needed.")
    return box_mask(size, [Box(top, left, bottom, right, (bottom - top) * (right - left))], 1)


def scribble_labels(path: Path) -> Mask:
    """Labels of a file of scribbles.

    Raises:
        FssegError: no pixel has the label of the class.
    """
    labels = read_scribble(path)
    if not (labels == 1).any():
        raise FssegError(f"mask {path} is empty: no scribble has the label 1 of the class. Paint the object.")
    return labels


def as_labels(given: Given, classes: int, size: tuple[int, int]) -> Mask:
    """A mask as labels ``H W``: 0 background, 1..N classes, 255 unlabelled.

    For one class, `fsseg.files.mask_regions` describes which pixels belong to it: nonzero, white or opaque ones; 255
    beside another label is unlabelled. For several classes, the values are the positions of the classes, from 1.

    Args:
        given: a file, a PIL image, an array or a tensor ``H W``, ``H W 1`` or ``1 H W``.
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
    if not isinstance(given, np.ndarray | Tensor | list | tuple):
        raise FssegError(
            f"{type(given).__name__} is no mask: give a file, a PIL image, an array, a tensor, a box "
            "(left, top, right, bottom), or a dict of boxes and points."
        )
    array = to_array(given)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise FssegError(f"a mask of shape {array.shape}: H W, H W 1 or 1 H W is needed.")
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.uint16:
        return array
    numbers = array.dtype.kind in "iuf" and array.size > 0
    integers = numbers and (array.dtype.kind != "f" or bool((array == np.rint(array)).all()))
    if not integers or array.size == 0 or array.min() < 0 or array.max() > IGNORE:
        raise FssegError(f"a mask of {array.dtype} has other values than integers in 0..255. Give uint8 or uint16.")
    return array.astype(np.uint8)


def _name(given: Given) -> str:
    return f"mask {given}" if isinstance(given, str | PathLike) else "the mask"
