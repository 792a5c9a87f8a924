"""Overlays of predictions on images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion, find_objects

from fsseg.episode import BACKGROUND, IGNORE
from fsseg.plots.colours import RGB, colour
from fsseg.plots.episodes import GAP, SIDE, TEXT, UInt8Array, caption

_LINES = 400  # an outline is this fraction of the longer side of an image


def overlay(image: UInt8Array, mask: UInt8Array, instances: npt.NDArray[np.int32] | None = None) -> UInt8Array:
    """An image with the classes of a mask tinted and outlined, at the size of the image.

    Args:
        image: ``H W 3``.
        mask: ``H W`` labels.
        instances: ``H W`` numbers of objects, each of which is outlined; None outlines classes.
    """
    pixels = image.astype(np.float32)
    width = max(1, round(max(mask.shape) / _LINES))
    known = mask.astype(np.int32) * ((mask != BACKGROUND) & (mask != IGNORE)) if instances is None else instances
    for number, box in enumerate(find_objects(known), 1):
        if box is not None:
            place = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
            region = known[place] == number
            _outline(pixels[place], region, colour(int(mask[place][region][0])), width)
    return pixels.round().astype(np.uint8)


def draw_prediction(image: UInt8Array, mask: UInt8Array, words: Sequence[str], side: int) -> PIL.Image.Image:
    """An overlay above the classes' colours and words.

    Args:
        image: ``H W 3``.
        mask: ``H W`` labels.
        words: of each class, in the order of the labels.
        side: pixels of the longer side; a larger image is drawn smaller.
    """
    drawn = PIL.Image.fromarray(image), PIL.Image.fromarray(mask)
    for each, how in zip(drawn, (PIL.Image.Resampling.BILINEAR, PIL.Image.Resampling.NEAREST), strict=True):
        each.thumbnail((side, side), how)
    top, left = drawn[0].height, GAP
    whole = PIL.Image.new("RGB", (drawn[0].width, top + len(words) * TEXT + GAP), "white")
    whole.paste(PIL.Image.fromarray(overlay(*map(np.asarray, drawn))), (0, 0))
    draw = PIL.ImageDraw.Draw(whole)
    for place, text in enumerate(words, 1):
        caption(draw, left, text, colour(place), top + (place - 1) * TEXT - SIDE)
    return whole


def _outline(pixels: npt.NDArray[np.float32], region: npt.NDArray[np.bool_], rgb: RGB, width: int) -> None:
    """Tint and outline a region of an image in place."""
    tint = np.array(rgb, dtype=np.float32)
    inner, outer = binary_erosion(region, iterations=width, border_value=1), binary_dilation(region, iterations=1)
    pixels[region] = 0.55 * pixels[region] + 0.45 * tint
    pixels[outer & ~region] = 255  # a light rim keeps the line visible on any image
    pixels[region & ~inner] = tint
