"""Reads images from files; every error names the file."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    except FileNotFoundError as error:
        raise UnreadableError(f"{what} {path} is missing. Put it there, or take its name out of the list.") from error
    except Exception as error:  # PIL raises nearly anything on a broken file
        if isinstance(error, OSError) and (fault := machine_error(error)):
            raise fault from error
        reason = shown(str(error))[:_QUOTE] or type(error).__name__
        fix = installation(Path(str(path))) or "Replace the file."
        raise UnreadableError(f"{what} {path} cannot be decoded ({reason}). {fix}") from error


def read_image(path: Path | io.BytesIO, upright: bool = False, on_white: bool = False) -> Image:
    """Read an image file as RGB.

    Args:
        path: of the file; or its bytes, as an object whose ``str`` is a name for errors.
        upright: rotate the image by its EXIF tag; the official codes do not.
        on_white: transparent pixels become white; otherwise they keep the colour stored in the file.

    Raises:
        FssegError: the file is missing, truncated or no image, or has more than 8 bits per channel.
    """
    with opened(path, "image") as picture:
        if picture.mode.startswith("I") or picture.mode == "F":
            raise FssegError(f"image {path} has {picture.mode} pixels; 8 bits a channel are needed. Convert it.")
        turned = PIL.ImageOps.exif_transpose(picture) if upright else picture
        if on_white:
            turned = opaque(turned)
        return np.asarray(turned if turned.mode == "RGB" else turned.convert("RGB"))


def opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """An image on white ground, if it has transparency; otherwise the image itself."""
    if not picture.has_transparency_data:
        return picture
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))


def image_size(path: Path | io.BytesIO, upright: bool = False) -> tuple[int, int]:
    """``(height, width)`` of an image file, read from its header.

    Args:
        path: of the file, or its bytes, see `read_image`.
        upright: the size after rotation by the EXIF tag, see `read_image`.

    Raises:
        FssegError: the file is missing or no image.
    """
    with opened(path, "image") as picture:
        turned = upright and picture.getexif().get(_ORIENTATION, 1) >= _SWAPPED
        return (picture.width, picture.height) if turned else (picture.height, picture.width)
