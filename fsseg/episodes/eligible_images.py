"""Images of each class that episodes may be drawn from."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np

from fsseg.datasets.base import Dataset
from fsseg.episodes.sampler import Images, Numbers
from fsseg.errors import TooFewImagesError
from fsseg.protocols.protocol import Pairs, pair_rule

# Images below which a class is left out of a training by default. In a small set of VOC photos, classes of five images
# filled a third of all episodes: a training lost 3.2 points of mean-IoU with them and gained 0.8 without them.
PREFERRED = 20
_NAMED = 5  # largest number of classes that an error lists


class Need(NamedTuple):
    """Images of a class that episodes need.

    Attributes:
        way: classes per episode.
        shot: supports per class.
        query: queries per episode.
        split: split of the images.
        option: name of the option that sets the shots, for the error.
        least: images of a class that the user demands; None for as many as an episode needs.
        preferred: without ``least``, classes with fewer images are left out if classes may be left out and at least
            two, and ``way``, have so many.
    """

    way: int
    shot: int
    query: int
    split: str
    option: str
    least: int | None = None
    preferred: int = 0

    def least_images(self, counts: Collection[int], can_skip: bool) -> int:
        """Images that a class needs.

        Args:
            counts: images of each class.
            can_skip: whether classes may be left out.
        """
        enough, most = self.shot + self.query, max(self.shot + self.query, self.preferred)
        if self.least is not None:
            return max(enough, self.least)
        remaining = sum(count >= most for count in counts)
        return most if can_skip and remaining >= max(2, self.way) else enough


class Eligible(NamedTuple):
    """Classes that episodes may be drawn from, and classes that are left out.

    Attributes:
        images: image numbers of each class id.
        left_out: number of images of each class id that is left out.
        least: images that a class needs.
    """

    images: dict[int, Numbers]
    left_out: dict[int, int]
    least: int


def class_images(
    dataset: Dataset,
    classes: Sequence[int],
    numbers: range | Numbers,
    pairs: Pairs,
    min_pixels: int,
    need: Need,
    missing: Literal["error", "skip"],
) -> Eligible:
    """Image numbers of each class id.

    Args:
        dataset: opened data set.
        classes: class ids.
        numbers: image numbers to select from.
        pairs: rule by which an image counts for a class, see `Protocol`.
        min_pixels: pixels of the class that an image must show.
        need: images that episodes need.
        missing: treatment of a class with too few images. ``error``: raise. ``skip``: leave the class out, and raise
            if too few classes remain.

    Raises:
        TooFewImagesError: a class has too few images, or too few classes have enough.
    """
    images = {c: dataset.index.images(c, numbers, min_pixels, pairs) for c in classes}
    counts = usable(dataset, images, need.query)
    least = need.least_images(counts.values(), missing == "skip")
    few = {c: len(found) for c, found in images.items() if counts[c] < least}
    enough = {c: found for c, found in images.items() if c not in few}
    if (few and missing == "error") or len(enough) < need.way:
        raise too_few(dataset, need, few, pair_rule(pairs, min_pixels), least, len(enough) >= need.way)
    return Eligible(enough, few, least)


def usable(dataset: Dataset, images: Images, query: int) -> dict[int, int]:
    """Number of images of each class id; 0 if too few of them have a complete mask for the queries of an episode."""
    queries = with_complete_masks(dataset, images)
    return {c: len(found) if len(queries[c]) >= query else 0 for c, found in images.items()}


def with_complete_masks(dataset: Dataset, images: Images) -> Images:
    """Images with a complete mask, which may be queries; the given mapping itself if no mask is weak."""
    if not dataset.weak:
        return images
    weak = np.array(sorted(dataset.weak))
    return {c: found[~np.isin(found, weak)] for c, found in images.items()}


def too_few(
    dataset: Dataset, need: Need, few: dict[int, int], rule: str, least: int, can_skip: bool = False
) -> TooFewImagesError:
    """The error about classes with too few images.

    Args:
        dataset: opened data set.
        need: images that episodes need.
        few: number of images of each class id that has too few.
        rule: rule by which an image counts for a class, in words.
        least: images that a class needs.
        can_skip: see `TooFewImagesError`.
    """
    names = [f"{c} {dataset.class_name(c)} ({n})" for c, n in few.items()]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    masks = f", {need.query} of them with a complete mask" if dataset.weak else ""
    counted = f" ({rule})" if rule else ""
    episode = f"{need.way}-way {need.shot}-shot with {need.query} query"
    demanded = least > need.shot + need.query
    asks, option = (f"min_images {least}", "episodes.min_images") if demanded else (episode, need.option)
    lack = f"{asks} needs {least} {need.split} images a class{masks}; too few show{counted}: "
    fixes = [f"lower `data.{option}`"] if demanded or need.shot > 1 else []
    fixes += ["choose another fold"]
    fixes += ["or leave classes out with `data.episodes.missing_classes` skip"] if can_skip else []
    if need.split == "train" and not need.preferred and not any(few.values()):
        fixes = ["no train image shows a novel class: give `protocol.split` val"]
    fix = ", ".join(fixes)
    return TooFewImagesError(f"{lack}{', '.join(names[:_NAMED])}{more}", f"{fix[0].upper()}{fix[1:]}.", can_skip)
