"""Images of each class that episodes may be drawn from."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from fsseg.datasets.base import Dataset
from fsseg.episodes.sampler import Images, Numbers
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Pairs, pair_rule

_NAMED = 5  # largest number of classes that an error lists


class Need(NamedTuple):
    """Images of a class that episodes need.

    Attributes:
        way: classes per episode.
        shot: supports per class.
        query: queries per episode.
        split: split of the images.
        option: name of the option that sets the shots, for the error.
    """

    way: int
    shot: int
    query: int
    split: str
    option: str


def class_images(
    dataset: Dataset,
    classes: Sequence[int],
    numbers: range | Numbers,
    pairs: Pairs,
    min_pixels: int,
    need: Need,
    missing: Literal["error", "skip", "leave"],
) -> dict[int, Numbers]:
    """Image numbers of each class id.

    Args:
        dataset: opened data set.
        classes: class ids.
        numbers: image numbers to select from.
        pairs: rule by which an image counts for a class, see `Protocol`.
        min_pixels: pixels of the class that an image must show.
        need: images that episodes need.
        missing: treatment of a class with too few images. ``error``: raise. ``skip``: leave the class out, and raise
            if too few classes remain. ``leave``: leave the class out, and return nothing if too few classes remain.

    Raises:
        FssegError: a class has too few images, or too few classes have enough.
    """
    images = {c: dataset.index.images(c, numbers, min_pixels, pairs) for c in classes}
    queries = with_complete_masks(dataset, images)
    few = {
        c: len(found)
        for c, found in images.items()
        if len(found) < need.shot + need.query or len(queries[c]) < need.query
    }
    enough = {c: found for c, found in images.items() if c not in few}
    if missing == "leave" and len(enough) < need.way:
        return {}
    if (few and missing == "error") or len(enough) < need.way:
        raise FssegError(_too_few(dataset, need, few, pair_rule(pairs, min_pixels), can_skip=len(enough) >= need.way))
    return enough


def with_complete_masks(dataset: Dataset, images: Images) -> Images:
    """Images with a complete mask, which may be queries; the given mapping itself if no mask is weak."""
    if not dataset.weak:
        return images
    weak = np.array(sorted(dataset.weak))
    return {c: found[~np.isin(found, weak)] for c, found in images.items()}


def _too_few(dataset: Dataset, need: Need, few: dict[int, int], rule: str, can_skip: bool) -> str:
    names = [f"{c} {dataset.class_name(c)} ({n})" for c, n in few.items()]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    skip = ", or leave classes out with --data.episodes.missing_classes skip" if can_skip else ""
    masks = f", {need.query} of them with a complete mask" if dataset.weak else ""
    counted = f" ({rule})" if rule else ""
    return (
        f"{need.way}-way {need.shot}-shot with {need.query} query needs {need.shot + need.query} {need.split} images a "
        f"class{masks}; too few show{counted}: {', '.join(names[:_NAMED])}{more}. Lower --data.{need.option}, choose "
        f"another fold{skip}."
    )
