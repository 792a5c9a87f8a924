"""The object in a mask of one class, decided by the visible colours: black and white, greys, colours, alpha.

docs/3-data.md has a table of all cases. A mask that can be read in two ways is refused; the error names both readings.
"""

import numpy as np
import numpy.typing as npt
import PIL.Image

from fsseg.episode import BACKGROUND, IGNORE, ClassMap, Mask
from fsseg.errors import FssegError

Region = npt.NDArray[np.bool_]  # H W

_DARK, _MIDDLE, _LIGHT = 64, 128, 192  # a grey below 64 is black, from 128 on the object, from 192 on white
_BLURRED = range(183, 255)  # greys that are no ids: COCO-Stuff, the largest common label map, has ids up to 182
_IDS = range(1, 32)  # values that are an id beside 0 and 255; larger ones may be a soft edge
_SOFT = 0.1  # largest share of the image that the middle greys of a soft edge may cover
_TINT = 48  # largest channel difference of a grey in JPEG-compressed masks; 39 was found in samples of FSS-1000
_NAMED = 5  # values that an error lists
_FIX = "Make it black and white, or say which value is the class (predict: IMAGE:MASK:VALUE)."


def region_of(picture: PIL.Image.Image, name: str) -> Mask:
    """The mask of one class ``H W``: 1 the object, 0 background, 255 not labelled.

    Args:
        picture: opened mask file in any mode.
        name: for errors.

    Raises:
        FssegError: the mask can be read in two ways, or shows several classes.
    """
    if picture.mode == "F":
        raise FssegError(f"{name} has floating-point pixels (mode F); integers are needed. Convert it.")
    if picture.mode.startswith("I"):
        return region_of_greys(deep(picture, name), name)
    if picture.mode == "P":
        return _of_palette(picture, name)
    if picture.mode in ("1", "L") and not picture.has_transparency_data:
        return region_of_greys(np.asarray(picture if picture.mode == "L" else picture.convert("L")), name)
    return _of_colours(picture, name)


def deep(picture: PIL.Image.Image, name: str) -> npt.NDArray[np.uint16]:
    """Values of an image of 16 or 32 bits.

    Raises:
        FssegError: a value does not fit into 16 bits.
    """
    values = np.asarray(picture)
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= np.iinfo(np.uint16).max:
        raise FssegError(f"{name} holds {values.min()} to {values.max()}; 0 to 65535 are possible. Convert it.")
    return values.astype(np.uint16)


def region_of_greys(levels: ClassMap, name: str, mostly_open: bool = False) -> Mask:
    """The object of a grey mask, see `region_of`.

    With two values, one of them 0, the object is the other value. With 0, a small value and 255, the object is the
    small value, and 255 is not labelled. In black and white with a soft edge, the object is 128 and lighter.

    Args:
        levels: ``H W``.
        name: for errors.
        mostly_open: whether 255 may cover more pixels than the small value, as between scribbles; in a file, 255 could
            then be a white object.

    Raises:
        FssegError: several values without a soft edge, or a single value that is neither black nor white.
    """
    if levels.dtype == np.uint16 and levels.size:
        found = np.flatnonzero(np.bincount(levels.ravel()))
        if len(found) == 2 and found[0] == 0:
            return _ones(levels != 0)
        if found[-1] <= IGNORE and len(found) > 1:
            raise _several(found, name)
        if len(found) > 1:
            levels = (levels // 257).astype(np.uint8)
    counts = _histogram(levels)
    found = np.flatnonzero(counts)
    if len(found) == 1:
        return _uniform(levels, int(found[0]), name)
    if len(found) == 2 and found[0] == BACKGROUND:
        return _ones(levels != BACKGROUND)
    if _is_id(found.tolist()) and (mostly_open or counts[found[-2]] >= counts[IGNORE]):
        return np.where((levels == BACKGROUND) | (levels == IGNORE), levels, 1).astype(np.uint8)
    if _is_soft(counts):
        return _ones(levels >= _MIDDLE)
    raise _several(found, name)


def _histogram(levels: ClassMap) -> npt.NDArray[np.int64]:
    """Pixel count of each value; for 8 bits, Pillow is five times as fast as numpy."""
    if levels.dtype == np.uint8:
        return np.array(PIL.Image.fromarray(levels).histogram())
    return np.bincount(levels.ravel(), minlength=256)


def _uniform(levels: ClassMap, value: int, name: str) -> Mask:
    """A mask of one value: all background, or all object."""
    white = _LIGHT if levels.dtype == np.uint8 else 257 * _LIGHT
    if 1 < value < white:
        raise FssegError(f"{name} holds only the value {value}: is all the object, or nothing? Paint 0 and 255.")
    return np.full(levels.shape, min(value, 1), dtype=np.uint8)


def _ones(region: Region) -> Mask:
    return region.view(np.uint8)


def _is_id(found: list[int]) -> bool:
    """Whether the values are an id and 255, with or without 0."""
    return found[-1] == IGNORE and (found == [1, IGNORE] or (found[0] == 0 and len(found) == 3 and found[1] in _IDS))


def _is_soft(counts: npt.NDArray[np.int64]) -> bool:
    """Whether greys are black and white with a soft edge or compression noise, not ids."""
    middle, white = int(counts[_DARK:_LIGHT].sum()), int(counts[_LIGHT:].sum())
    blurred = counts[_BLURRED.start : _BLURRED.stop].any() and counts[:_DARK].any()
    return bool(blurred) and middle <= min(white, _SOFT * counts.sum())


def _several(found: npt.NDArray[np.int64], name: str) -> FssegError:
    values = [int(value) for value in found if value]
    listed = ", ".join(map(str, values[:_NAMED])) + ", ..." * (len(values) > _NAMED)
    return FssegError(
        f"{name} holds the values {listed}: are they labels of several classes (or 255 for not labelled), or one "
        f"object in greys? {_FIX}"
    )


def _of_colours(picture: PIL.Image.Image, name: str) -> Mask:
    """The object of a mask of colours, or of greys with alpha."""
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    if not picture.has_transparency_data:
        return _coloured(rgb, name)
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    if int(alpha.min(initial=255)) >= _MIDDLE:  # all pixels are visible
        return _coloured(rgb, name)
    opaque = alpha >= _MIDDLE if (alpha >= _MIDDLE).any() else alpha > 0
    try:
        colours = _coloured(rgb, name)
    except FssegError:  # a cut-out photo
        return _ones(opaque)
    if (colours == colours[0, 0]).all():
        return _ones(opaque)
    if ((colours == 1) & (alpha < _DARK)).any() or ((colours == 0) & (alpha >= _LIGHT)).any():
        raise FssegError(
            f"{name}: its transparency shows another region than its colours: is the object the opaque region, or the "
            "region that is not black? Save it without transparency (alpha)."
        )
    return np.where(opaque, colours, np.uint8(BACKGROUND))


def _coloured(rgb: PIL.Image.Image, name: str) -> Mask:
    """The object of a mask of colours, without transparency."""
    pixels = np.asarray(rgb)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    if not spread.any():
        return region_of_greys(pixels[..., 0], name)
    wide = pixels.astype(np.uint32)
    packed = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    found = np.unique(packed)
    if len(found) == 2 and found[0] == 0:
        return _ones(packed != 0)
    greys = np.asarray(rgb.convert("L"))
    counts = _histogram(greys)
    # Tinted greys are no ids; if nearly all pixels are black or white, the others are compression noise.
    noisy = counts[0] and int(counts[1:_LIGHT].sum()) <= min(int(counts[_LIGHT:].sum()), _SOFT * counts.sum())
    if spread.max() <= _TINT and (noisy or _is_soft(counts)):
        return _ones(greys >= _MIDDLE)
    raise FssegError(
        f"{name} has {len(found[found != 0])} colours besides black, which is ambiguous: black and one other colour "
        "are needed, or an indexed or grey PNG of labels. Convert it."
    )


def _of_palette(picture: PIL.Image.Image, name: str) -> Mask:
    """The object of an indexed mask: by colour if the colours are black and white, else by index."""
    used = np.flatnonzero(picture.histogram()[:256])
    colours = palette_of(picture)
    seen = colours[used]
    hidden = used[seen[:, 3] < _MIDDLE]
    if _is_grey(colours) or _black_and_white(seen) is not None or any(hidden != 0):
        return _of_colours(picture.convert("RGBA" if picture.has_transparency_data else "RGB"), name)
    indices = np.asarray(picture)
    if len(used) == 2 and used[0] == 0 and not hidden.size:
        if seen[1, :3].max() == 0:  # index 1 is black: the colour of index 0 is the object
            return _ones(indices == 0)
        if seen[0, :3].min() >= _LIGHT and used[1] != IGNORE:
            raise FssegError(
                f"{name} has white (index 0) and one other colour (index {used[1]}): which is the object, white or "
                f"the other? {_FIX}"
            )
    return region_of_greys(indices, name)


def palette_of(picture: PIL.Image.Image) -> Mask:
    """Colour and alpha of each index of an indexed image, ``256 4``."""
    strip = PIL.Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    strip = strip.convert("P")
    strip.putpalette(picture.getpalette() or [])
    if "transparency" in picture.info:
        strip.info["transparency"] = picture.info["transparency"]
    colours: Mask = np.asarray(strip.convert("RGBA"))[0]
    return colours


def _is_grey(colours: Mask) -> bool:
    return bool((colours[:, :3].max(axis=1) == colours[:, :3].min(axis=1)).all())


def _black_and_white(seen: Mask) -> tuple[int, int] | None:
    """Positions of black and of white, if the visible colours are one black and one white; else None."""
    if len(seen) != 2 or not _is_grey(seen):
        return None
    dark, light = (int(place) for place in np.argsort(seen[:, 0], kind="stable"))
    return (dark, light) if seen[dark, 0] < _DARK and seen[light, 0] >= _LIGHT else None


def inverted(picture: PIL.Image.Image) -> bool:
    """Whether an indexed black and white mask has white at index 0, so that index and colour disagree.

    A label map has black, or a colour of a colour map, at index 0. Programs that convert a black and white mask to
    indices (Pillow's quantize, pngquant) often put white there.
    """
    palette = picture.getpalette() or [0]
    if min(palette[:3]) < _LIGHT:
        return False
    seen = palette_of(picture)[np.flatnonzero(picture.histogram()[:256])]
    return _is_grey(seen) and (seen[:, 0].min() < _DARK or len(palette) <= 6)
