"""The state of a segmenter. Updates replace the state, so that each thread sees a consistent one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fsseg.episode import BACKGROUND, IGNORE, label_table
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.segmenter.presence_score import Calibration, calibrated, parts_of
from fsseg.segmenter.support_state import ClassState, Support, class_state, logits, shows

MOST = IGNORE - 1  # classes and rejected images, since labels have 8 bits


@dataclass(frozen=True)
class SegmenterState:
    """Supports and the method's state of each class.

    Attributes:
        classes: names in the order of labels; None for each rejected image.
        supports: supports by number.
        states: state of each class.
        calibrations: calibrations by label, computed on demand.
    """

    classes: tuple[str | None, ...] = ()
    supports: Mapping[int, Support] = field(default_factory=dict)
    states: tuple[ClassState, ...] = ()
    calibrations: dict[int, Calibration | None] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, without rejected images."""
        return tuple(name for name in self.classes if name is not None)

    @property
    def found(self) -> dict[int, str]:
        """Names of the classes by label, without rejected images."""
        return {label: name for label, name in enumerate(self.classes, 1) if name is not None}

    def showing(self, label: int) -> list[Support]:
        """Supports that show a class."""
        return [support for support in self.supports.values() if bool(shows(support, label).any())]

    def support(self, number: int) -> Support:
        """The support of a number.

        Raises:
            FssegError: no support has this number.
        """
        if not isinstance(number, int) or number not in self.supports:
            known = ", ".join(map(str, self.supports)) or "none yet"
            raise FssegError(f"no support {number}. Supports: {known}.")
        return self.supports[number]

    def calibration(self, method: Method, label: int) -> Calibration | None:
        """The calibration of a class, computed on the first call."""
        if label not in self.calibrations:
            rejected = [place for place, name in enumerate(self.classes, 1) if name is None]
            without = [part for place in rejected for s in self.showing(place) for part in parts_of(s)]

            def segmenting(supports: Sequence[Support], feature: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
                encoded = supports[0].mask.shape[-2:]
                return logits(method, [class_state(method, supports, label)], feature, (encoded[0], encoded[1]), size)

            self.calibrations[label] = calibrated(self.showing(label), label, segmenting, without)
        return self.calibrations[label]


def changed(
    method: Method, before: SegmenterState, classes: Sequence[str | None], supports: Mapping[int, Support]
) -> SegmenterState:
    """The state with other supports. Only classes whose supports or masks differ are adapted again.

    Args:
        method: method in eval mode.
        before: previous state with the same labels and maybe fewer classes.
        classes: names in the order of labels; None for each rejected image.
        supports: supports by number.

    Raises:
        FssegError: a class has no support, or there are too many classes.
    """
    if len(classes) > MOST:
        raise FssegError(f"{len(classes)} classes and rejected images; give at most {MOST}.")
    numbers = before.supports.keys() | supports.keys()
    moved = [n for n in numbers if before.supports.get(n) is not supports.get(n)]
    touched = labels_of(s for n in moved for s in (before.supports.get(n), supports.get(n)) if s is not None)
    state = SegmenterState(tuple(classes), supports)
    rejected = [label for label, name in enumerate(classes, 1) if name is None] if method.pools_background else []
    if touched & set(rejected):
        touched |= set(range(1, len(classes) + 1))  # the background of every class
    states: list[ClassState] = []
    for label, name in enumerate(classes, 1):
        if label in touched or label > len(before.states):
            shown = state.showing(label)
            if not shown:
                raise FssegError(
                    f"no support shows {name or 'the rejected image'}: its masks have no pixel of it, or too few at "
                    "the segmenter's size. Mark more, or give a larger size."
                )
            states.append([] if label in rejected else class_state(method, [*supports.values()], label, rejected))
        else:
            states.append(before.states[label - 1])
    return SegmenterState(tuple(classes), supports, tuple(states))


def without(method: Method, before: SegmenterState, *numbers: int) -> SegmenterState:
    """The state without some supports, and without classes that have no other support.

    Raises:
        FssegError: no support has one of the numbers.
    """
    leaving = [before.support(number) for number in numbers]
    supports = {n: support for n, support in before.supports.items() if n not in numbers}
    left = [
        label for label in range(1, len(before.classes) + 1) if SegmenterState(before.classes, supports).showing(label)
    ]
    table = torch.from_numpy(label_table({old: new for new, old in enumerate(left, 1)}))

    def moved(support: Support) -> Support:
        return support._replace(mask=table.to(support.mask.device)[support.mask.long()])

    same = left == list(range(1, len(before.classes) + 1))
    every = before.supports if same else {n: moved(support) for n, support in before.supports.items()}
    classes = [before.classes[old - 1] for old in left]
    gone = {before.classes[label - 1] for label in labels_of(leaving)}
    if method.pools_background and None in gone:  # the background of every class changes
        return changed(method, SegmenterState(), classes, {n: every[n] for n in supports})
    remaining = SegmenterState(tuple(classes), every, tuple(before.states[old - 1] for old in left))
    return changed(method, remaining, classes, {n: every[n] for n in supports})


def labels_of(supports: Iterable[Support]) -> set[int]:
    """Labels of the classes that supports show."""
    found = {int(value) for support in supports for value in support.mask.unique()}
    return found - {BACKGROUND, IGNORE}
