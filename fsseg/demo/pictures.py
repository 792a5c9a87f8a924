"""Uploaded images: read within limits, and resized so that painting on them in the browser is fast."""

import io
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fsseg.demo.drawing import thumbnail
from fsseg.episode import Image
from fsseg.episodes.transforms import resize_image
from fsseg.errors import FssegError
from fsseg.files.images import image_size, read_image
from fsseg.untrusted.text import shown

SIDE = 1024  # largest longer side of a query in pixels; methods use smaller images
FINE = 2048  # of a support, so that small objects can be painted
MEGABYTE = 2**20
_LEAST = 8  # smallest side in pixels, see `fsseg.segmenter.inputs`
_NAME = 60  # characters of a shown file name


class Limits(NamedTuple):
    """Limits of an uploaded image.

    Attributes:
        megabytes: largest size of the file.
        pixels: largest number of pixels, checked in the header before decoding.
    """

    megabytes: float = 20
    pixels: int = 40_000_000

    @property
    def bytes(self) -> int:
        """Largest size of the file in bytes."""
        return int(self.megabytes * MEGABYTE)


@dataclass(frozen=True, eq=False)
class Picture:
    """An uploaded image.

    Attributes:
        name: file name to show; never a path.
        image: ``H W 3``, longer side at most `SIDE`, or `FINE` of a support.
        size: ``(H, W)`` of the upright image before resizing.
    """

    name: str
    image: Image
    size: tuple[int, int]

    @cached_property
    def thumbnail(self) -> str:
        """A small copy as a data URL; cached, because every answer of the page holds all thumbnails."""
        return thumbnail(self.image)


class Upload(io.BytesIO):
    """Bytes of a file that print as the visitor's file name, for errors."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._called = name

    def __str__(self) -> str:
        return self._called

    __repr__ = __str__  # PIL's errors print this


def read_picture(data: bytes, limits: Limits, name: str, side: int = SIDE) -> Picture:
    """Decode an uploaded image. No file is opened: the name is used only in messages.

    Args:
        data: bytes of the image file.
        limits: largest file and image.
        name: file name sent by the browser.
        side: largest longer side of the result.

    Raises:
        FssegError: the image is too large, too small, broken, or no image.
    """
    called = file_name(name)
    if len(data) > limits.bytes:
        raise FssegError(
            f"{called} has {len(data) / MEGABYTE:.1f} MB; at most {limits.megabytes:g} MB are allowed. Resize it."
        )
    height, width = image_size(Upload(data, called))  # not upright: PIL decodes a PNG to find its EXIF tag
    if height * width > limits.pixels:
        raise FssegError(
            f"{called} has {width}x{height} pixels; at most {limits.pixels / 1e6:g} million are allowed. Resize it."
        )
    if min(height, width) < _LEAST:
        raise FssegError(f"{called} has {width}x{height} pixels; each side needs at least {_LEAST}. Resize it.")
    image = read_image(Upload(data, called), upright=True, on_white=True, bits=0)
    return Picture(called, fitted(image, side), (image.shape[0], image.shape[1]))


def fitted(image: Image, side: int = SIDE) -> Image:
    """An image, resized if its longer side is larger than a number of pixels."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    return resize_image(image, (max(_LEAST, round(scale * height)), max(_LEAST, round(scale * width))))


def file_name(name: str) -> str:
    """The last part of a file name, without control characters and at most `_NAME` characters long."""
    last = shown(name.replace("\\", "/").rsplit("/", 1)[-1]).strip(". ")
    return last[-_NAME:] or "picture"
