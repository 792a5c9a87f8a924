"""Images, masks and archives for the page as data URLs, so that the server serves no files."""

import base64
import io
import zipfile
from collections.abc import Iterable
from pathlib import PurePath

import numpy as np
import numpy.typing as npt
import PIL.Image

from fsseg.demo.painting import CLASSES
from fsseg.episode import BACKGROUND, Image, Mask
from fsseg.episodes.transforms import resize_mask
from fsseg.plots import colours
from fsseg.plots.episodes import edges
from fsseg.untrusted.text import file_name

_THUMB, _MAP, _TILE = 72, 144, 160  # longer side on the page, in CSS pixels
_FILL, _FULL = 120, 255  # opacity of a class's inside and of its outline
_EDGE, _RIM = CLASSES, 2 * CLASSES + 1  # palette of an overlay: offset of a class's outline; index of the light rim


def photo(image: Image) -> str:
    """An image as a JPEG data URL."""
    return _url(PIL.Image.fromarray(image), "JPEG", quality=88)


def thumbnail(image: Image) -> str:
    """A small copy of an image as a JPEG data URL."""
    small = PIL.Image.fromarray(image)
    small.thumbnail((2 * _THUMB, 2 * _THUMB))
    return _url(small, "JPEG", quality=80)


def layer(labels: Mask) -> str:
    """A painted layer as a PNG data URL, see `fsseg.demo.painting.read_layer`."""
    return _url(PIL.Image.fromarray(labels), "PNG", compress_level=1)


def tile(image: Image, mask: Mask | None) -> str:
    """A small copy of a query with its prediction as a JPEG data URL."""
    small = PIL.Image.fromarray(image)
    small.thumbnail((2 * _TILE, 2 * _TILE))
    if mask is not None:
        layer = PIL.Image.open(io.BytesIO(_overlay(resize_mask(mask, (small.height, small.width))))).convert("RGBA")
        small.paste(layer, mask=layer)
    return _url(small, "JPEG", quality=85)


def overlay(mask: Mask) -> str:
    """A prediction as a transparent PNG to lay over its query: classes half transparent, outlines opaque."""
    return png_url(_overlay(mask))


def _overlay(mask: Mask) -> bytes:
    drawn = mask.copy()
    for label in np.unique(mask[mask != BACKGROUND]).tolist():
        edge, around = edges(mask == label)
        drawn[around & (mask == BACKGROUND)] = _RIM
        drawn[edge] = label + _EDGE
    picture = PIL.Image.fromarray(drawn).convert("P")
    picture.putpalette([*colours.flat(CLASSES), *colours.flat(CLASSES)[3:], 255, 255, 255])
    opacity = bytes([0, *[_FILL] * CLASSES, *[_FULL] * CLASSES, _FULL])
    return _bytes(picture, "PNG", transparency=opacity, compress_level=1)


def mask_file(mask: Mask, size: tuple[int, int]) -> bytes:
    """Bytes of an indexed PNG of a mask, resized to ``(H, W)``; labels are the numbers of the colours."""
    full = mask if mask.shape == size else resize_mask(mask, size)
    picture = PIL.Image.fromarray(full).convert("P")
    picture.putpalette(colours.flat(CLASSES))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def mask_name(name: str) -> str:
    """File name of the mask of an image."""
    return f"{file_name(PurePath(name).stem)}_mask.png"


def png_url(data: bytes) -> str:
    """A PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def archive(files: Iterable[tuple[str, bytes]]) -> str:
    """A zip file as a data URL; a number is added to the name of a file that occurred before."""
    made, names = io.BytesIO(), set[str]()
    with zipfile.ZipFile(made, "w") as packed:
        for name, data in files:
            free, number = name, 1
            while free in names:
                number += 1
                free = f"{PurePath(name).stem}-{number}{PurePath(name).suffix}"
            names.add(free)
            packed.writestr(free, data)
    return f"data:application/zip;base64,{base64.b64encode(made.getvalue()).decode()}"


def heat(probability: npt.NDArray[np.float32], size: tuple[int, int]) -> str:
    """A probability map ``h w`` of a query of size ``(H, W)`` as a JPEG data URL, from dark (0) to light (1)."""
    from matplotlib import colormaps  # imported late: half a second, needed only for maps

    scale = 2 * _MAP / max(size)
    shape = (max(1, round(scale * size[1])), max(1, round(scale * size[0])))
    smooth = PIL.Image.fromarray(probability).resize(shape, PIL.Image.Resampling.BILINEAR)
    light = colormaps["inferno"](np.asarray(smooth).clip(0, 1))[..., :3]
    return _url(PIL.Image.fromarray((255 * light).astype(np.uint8)), "JPEG", quality=85)


def hexadecimal(label: int) -> str:
    """The colour of a class in CSS."""
    return colours.hexadecimal(colours.colour(label))


def _url(picture: PIL.Image.Image, form: str, **options: object) -> str:
    return f"data:image/{form.lower()};base64,{base64.b64encode(_bytes(picture, form, **options)).decode()}"


def _bytes(picture: PIL.Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()
