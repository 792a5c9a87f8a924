"""Conversion of images and masks from arrays, tensors, PIL images or files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from fsseg.episode import Image, Mask, label_table
from fsseg.errors import FssegError
from fsseg.files.images import is_deep, opaque, read_image, scaled
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
    array = to_array(given.movedim(0, -1) if isinstance(given, Tensor) and given.ndim == 3 else given)
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


def to_array(given: Any) -> npt.NDArray[Any]:
    """An array or a tensor as an array."""
    if isinstance(given, Tensor):
        values = given.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # numpy has no bfloat16
    return np.asarray(given)


@contextmanager
def naming(argument: str, given: object) -> Iterator[None]:
    """Errors that name an argument, unless they name its file."""
    try:
        yield
    except FssegError as error:
        if isinstance(given, str | PathLike):
            raise
        raise type(error)(f"`{argument}`: {error}") from error


def as_images(given: Given | Sequence[Given]) -> list[Image]:
    """Images of the argument ``images``: one, a sequence, or a stacked array or tensor.

    Raises:
        FssegError: see `as_image`; the error names the argument.
    """
    found: list[Image] = []
    for place, image in enumerate(as_list(given, 4)):
        with naming(f"images[{place}]" if isinstance(given, list | tuple) else "images", image):
            found.append(as_image(image))
    return found


def as_list(given: Given | Sequence[Given], several: int) -> list[Given]:
    """One or several images as a list.

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
        FssegError: there is no name, a name is repeated or "background", or a name is not one line of text.
    """
    names = [classes] if isinstance(classes, str) else list(classes) if isinstance(classes, list | tuple) else []
    if not names or not all(is_line(name) and name for name in names) or len(set(names)) < len(names):
        raise FssegError(f"`classes` {classes!r}: give names, each once, and each one line of text.")
    if "background" in names:
        raise FssegError("`classes`: background is no class. Give another name, or use reject for what is no class.")
    return names


def relabelled(labels: Mask, table: dict[int, int]) -> Mask:
    """Labels replaced by a table. 0 and 255 stay; labels outside the table become background."""
    return label_table(table)[labels]
