"""Weak annotations of supports: scribbles and boxes in place of masks (PANet sections 3.6 and 4.4, table 6).

What nobody annotated is 255: a method takes it for neither the class nor background. Both are made from masks at the
image's own size, before augmentation and resizing.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from fsseg.datasets.base import Dataset, Mask
from fsseg.datasets.boxes import box_mask
from fsseg.episode import BACKGROUND, IGNORE

Annotation = Literal["mask", "scribble", "box"]
BoxInstance = Literal["largest", "random"]
Pixels = npt.NDArray[np.int64]  # places in a flattened mask

_KEPT = 1000  # images whose scribbles are kept, of some kB each; making them takes half a second


class Annotator:
    """Draws what a person would give instead of a mask.

    Args:
        dataset: opened data set.
        annotation: ``mask``: the mask itself.
            ``scribble``: one scribble on the class, of one of its parts chosen at random, and those of the background.
            ``box``: the filled box of one instance is the class, what is outside the boxes of all its instances is
            background.
        instance: whose box: the ``largest`` (PANet's code), or a ``random`` one (its paper).
    """

    def __init__(self, dataset: Dataset, annotation: Annotation = "mask", instance: BoxInstance = "largest") -> None:
        self.dataset, self.annotation, self.instance = dataset, annotation, instance
        self._scribbles: OrderedDict[tuple[int, ...], tuple[list[Pixels], list[Pixels]]] = OrderedDict()

    def __call__(self, number: int, mask: Mask, classes: Sequence[int], way: int, seed: int) -> Mask:
        """A support's annotation.

        Args:
            number: image number.
            mask: its episode labels.
            classes: class id of each way.
            way: that the image is a support of.
            seed: decides what is random.

        Returns:
            ``H W`` episode labels; the mask itself for ``mask``.
        """
        random = np.random.default_rng(seed)
        if self.annotation == "scribble":
            return self._scribble(number, mask, classes, way, random)
        if self.annotation == "box":
            boxes = self.dataset.boxes(number, classes[way])
            return box_mask(mask.shape, boxes, way + 1, random if self.instance == "random" else None)
        return mask

    def _scribble(self, number: int, mask: Mask, classes: Sequence[int], way: int, random: np.random.Generator) -> Mask:
        key = (number, classes[way], *sorted(classes))  # the other ways are no background
        if key not in self._scribbles:
            self._scribbles[key] = _scribbles(mask == way + 1), _scribbles(mask == BACKGROUND)
            if len(self._scribbles) > _KEPT:
                self._scribbles.popitem(last=False)
        self._scribbles.move_to_end(key)
        foreground, background = self._scribbles[key]
        annotated = np.full(mask.shape, IGNORE, dtype=np.uint8)
        for pixels in background:
            annotated.flat[pixels] = BACKGROUND
        if foreground:
            annotated.flat[foreground[random.integers(len(foreground))]] = way + 1
        return annotated


def _scribbles(region: npt.NDArray[np.bool_]) -> list[Pixels]:
    from fsseg.episodes.scribbles import scribbles  # scikit-image takes a second to import

    return [np.flatnonzero(scribble) for scribble in scribbles(region)]
