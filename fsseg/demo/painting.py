"""What was painted on a support, and the mask that it means."""

import base64
import io
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image

from fsseg.datasets.base import Mask
from fsseg.episode import BACKGROUND, IGNORE
from fsseg.errors import FssegError

CLASSES = 6  # that can be painted, each in a colour
BACK = CLASSES + 1  # in a layer: painted as background; 0 is what was not painted
_HEAD = "data:image/png;base64,"
_LETTERS = 4_000_000  # of a layer as text; one of many scribbles has some 10,000

# How painting is meant. mask: it is the class, all else background. scribble: it is the class or background, all else
# open. box: all within its bounding box is the class. nothing: the whole picture shows none of the classes.
Way = Literal["mask", "scribble", "box", "nothing"]
WAYS: tuple[Way, ...] = get_args(Way)


def read_layer(sent: Any, size: tuple[int, int]) -> Mask:
    """A layer that the browser sent: ``H W`` of 0 (not painted), classes from 1 on, or `BACK`.

    Args:
        sent: PNG as a data URL; labels are its red channel.
        size: ``(H, W)`` of the support.

    Raises:
        FssegError: it is none, or of another size.
    """
    if not isinstance(sent, str) or not sent.startswith(_HEAD) or len(sent) > _LETTERS:
        raise FssegError("what was painted did not arrive as a PNG. Paint again.")
    try:
        data = base64.b64decode(sent.removeprefix(_HEAD), validate=True)
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.size != size[::-1]:
                came = f"{picture.width}x{picture.height}"
                raise FssegError(f"what was painted is {came}, its picture {size[1]}x{size[0]}. Paint again.")
            layer = np.asarray(picture.convert("RGB"))[..., 0].copy()
    except FssegError:
        raise
    except Exception as error:  # PIL raises nearly anything on a broken file
        raise FssegError("what was painted is no whole PNG. Paint again.") from error
    if layer.max() > BACK:
        raise FssegError(f"what was painted holds the value {layer.max()}; {BACK} is the largest. Paint again.")
    return layer


def way_of(sent: Any) -> Way:
    """One of `WAYS`.

    Raises:
        FssegError: it is none.
    """
    if sent not in WAYS:
        raise FssegError(f"no way {str(sent)[:20]!r} of painting. Ways: {', '.join(WAYS)}.")
    return sent  # type: ignore[no-any-return]


def painted(layer: Mask) -> list[int]:
    """Labels of the classes that a layer has."""
    return [int(value) for value in np.unique(layer) if BACKGROUND < value < BACK]


def lacks(layer: Mask, way: Way) -> str:
    """What is still to be painted before a support can teach; empty where nothing is."""
    if way == "nothing":
        return ""
    if not painted(layer):
        return "Paint an object."
    if not (to_labels(layer, way) == BACKGROUND).any():
        return "Paint some background too." if way == "scribble" else "Leave some background around the object."
    return ""


def to_labels(layer: Mask, way: Way) -> Mask:
    """The mask ``H W`` that painting means: 0 background, classes from 1 on, 255 open."""
    labels = np.where(layer == BACK, np.uint8(BACKGROUND), layer)
    if way == "scribble":
        labels[layer == 0] = IGNORE
    elif way == "box":
        labels = _boxes(layer)
    return labels


def _boxes(layer: Mask) -> Mask:
    """Bounding boxes; of two that overlap the smaller one is seen."""
    labels = np.zeros_like(layer)
    boxes = []
    for label in painted(layer):
        rows, columns = (np.flatnonzero((layer == label).any(axis)) for axis in (1, 0))
        boxes.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1, label))
    for top, bottom, left, right, label in sorted(boxes, key=lambda box: (box[0] - box[1]) * (box[3] - box[2])):
        labels[top:bottom, left:right] = label
    return labels
