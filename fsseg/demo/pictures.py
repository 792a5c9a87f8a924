"""Pictures that somebody sent: read within limits, kept at a size that a browser paints on quickly."""

import io
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fsseg.datasets.base import Image
from fsseg.datasets.images import image_size, read_image
from fsseg.demo.drawing import thumbnail
from fsseg.episodes.transforms import resize_image
from fsseg.errors import FssegError
from fsseg.untrusted.text import shown

SIDE = 1024  # pixels of the longer side at most; methods are shown fewer
MEGABYTE = 2**20
_LEAST = 8  # pixels of a side, see `fsseg.segmenter.inputs`
_NAME = 60  # letters


class Limits(NamedTuple):
    """What a picture that is sent may be.

    Attributes:
        megabytes: of the file.
        pixels: of the picture, by its header, before it is decoded.
    """

    megabytes: float = 20
    pixels: int = 40_000_000

    @property
    def bytes(self) -> int:
        """Of the file."""
        return int(self.megabytes * MEGABYTE)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to work on.

    Attributes:
        name: of its file, for a person; never a path.
        image: ``H W 3``, its longer side no more than `SIDE`.
        size: ``(H, W)`` that it came with, upright.
    """

    name: str
    image: Image
    size: tuple[int, int]

    @cached_property
    def thumbnail(self) -> str:
        """A small copy as a data URL: each answer of the page shows all of them."""
        return thumbnail(self.image)


class _Upload(io.BytesIO):
    """Bytes of an image file; errors print the sender's name for the file."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._called = name

    def __str__(self) -> str:
        return self._called

    __repr__ = __str__  # PIL's errors print this


def read_picture(data: bytes, limits: Limits, name: str) -> Picture:
    """Decode an image that was sent. No file is opened: the name is text for messages only.

    Args:
        data: bytes of the image file.
        limits: what it may be.
        name: the sender's name for the file.

    Raises:
        FssegError: it is too large, broken, or no picture; the line names it as its sender does.
    """
    called = file_name(name)
    if len(data) > limits.bytes:
        raise FssegError(
            f"{called} has {len(data) / MEGABYTE:.1f} MB, {limits.megabytes:g} are the most. Send a smaller one."
        )
    height, width = image_size(_Upload(data, called))  # not upright: PIL decodes a PNG to find its EXIF tag
    if height * width > limits.pixels:
        raise FssegError(
            f"{called} has {width}x{height} pixels, {limits.pixels / 1e6:g} million are the most. Resize it."
        )
    if min(height, width) < _LEAST:
        raise FssegError(f"{called} has {width}x{height} pixels; {_LEAST} a side are needed at least.")
    image = read_image(_Upload(data, called), upright=True, on_white=True)
    return Picture(called, fitted(image), (image.shape[0], image.shape[1]))


def fitted(image: Image) -> Image:
    """An image, resized where its longer side is more than `SIDE`."""
    height, width = image.shape[:2]
    if max(height, width) <= SIDE:
        return image
    scale = SIDE / max(height, width)
    return resize_image(image, (max(_LEAST, round(scale * height)), max(_LEAST, round(scale * width))))


def file_name(name: str) -> str:
    """A name without folders or control characters, of a length that a line has room for."""
    last = shown(name.replace("\\", "/").rsplit("/", 1)[-1]).strip(". ")
    return last[-_NAME:] or "picture"
