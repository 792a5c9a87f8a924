"""Classes, images and sizes of validation episodes."""

from typing import Literal, NamedTuple

from fsseg.datasets.base import Dataset
from fsseg.episodes.eligible_images import Need, too_few, usable
from fsseg.episodes.sampler import Images
from fsseg.errors import TooFewImagesError
from fsseg.protocols.protocol import Protocol

Kind = Literal["base", "validation", "novel"]


class Validation(NamedTuple):
    """Classes, images and sizes of validation episodes.

    Attributes:
        images: val images of each class id; empty without validation.
        left_out: number of val images of each class id that has too few.
        kind: what the classes are.
        way: classes per episode.
        shot: supports per class.
        missing: reason why there is no validation; None if there is one, or if none is wanted.
    """

    images: Images
    left_out: dict[int, int]
    kind: Kind = "base"
    way: int = 0
    shot: int = 0
    missing: TooFewImagesError | None = None

    @property
    def reason(self) -> str:
        """Reason why there is no validation, in words without a full stop."""
        return self.missing.lack if self.missing else "`data.episodes.val` is 0"


NONE = Validation({}, {})


def validated_kind(dataset: Dataset, fold: int, protocol: Protocol) -> Kind:
    """The classes of a validation: novel ones by the protocol, else the data set's own for validation, or base ones."""
    if protocol.selection == "novel_val":
        return "novel"
    return "validation" if dataset.validation(fold) else "base"


def validation(dataset: Dataset, kind: Kind, images: Images, need: Need, rule: str, may_shrink: bool) -> Validation:
    """Validation on the classes with enough val images.

    Args:
        dataset: opened data set.
        kind: what the classes are.
        images: val images of each class id.
        need: images that episodes of the test need.
        rule: rule by which an image counts for a class, in words.
        may_shrink: whether validation takes fewer ways or shots than the test where too few classes have enough images.
            A training does: such a validation compares its checkpoints, and no validation compares nothing.
    """
    if not images:
        fix = "Choose another fold, or exclude fewer classes."
        return NONE._replace(missing=TooFewImagesError("the fold has no class to validate", fix))
    counts = usable(dataset, images, need.query)
    way, shot = _largest(sorted(counts.values(), reverse=True), need) if may_shrink else (need.way, need.shot)
    smaller = need._replace(way=way, shot=shot)
    left_out = {c: len(images[c]) for c, count in counts.items() if count < shot + need.query}
    found = {c: numbers for c, numbers in images.items() if c not in left_out}
    missing = None if len(found) >= way else too_few(dataset, smaller, left_out, rule, shot + need.query)
    return Validation(found if missing is None else {}, left_out, kind, way, shot, missing)


def _largest(counts: list[int], need: Need) -> tuple[int, int]:
    """The most ways, and then the most shots, for two classes or at least ``way``; 1 and 1 if all classes lack images.

    Fewer shots than the test has are a loss, and so is a validation on a single class.

    Args:
        counts: usable images of each class, descending.
        need: images that episodes of the test need.
    """
    for way in range(min(need.way, len(counts)), 0, -1):
        shots = [count - need.query for count in counts]
        if shots[way - 1] >= need.shot:
            return way, need.shot
        for classes in (max(way, 2), way):
            if classes <= len(shots) and shots[classes - 1] >= 1:
                return way, min(need.shot, shots[classes - 1])
    return 1, 1
