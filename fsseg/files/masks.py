"""Read mask files: label maps, masks of one class, scribbles.

The visible colours decide what a mask means, see `fsseg.files.mask_regions` and the table in docs/3-data.md.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin

from fsseg.episode import BACKGROUND, IGNORE, ClassMap, Image, Mask, void_of
from fsseg.errors import FssegError, UnreadableError
from fsseg.files.images import opened
from fsseg.files.mask_regions import deep, inverted, palette_of, region_of, region_of_greys

ARRAY = ".npy"  # ending of masks as NumPy's arrays
_PIXELS = 178_956_970  # of a mask, as of an image: twice PIL.Image.MAX_IMAGE_PIXELS
_LOSSY = ("JPEG", "MPO")
_WHITE = 128  # grey level from which on a pixel is the object
_SPREAD = {2: 85, 4: 17}  # Pillow scales greys of 2 and 4 bits to 0..255 by these factors
_BITS, _PHOTOMETRIC, _PAGES = 258, 262, ("TIFF", "GIF", "WEBP")  # tags of TIFF (6.0, section 8); formats of many images
_PLACES = np.array([1 << 16, 1 << 8, 1])  # of red, green and blue in one number


def read_region(path: Path) -> Mask:
    """Read a mask of one class ``H W``: 1 the object, 0 background, 255 not labelled.

    Raises:
        FssegError: the file is missing, truncated, no image, or can be read in two ways.
    """
    if path.suffix.lower() == ARRAY:
        return region_of_greys(read_array(path), f"mask {path}")
    with opened(path, "mask") as picture:
        _refuse_pages(picture, f"mask {path}")
        return region_of(picture, f"mask {path}")


def read_white(path: Path) -> Mask:
    """Read a mask of one class ``H W``: 1 where the grey level is 128 or more, 0 elsewhere.

    The rule of the loaders of FSS-1000 and the cross-domain sets, e.g. HSNet's data/fss.py.

    Raises:
        FssegError: the file is missing, truncated or no image of 8 bits.
    """
    with opened(path, "mask") as picture:
        _refuse_pages(picture, f"mask {path}")
        if picture.mode == "F" or picture.mode.startswith("I"):
            raise FssegError(f"mask {path} has {picture.mode} pixels; 8 bits a channel are needed. Convert it.")
        return (np.asarray(picture.convert("L")) >= _WHITE).astype(np.uint8)


def read_labels(path: Path) -> ClassMap:
    """Read a label map: the numbers in the file, independent of the colours of a palette.

    Returns:
        ``H W``, 8 bits with 255 for not labelled, or 16 bits with 65535 for not labelled.

    Raises:
        FssegError: the file is missing, truncated, holds colours instead of numbers, or can be read in two ways.
    """
    if path.suffix.lower() == ARRAY:
        return read_array(path)
    with opened(path, "mask") as picture:
        _refuse_pages(picture, f"mask {path}")
        return labels_of(picture, f"mask {path}")


def read_array(path: Path) -> ClassMap:
    """Read a mask of a NumPy file: ``H W``, ``H W 1`` or ``1 H W`` of booleans or whole numbers from 0 to 65535.

    Raises:
        FssegError: the file is missing or broken, or holds objects, other numbers, or an array of another shape.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: its size is checked before it is read
    except FileNotFoundError as error:
        raise UnreadableError(f"mask {path} is missing. Put it there, or take its name out of the list.") from error
    except Exception as error:  # numpy raises nearly anything on a broken file
        raise UnreadableError(f"mask {path} is no array of NumPy's format. Save it by numpy.save.") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise FssegError(f"mask {path} is no array of numbers: save one array, of uint8 or bool, by numpy.save.")
    shape = array.shape
    if array.ndim == 3 and 1 in (shape[0], shape[2]):
        array = array[0] if shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or not 0 < array.size <= _PIXELS:
        raise FssegError(f"mask {path} is an array of shape {shape}; H W is needed.")
    values = np.asarray(array)
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise FssegError(f"mask {path} holds fractions or NaN; whole numbers are needed. Save mask > 0.5 instead.")
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise FssegError(f"mask {path} holds {values.min()} to {values.max()}; 0 to 65535 are needed, 255 unlabelled.")
    deep = values.max() > IGNORE or values.dtype == np.uint16
    mask: ClassMap = np.ascontiguousarray(values.astype(np.uint16 if deep else np.uint8))
    return mask


def read_colours(path: Path, colours: Mapping[tuple[int, int, int], int], source: str) -> Mask:
    """Read a mask of colours as class ids.

    Args:
        path: of the file.
        colours: class id of each colour; 255 is not labelled.
        source: file that lists the colours, for errors.

    Raises:
        FssegError: the file is missing, truncated or a JPEG, or has a colour that is not listed.
    """
    with opened(path, "mask") as picture:
        _refuse_pages(picture, f"mask {path}")
        _refuse_lossy(picture, f"mask {path}")
        pixels = np.asarray(picture.convert("RGB"))
    return ids_of_colours(pixels, colours, f"mask {path}", source)


def ids_of_colours(pixels: Image, colours: Mapping[tuple[int, int, int], int], name: str, source: str) -> Mask:
    """Class ids ``H W`` of colours ``H W 3``, see `read_colours`.

    Raises:
        FssegError: a colour is not listed.
    """
    packed = pixels.astype(np.int64) @ _PLACES
    known = np.array(sorted(colours), dtype=np.int64) @ _PLACES  # ascending, as the colours are
    place = np.minimum(np.searchsorted(known, packed), len(known) - 1)
    if (wrong := known[place] != packed).any():
        red, green, blue = pixels[wrong][0].tolist()
        raise FssegError(f"{name} holds the colour {red},{green},{blue}, which {source} does not list. Fix one.")
    ids = np.array([colours[colour] for colour in sorted(colours)], dtype=np.uint8)
    mask: Mask = ids[place]
    return mask


def read_scribble(path: Path) -> Mask:
    """Read scribbles of one class ``H W``: 1 the class (any other number in the file), 0 background, 255 unlabelled.

    Raises:
        FssegError: see `read_labels`.
    """
    labels = read_labels(path)
    return np.where(labels == void_of(labels), np.uint8(IGNORE), labels != BACKGROUND).astype(np.uint8)


def labels_of(picture: PIL.Image.Image, name: str) -> ClassMap:
    """The numbers of an opened label map, see `read_labels`.

    Args:
        picture: indexed, or grey of 1 to 16 bits.
        name: for errors.

    Raises:
        FssegError: see `read_labels`.
    """
    _refuse_lossy(picture, name)
    if picture.mode == "P":
        return _indices(picture, name)
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if picture.mode == "L" and not picture.has_transparency_data:
        factor = _SPREAD.get(_bits(picture, name), 1)
        return np.asarray(picture) if factor == 1 else np.asarray(picture) // np.uint8(factor)
    if picture.mode.startswith("I"):
        return deep(picture, name)
    if picture.mode == "F":
        raise FssegError(f"{name} has floating-point pixels (mode F); class ids are integers. Convert it.")
    return _greys(picture, name)


def _bits(picture: PIL.Image.Image, name: str) -> int:
    """Bits per pixel of a grey image in its file."""
    if isinstance(picture, PIL.TiffImagePlugin.TiffImageFile):
        if picture.tag_v2.get(_PHOTOMETRIC) == 0:
            raise FssegError(f"{name} is a TIFF in which 0 is white: its ids are inverted. Save it with 0 as black.")
        return int(picture.tag_v2.get(_BITS, (8,))[0])
    tiles = getattr(picture, "tile", None)  # only images from files have it; empty after decoding
    mode = str(tiles[0][3]) if tiles else ""
    return {"L;2": 2, "L;4": 4}.get(mode, 8)


def _refuse_lossy(picture: PIL.Image.Image, name: str) -> None:
    lossy = picture.format in _LOSSY or "jpeg" in str(picture.info.get("compression", ""))
    if lossy:
        raise FssegError(
            f"{name} is a JPEG, whatever its ending; JPEG changes class ids at every edge. Save the mask as PNG."
        )


def _refuse_pages(picture: PIL.Image.Image, name: str) -> None:
    pages = getattr(picture, "n_frames", 1) if picture.format in _PAGES else 1
    if pages > 1:
        raise FssegError(f"{name} has {pages} pages; which one is the mask? Save one image per file.")


def _indices(picture: PIL.Image.Image, name: str) -> Mask:
    if inverted(picture):
        raise FssegError(
            f"{name} is black and white with white first in its palette: are the white pixels (by colour) or the black "
            "pixels (by index) the class? Save it as a grey PNG: 0 background, 1 the first class."
        )
    indices = np.asarray(picture)
    if picture.has_transparency_data:
        hidden = palette_of(picture)[:, 3] == 0
        if not hidden[BACKGROUND] and hidden[np.unique(indices)].any():
            raise _transparent(name)
    return indices


def _greys(picture: PIL.Image.Image, name: str) -> Mask:
    if picture.mode not in ("L", "LA"):
        raise FssegError(
            f"{name} is a {picture.mode} image; class ids need an indexed or 8-bit grey PNG. Convert it, or give "
            "each class a folder of masks: masks/CLASS/NAME.png."
        )
    if int(np.asarray(picture.convert("LA"))[..., 1].min(initial=255)) < IGNORE:
        raise _transparent(name)
    return np.asarray(picture.convert("L"))


def _transparent(name: str) -> FssegError:
    return FssegError(
        f"{name} has transparent pixels: are they background, or not labelled? Save it without transparency, 0 for "
        "background and 255 for not labelled."
    )
