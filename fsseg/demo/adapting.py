"""How a segmenter adapts to painted supports."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fsseg.demo.painting import BACK, Way, lacks, painted, rejects, to_labels
from fsseg.demo.pictures import Picture
from fsseg.episode import BACKGROUND, Mask
from fsseg.segmenter import Segmenter
from fsseg.segmenter.inputs import relabelled
from fsseg.segmenter.tiling import fill_mask


@dataclass
class Support:
    """A support of the page.

    Attributes:
        picture: the image.
        layer: the painted layer, see `fsseg.demo.painting.read_layer`.
        way: meaning of the painted pixels.
        guided: whether the canvas shows the prediction for the image, to be corrected.
        number: number of the support in the segmenter; None while too little is painted.
        labels: labels of the classes that the segmenter adapted to from this support.
    """

    picture: Picture
    layer: Mask
    way: Way = "scribble"
    guided: bool = False
    number: int | None = None
    labels: list[int] = field(default_factory=list)


def adapt(segmenter: Segmenter, supports: Iterable[Support], keys: Sequence[str]) -> None:
    """Adapt a segmenter to all painted supports.

    Args:
        segmenter: in the state at the start of the session.
        supports: of the session; their ``number`` and ``labels`` are set.
        keys: the segmenter's class names by label, from 1.
    """
    for support in supports:
        support.number, support.labels = None, usable_labels(segmenter, support)
        if labels := support.labels:
            names = [keys[label - 1] for label in labels]
            mask = compact(to_labels(support.layer, support.way), labels)
            [support.number] = segmenter.learn(support.picture.image, mask, names)
    for support in supports:
        if support.way == "nothing":
            [support.number] = segmenter.reject(support.picture.image)
        elif rejects(support.layer, support.way) and segmenter.classes:
            region = (support.layer == BACK).astype("uint8")
            if painted(fill_mask(region, segmenter.canvas._replace(fit="square"))):
                [support.number] = segmenter.reject(support.picture.image, region)


def usable_labels(segmenter: Segmenter, support: Support) -> list[int]:
    """Labels that the segmenter can use; small strokes vanish when the mask is resized for the method."""
    if support.way == "nothing" or lacks(support.layer, support.way):
        return []
    seen = fill_mask(to_labels(support.layer, support.way), segmenter.canvas._replace(fit="square"))
    return painted(seen) if (seen == BACKGROUND).any() else []


def compact(labels: Mask, order: Sequence[int]) -> Mask:
    """Labels renumbered from 1 on in the given order; ignored pixels stay 255."""
    return relabelled(labels, {label: place for place, label in enumerate(order, 1)})
