"""Weak annotations of supports: scribbles and boxes (PANet sections 3.6 and 4.4, table 6), and guided networks' points.

Pixels without annotation are 255, neither class nor background. Annotations are made from masks at the image's own
size, before augmentation and resizing.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from fsseg.datasets.base import Dataset
from fsseg.datasets.boxes import box_mask
from fsseg.episode import BACKGROUND, IGNORE, Mask

Annotation = Literal["mask", "scribble", "box", "points"]
BoxInstance = Literal["largest", "random"]
Pixels = npt.NDArray[np.int64]  # positions in a flattened mask

_MOST_POINTS = 99  # of a side, where the number is random (revolver's train.py)
_CACHED = 1000  # images with cached scribbles, of some kB each; making the scribbles takes half a second


class Annotator:
    """Makes the annotation of a support from its mask.

    Args:
        dataset: opened data set.
        annotation: ``mask``: the mask itself.
            ``scribble``: one scribble on a random part of the class, and the scribbles of the background.
            ``box``: the filled box of one instance is the class; pixels outside the boxes of all instances are
            background.
            ``points``: pixels of the background and of the class.
        instance: instance that gives the box: the ``largest`` (PANet's code), or a ``random`` one (its paper).
        points: points of the background and of the class, each; None draws a number of 1 to 99 for each support.
    """

    def __init__(
        self,
        dataset: Dataset,
        annotation: Annotation = "mask",
        instance: BoxInstance = "largest",
        points: int | None = None,
    ) -> None:
        self.dataset, self.annotation, self.instance, self.points = dataset, annotation, instance, points
        self._scribbles: OrderedDict[tuple[int, ...], tuple[list[Pixels], list[Pixels]]] = OrderedDict()

    def __call__(self, number: int, mask: Mask, classes: Sequence[int], way: int, seed: int) -> Mask:
        """The annotation of a support.

        Args:
            number: image number.
            mask: episode labels of the image.
            classes: class id of each way.
            way: way of the support.
            seed: seed of all random choices.

        Returns:
            ``H W`` episode labels; the mask itself for ``mask``.
        """
        random = np.random.default_rng(seed)
        if self.annotation == "scribble":
            return self._scribble(number, mask, classes, way, random)
        if self.annotation == "points":
            count = self.points or int(random.integers(1, _MOST_POINTS + 1))
            return points(mask, (BACKGROUND, way + 1), count, random)
        if self.annotation == "box":
            boxes = self.dataset.boxes(number, classes[way])
            return box_mask(mask.shape, boxes, way + 1, random if self.instance == "random" else None)
        return mask

    def _scribble(self, number: int, mask: Mask, classes: Sequence[int], way: int, random: np.random.Generator) -> Mask:
        key = (number, classes[way], *sorted(classes))  # the other ways are no background
        if key not in self._scribbles:
            self._scribbles[key] = _scribbles(mask == way + 1), _scribbles(mask == BACKGROUND)
            if len(self._scribbles) > _CACHED:
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


def points(mask: Mask, labels: Sequence[int], count: int, random: np.random.Generator | np.random.RandomState) -> Mask:
    """A mask of which each label keeps ``count`` random pixels; all others are 255.

    As in the data loader of guided networks' code (revolver). A label with fewer pixels keeps them all; in the code,
    it keeps none.
    """
    kept = np.full(mask.shape, IGNORE, dtype=np.uint8)
    for label in labels:
        kept.flat[random.permutation(np.flatnonzero(mask == label))[:count]] = label
    return kept
