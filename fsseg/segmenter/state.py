"""All that a segmenter knows: never changed but replaced, so that threads see one state or the next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from fsseg.episode import BACKGROUND, IGNORE
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.segmenter.presence_score import Calibration, calibrated
from fsseg.segmenter.support_state import Lessons, Support, lesson, logits, shows

MOST = IGNORE - 1  # classes, with pictures that were rejected


@dataclass(frozen=True)
class Learnt:
    """Supports and what they taught.

    Attributes:
        classes: names, in the order of their labels; None is what was rejected, one class for each picture.
        supports: by number.
        lessons: of each class.
        calibrations: of the classes that were asked for, by label.
    """

    classes: tuple[str | None, ...] = ()
    supports: Mapping[int, Support] = field(default_factory=dict)
    lessons: tuple[Lessons, ...] = ()
    calibrations: dict[int, Calibration | None] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes that can be found."""
        return tuple(name for name in self.classes if name is not None)

    @property
    def found(self) -> dict[int, str]:
        """Classes that can be found, by label."""
        return {label: name for label, name in enumerate(self.classes, 1) if name is not None}

    def showing(self, label: int) -> list[Support]:
        """Supports that show a class."""
        return [support for support in self.supports.values() if bool(shows(support, label).any())]

    @cached_property
    def shots(self) -> tuple[int, ...]:
        """How many supports, or parts of supports, each class has."""
        return tuple(shots_of(list(self.supports.values()), label) for label in range(1, len(self.classes) + 1))

    def support(self, number: int) -> Support:
        """A support.

        Raises:
            FssegError: there is none of this number.
        """
        if not isinstance(number, int) or number not in self.supports:
            known = ", ".join(map(str, self.supports)) or "none yet"
            raise FssegError(f"no support {number}. Supports: {known}.")
        return self.supports[number]

    def calibration(self, method: Method, label: int) -> Calibration | None:
        """Of a class, made when it is first asked for."""
        if label not in self.calibrations:
            rejected = [place for place, name in enumerate(self.classes, 1) if name is None]
            without = [feature for place in rejected for s in self.showing(place) for feature in s.feature]

            def segmenting(supports: Sequence[Support], feature: Tensor, size: tuple[int, int]) -> Tensor:
                return logits(method, [lesson(method, supports, label)], [shots_of(supports, label)], feature, size)

            self.calibrations[label] = calibrated(self.showing(label), label, segmenting, without)
        return self.calibrations[label]


def changed(method: Method, before: Learnt, classes: Sequence[str | None], supports: Mapping[int, Support]) -> Learnt:
    """What is known with other supports; lessons are learnt anew of classes whose supports or masks differ.

    Args:
        method: in eval mode.
        before: with the same labels, maybe of fewer classes.
        classes: names.
        supports: by number.

    Raises:
        FssegError: a class is left without a support, or there are too many.
    """
    if len(classes) > MOST:
        raise FssegError(f"{len(classes)} classes and rejected pictures: {MOST} are the most.")
    numbers = before.supports.keys() | supports.keys()
    moved = [n for n in numbers if before.supports.get(n) is not supports.get(n)]
    touched = labels_of(s for n in moved for s in (before.supports.get(n), supports.get(n)) if s is not None)
    state = Learnt(tuple(classes), supports)
    lessons = []
    for label, name in enumerate(classes, 1):
        if label in touched or label > len(before.lessons):
            shown = state.showing(label)
            if not shown:
                raise FssegError(
                    f"no support shows {name or 'what is rejected'}: no pixel of a mask is it, or too few to be left "
                    "at the size at which pictures are shown."
                )
            lessons.append(lesson(method, shown, label))
        else:
            lessons.append(before.lessons[label - 1])
    return Learnt(tuple(classes), supports, tuple(lessons))


def without(method: Method, before: Learnt, number: int) -> Learnt:
    """What is known without a support, and without its class where it was the last of it.

    Raises:
        FssegError: there is no such support.
    """
    before.support(number)
    supports = {n: support for n, support in before.supports.items() if n != number}
    left = [label for label in range(1, len(before.classes) + 1) if Learnt(before.classes, supports).showing(label)]
    table = torch.zeros(IGNORE + 1, dtype=torch.uint8)
    table[IGNORE] = IGNORE
    for new, old in enumerate(left, 1):
        table[old] = new

    def moved(support: Support) -> Support:
        return support._replace(mask=table.to(support.mask.device)[support.mask.long()])

    same = left == list(range(1, len(before.classes) + 1))
    every = before.supports if same else {n: moved(support) for n, support in before.supports.items()}
    classes = [before.classes[old - 1] for old in left]
    kept = Learnt(tuple(classes), every, tuple(before.lessons[old - 1] for old in left))
    return changed(method, kept, classes, {n: every[n] for n in supports})


def shots_of(supports: Sequence[Support], label: int) -> int:
    """How many of some supports, or of their parts, show a class."""
    return sum(int(shows(support, label).sum()) for support in supports)


def labels_of(supports: Iterable[Support]) -> set[int]:
    """Labels of the classes that supports show."""
    found = {int(value) for support in supports for value in support.mask.unique()}
    return found - {BACKGROUND, IGNORE}
