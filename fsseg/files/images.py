"""Reads images from files; every error names the file."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps

from fsseg.episode import Image
from fsseg.errors import FssegError, UnreadableError
from fsseg.files.decoders import decoders, installation
from fsseg.machine_errors import machine_error
from fsseg.untrusted.text import shown

_ORIENTATION, _SWAPPED = 0x0112, 5  # EXIF orientation tag (EXIF 2.3, 4.6.4); values from 5 on swap height and width
_QUOTE = 200  # characters of a library's error message


@contextmanager
def opened(path: Path | io.BytesIO, what: str) -> Iterator[PIL.Image.Image]:
    """Context with an opened image file, which Pillow decodes on first use; errors call the file ``what path``.

    Raises:
        UnreadableError: the file is missing or broken, or its format is not supported here.
    """
    try:
        with PIL.Image.open(path, formats=decoders()) as picture:
            yield picture
    except FssegError:
        raise
    except IsADirectoryError as error:
        raise UnreadableError(f"{what} {path} is a folder. Give one of the files in it.") from error
    except FileNotFoundError as error:
        raise UnreadableError(f"{what} {path} is missing. Put it there, or take its name out of the list.") from error
    except Exception as error:  # PIL raises nearly anything on a broken file
        if isinstance(error, OSError) and (fault := machine_error(error)):
            raise fault from error
        reason = shown(str(error))[:_QUOTE] or type(error).__name__
        fix = installation(Path(str(path))) or "Replace the file."
        raise UnreadableError(f"{what} {path} cannot be decoded ({reason}). {fix}") from error


class Header(NamedTuple):
    """Facts of an image file's header.

    Attributes:
        size: ``(height, width)``.
        deep: whether it is a grey image of more than 8 bits.
    """

    size: tuple[int, int]
    deep: bool


def read_image(
    path: Path | io.BytesIO, upright: bool = False, on_white: bool = False, bits: int | None = None
) -> Image:
    """Read an image file as RGB.

    Args:
        path: of the file; or its bytes, as an object whose ``str`` is a name for errors.
        upright: rotate the image by its EXIF tag; the official codes do not.
        on_white: transparent pixels become white; otherwise they keep the colour stored in the file.
        bits: how a grey image of 16 or 32 bits becomes one of 8 bits: 0 scales its own range to 0..255, ``n`` scales
            0..2^n - 1. None refuses the image.

    Raises:
        FssegError: the file is missing, truncated or no image, or has other pixels than ``bits`` allows.
    """
    with opened(path, "image") as picture:
        if picture.mode == "F" or (is_deep(picture) and bits is None):
            raise FssegError(f"image {path} has {picture.mode} pixels; 8 bits a channel are needed. Convert it.")
        turned = PIL.ImageOps.exif_transpose(picture) if upright else picture
        if is_deep(turned):
            return scaled(turned, f"image {path}", bits or 0)
        if on_white:
            turned = opaque(turned)
        return np.asarray(turned if turned.mode == "RGB" else turned.convert("RGB"))


def opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """An image on white ground, if it has transparency; otherwise the image itself."""
    if not picture.has_transparency_data:
        return picture
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))


def image_size(path: Path | io.BytesIO, upright: bool = False) -> tuple[int, int]:
    """``(height, width)`` of an image file, see `image_header`."""
    return image_header(path, upright).size


def image_header(path: Path | io.BytesIO, upright: bool = False) -> Header:
    """Size and depth of an image file, read from its header.

    Args:
        path: of the file, or its bytes, see `read_image`.
        upright: the size after rotation by the EXIF tag, see `read_image`.

    Raises:
        FssegError: the file is missing or no image.
    """
    with opened(path, "image") as picture:
        width, height = picture.size  # of a TIFF after its rotation, which Pillow does itself
        if upright and picture.format != "TIFF" and picture.getexif().get(_ORIENTATION, 1) >= _SWAPPED:
            width, height = height, width
        return Header((height, width), is_deep(picture))


def has_transparency(path: Path) -> bool:
    """Whether an image file has transparent pixels, read from its header: an alpha channel or a transparent colour.

    Raises:
        FssegError: the file is missing or no image.
    """
    with opened(path, "image") as picture:
        return bool(picture.has_transparency_data)


def is_deep(picture: PIL.Image.Image) -> bool:
    """Whether an image is grey with more than 8 bits."""
    return picture.mode.startswith("I")


def depth_note(count: int, bits: int = 0) -> str:
    """Note on grey images of more than 8 bits; empty if there is none."""
    how = f"{bits} bits" if bits else "its own range"
    images = "1 grey image" if count == 1 else f"{count:,} grey images"
    return f"{images} of more than 8 bits: each is scaled by {how}" if count else ""


def scaled(picture: PIL.Image.Image, name: str, bits: int = 0) -> Image:
    """A grey image of 16 or 32 bits as RGB of 8 bits.

    Args:
        picture: the image.
        name: names it in an error.
        bits: see `read_image`.

    Raises:
        FssegError: a value does not fit into the bits.
    """
    values = np.asarray(picture).astype(np.float64)
    low, high = (0.0, 2.0**bits - 1) if bits else (values.min(), values.max())
    if values.min() < low or values.max() > high:
        raise FssegError(
            f"{name} holds {values.min():.0f} to {values.max():.0f}; {bits} bits are 0 to {high:.0f}. Give more "
            "`data.dataset.bits`, or 0 for the range of each image."
        )
    grey = np.rint((values - low) * (255 / max(high - low, 1))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
