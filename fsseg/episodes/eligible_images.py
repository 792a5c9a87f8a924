"""Which images count for which classes: what episodes are drawn from."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from fsseg.datasets.base import Dataset
from fsseg.episodes.sampler import Images, Numbers
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Pairs, pair_rule

_NAMED = 5  # classes that an error lists


class Need(NamedTuple):
    """What episodes need of each class.

    Attributes:
        way: classes per episode.
        shot: supports per class.
        query: queries per episode.
        split: that the images are of.
        option: of the command line that lowers the shots.
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
        classes: class ids to look for.
        numbers: image numbers to look among.
        pairs: the rule by which an image counts for a class, see `Protocol`.
        min_pixels: that an image must show of the class.
        need: what episodes need.
        missing: a class with too few images is an ``error``, or one to ``skip`` if there are others enough, or
            anyway (``leave``: there may be none).

    Raises:
        FssegError: too few images, or too few classes with enough.
    """
    images = {c: dataset.index.images(c, numbers, min_pixels, pairs) for c in classes}
    queries = whole(dataset, images)
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


def whole(dataset: Dataset, images: Images) -> Images:
    """Those whose masks are whole, so that they may be queries; the very same where all are."""
    if not dataset.weak:
        return images
    weak = np.array(sorted(dataset.weak))
    return {c: found[~np.isin(found, weak)] for c, found in images.items()}


def _too_few(dataset: Dataset, need: Need, few: dict[int, int], rule: str, can_skip: bool) -> str:
    names = [f"{c} {dataset.class_name(c)} ({n})" for c, n in few.items()]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    skip = ", or leave classes out with --data.episodes.missing_classes skip" if can_skip else ""
    masks = f", {need.query} of them with a whole mask" if dataset.weak else ""
    counted = f" ({rule})" if rule else ""
    return (
        f"{need.way}-way {need.shot}-shot with {need.query} query needs {need.shot + need.query} {need.split} images a "
        f"class{masks}; too few show{counted}: {', '.join(names[:_NAMED])}{more}. Lower --data.{need.option}, choose "
        f"another fold{skip}."
    )
