"""Painted layers of supports, and the masks that they mean."""

import base64
import io
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image

from fsseg.episode import BACKGROUND, IGNORE, Mask
from fsseg.errors import FssegError

CLASSES = 6  # that can be painted, each in one colour
BACK = CLASSES + 1  # label of painted background in a layer; 0 is not painted
_HEAD = "data:image/png;base64,"
_LETTERS = 4_000_000  # characters of a layer as a data URL; a layer of many scribbles has about 10,000

# Meaning of painted pixels. mask: the class; all other pixels are background. scribble: the class or background; all
# other pixels are unlabelled. box: the bounding box is the class. nothing: the image shows none of the classes.
Way = Literal["mask", "scribble", "box", "nothing"]
WAYS: tuple[Way, ...] = get_args(Way)


def read_layer(sent: Any, size: tuple[int, int]) -> Mask:
    """Read a layer from the browser: ``H W`` of 0 (not painted), classes from 1 on, or `BACK`.

    Args:
        sent: PNG as a data URL; its red channel holds the labels.
        size: ``(H, W)`` of the support.

    Raises:
        FssegError: the value is no PNG, or the layer has another size or an unknown label.
    """
    if not isinstance(sent, str) or not sent.startswith(_HEAD) or len(sent) > _LETTERS:
        raise FssegError("the painted layer did not arrive as a PNG. Paint again.")
    try:
        data = base64.b64decode(sent.removeprefix(_HEAD), validate=True)
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.size != size[::-1]:
                came = f"{picture.width}x{picture.height}"
                raise FssegError(f"the painted layer is {came}, its image {size[1]}x{size[0]}. Paint again.")
            layer = np.asarray(picture.convert("RGB"))[..., 0].copy()
    except FssegError:
        raise
    except Exception as error:  # PIL raises nearly anything on a broken file
        raise FssegError("the painted layer is no complete PNG. Paint again.") from error
    if layer.max() > BACK:
        raise FssegError(f"the painted layer holds the value {layer.max()}; {BACK} is the largest. Paint again.")
    return layer


def way_of(sent: Any) -> Way:
    """Check the meaning of painted pixels that the browser sent.

    Raises:
        FssegError: the value is none of `WAYS`.
    """
    if sent not in WAYS:
        raise FssegError(f"no way {str(sent)[:20]!r} of painting; one of {', '.join(WAYS)} is needed.")
    return sent  # type: ignore[no-any-return]


def painted(layer: Mask) -> list[int]:
    """Labels of the classes in a layer, in ascending order."""
    return [int(value) for value in np.unique(layer) if BACKGROUND < value < BACK]


def rejects(layer: Mask, way: Way) -> bool:
    """Whether a layer marks background only, which shows none of the classes."""
    return way == "scribble" and not painted(layer) and bool((layer == BACK).any())


def lacks(layer: Mask, way: Way) -> str:
    """Hint on what to paint before the support can be used; empty if nothing is missing."""
    if way == "nothing":
        return ""
    if not painted(layer):
        return "Click on the object, or paint on it." if way == "scribble" else "Paint an object."
    if not (to_labels(layer, way) == BACKGROUND).any():
        if way == "scribble":
            return "Now background: choose the striped colour, and click beside the object."
        return "Leave some background around the object."
    return ""


def to_labels(layer: Mask, way: Way) -> Mask:
    """The mask ``H W`` that a layer means: 0 background, classes from 1 on, 255 unlabelled."""
    labels = np.where(layer == BACK, np.uint8(BACKGROUND), layer)
    if way == "scribble":
        labels[layer == 0] = IGNORE
    elif way == "box":
        labels = _boxes(layer)
    return labels


def from_labels(labels: Mask) -> tuple[Mask, Way]:
    """The layer and the way of painting of a mask ``H W``: 0 background, classes from 1 on, 255 unlabelled."""
    if (labels == IGNORE).any():
        return np.select([labels == IGNORE, labels == BACKGROUND], [np.uint8(0), np.uint8(BACK)], labels), "scribble"
    return (labels, "mask") if labels.any() else (labels, "nothing")


def _boxes(layer: Mask) -> Mask:
    """Mask of the bounding boxes of all classes; smaller boxes are painted over larger ones."""
    labels = np.zeros_like(layer)
    boxes = []
    for label in painted(layer):
        rows, columns = (np.flatnonzero((layer == label).any(axis)) for axis in (1, 0))
        boxes.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1, label))
    for top, bottom, left, right, label in sorted(boxes, key=lambda box: (box[0] - box[1]) * (box[3] - box[2])):
        labels[top:bottom, left:right] = label
    return labels
