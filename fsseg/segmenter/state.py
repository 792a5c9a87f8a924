"""The state of a segmenter. It is replaced, never changed, so that each thread sees one state or the next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fsseg.episode import BACKGROUND, IGNORE, label_table
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.segmenter.presence_score import Calibration, calibrated, parts_of
from fsseg.segmenter.support_state import ClassState, Support, class_state, logits, shows

MOST = IGNORE - 1  # classes, with pictures that were rejected


@dataclass(frozen=True)
class SegmenterState:
    """Supports and the method's states of the classes that they show.

    Attributes:
        classes: names, in the order of their labels; None for each rejected image.
        supports: by number.
        states: of each class.
        calibrations: of the classes that were asked for, by label.
    """

    classes: tuple[str | None, ...] = ()
    supports: Mapping[int, Support] = field(default_factory=dict)
    states: tuple[ClassState, ...] = ()
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
            without = [part for place in rejected for s in self.showing(place) for part in parts_of(s)]

            def segmenting(supports: Sequence[Support], feature: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
                return logits(method, [class_state(method, supports, label)], feature, size)

            self.calibrations[label] = calibrated(self.showing(label), label, segmenting, without)
        return self.calibrations[label]


def changed(
    method: Method, before: SegmenterState, classes: Sequence[str | None], supports: Mapping[int, Support]
) -> SegmenterState:
    """The state with other supports; classes whose supports or masks differ are adapted to anew.

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
    state = SegmenterState(tuple(classes), supports)
    states = []
    for label, name in enumerate(classes, 1):
        if label in touched or label > len(before.states):
            shown = state.showing(label)
            if not shown:
                raise FssegError(
                    f"no support shows {name or 'what is rejected'}: no pixel of a mask is it, or too few to be left "
                    "at the size at which pictures are shown."
                )
            states.append(class_state(method, shown, label))
        else:
            states.append(before.states[label - 1])
    return SegmenterState(tuple(classes), supports, tuple(states))


def without(method: Method, before: SegmenterState, number: int) -> SegmenterState:
    """The state without a support, and without its class where that has no other.

    Raises:
        FssegError: there is no such support.
    """
    before.support(number)
    supports = {n: support for n, support in before.supports.items() if n != number}
    left = [
        label for label in range(1, len(before.classes) + 1) if SegmenterState(before.classes, supports).showing(label)
    ]
    table = torch.from_numpy(label_table({old: new for new, old in enumerate(left, 1)}))

    def moved(support: Support) -> Support:
        return support._replace(mask=table.to(support.mask.device)[support.mask.long()])

    same = left == list(range(1, len(before.classes) + 1))
    every = before.supports if same else {n: moved(support) for n, support in before.supports.items()}
    classes = [before.classes[old - 1] for old in left]
    kept = SegmenterState(tuple(classes), every, tuple(before.states[old - 1] for old in left))
    return changed(method, kept, classes, {n: every[n] for n in supports})


def labels_of(supports: Iterable[Support]) -> set[int]:
    """Labels of the classes that supports show."""
    found = {int(value) for support in supports for value in support.mask.unique()}
    return found - {BACKGROUND, IGNORE}
