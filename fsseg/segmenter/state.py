"""The state of a segmenter. Updates replace the state, so that each thread sees a consistent one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from fsseg.episode import BACKGROUND, IGNORE, label_table
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.segmenter.object_cells import object_cells
from fsseg.segmenter.presence_score import Calibration, calibrated, parts_of
from fsseg.segmenter.regions import CELLS, Appearance, appearances
from fsseg.segmenter.support_state import ClassState, Support, class_state, logits

T = TypeVar("T")
MOST = IGNORE - 1  # classes and rejected images, since labels have 8 bits
_ADAPTING = 100  # supports of a class with one state for all, a limit of time and memory; our choice
_CALIBRATING = 10  # supports, and parts of rejected images, that calibrate a score, a limit of time; our choice


@dataclass(frozen=True)
class SegmenterState:
    """Supports and the method's state of each class.

    Attributes:
        classes: names in the order of labels; None for each rejected image.
        supports: supports by number.
        labels: labels that each support shows, by number.
        method: method in eval mode; None without supports.
        adapted: states that were computed, by label and, for a method with a state per support, number; else 0. Label 0
            is that of all classes as one.
        calibrations: calibrations by label, computed on demand.
        appearances: how the classes look on each feature map, by its number, computed on demand.
    """

    classes: tuple[str | None, ...] = ()
    supports: Mapping[int, Support] = field(default_factory=dict)
    labels: Mapping[int, frozenset[int]] = field(default_factory=dict)
    method: Method | None = None
    adapted: dict[tuple[int, int], ClassState] = field(default_factory=dict)
    calibrations: dict[int, Calibration | None] = field(default_factory=dict)
    appearances: dict[int, Appearance] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, without rejected images."""
        return tuple(name for name in self.classes if name is not None)

    @property
    def found(self) -> dict[int, str]:
        """Names of the classes by label, without rejected images."""
        return {label: name for label, name in enumerate(self.classes, 1) if name is not None}

    @property
    def states(self) -> tuple[ClassState, ...]:
        """The state of each class. A state of all supports of a class is computed when it is first needed."""
        return tuple(self._state(label) for label in range(1, 1 + len(self.classes)))

    @torch.inference_mode()
    def _state(self, label: int) -> ClassState:
        if self.method is None or label in pooled(self.method, self.classes):
            return []
        if is_per_support(self.method):
            return [part for n, shown in self.labels.items() if label in shown for part in self.adapted[label, n]]
        if (label, 0) not in self.adapted:
            rejected = pooled(self.method, self.classes)
            self.adapted[label, 0] = class_state(self.method, self._adapting([label]), label, rejected)
        return self.adapted[label, 0]

    def _adapting(self, labels: Sequence[int]) -> list[Support]:
        """The supports of classes, and the rejected images, that a state for all is computed from; each once."""
        assert self.method is not None
        wanted = (*labels, *pooled(self.method, self.classes))
        every = {id(support): support for one in wanted for support in spread(self.showing(one), _ADAPTING)}
        return [*every.values()]

    @property
    def is_pooled(self) -> bool:
        """Whether all classes together can be segmented as one, see `Method.pools_background`."""
        return self.method is not None and self.method.pools_background

    @torch.inference_mode()
    def any_class(self) -> ClassState:
        """The state of all classes as one, computed when it is first needed."""
        assert self.method is not None
        if (0, 0) not in self.adapted:
            first = next(iter(self.found))
            table = torch.from_numpy(label_table({n: first if name else n for n, name in enumerate(self.classes, 1)}))
            each = [_relabelled(support, table) for support in self._adapting([*self.found])]
            self.adapted[0, 0] = class_state(self.method, each, first, pooled(self.method, self.classes))
        return self.adapted[0, 0]

    @property
    def looks(self) -> list[Appearance]:
        """How the classes look, computed when it is first needed."""
        if not self.appearances:
            most = CELLS // len(self.found)
            shown = {label: spread(self.showing(label), _ADAPTING) for label in self.found}
            each = [object_cells(some, label, most) for label, some in shown.items()]
            self.appearances.update(enumerate(appearances(each)))
        return [*self.appearances.values()]

    def showing(self, label: int) -> list[Support]:
        """Supports that show a class."""
        return [support for number, support in self.supports.items() if label in self.labels[number]]

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
        """The calibration of a class, computed on the first call, from at most ten supports."""
        if label not in self.calibrations:
            rejected = [place for place, name in enumerate(self.classes, 1) if name is None]
            without = [part for place in rejected for s in self.showing(place) for part in parts_of(s)]
            latest: dict[tuple[int, ...], ClassState] = {}

            def segmenting(supports: Sequence[Support], feature: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
                key = tuple(map(id, supports))
                if key not in latest:  # parts of one support are segmented by the same others
                    latest.clear()
                    latest[key] = class_state(method, supports, label)
                encoded = supports[0].mask.shape[-2:]
                return logits(method, [latest[key]], feature, (encoded[0], encoded[1]), size)

            some = spread(self.showing(label), _CALIBRATING)
            self.calibrations[label] = calibrated(some, label, segmenting, spread(without, _CALIBRATING))
        return self.calibrations[label]


def spread(every: Sequence[T], most: int) -> Sequence[T]:
    """At most so many elements, at equal steps."""
    return every if len(every) <= most else [every[i * len(every) // most] for i in range(most)]


def is_per_support(method: Method) -> bool:
    """Whether the state of a class has a part for each support, which no other support changes."""
    return method.state_per != "class" and not method.pools_background


def pooled(method: Method, classes: Sequence[str | None]) -> list[int]:
    """Labels of rejected images that are background of every class, see `Method.pools_background`."""
    return [label for label, name in enumerate(classes, 1) if name is None] if method.pools_background else []


def changed(
    method: Method, before: SegmenterState, classes: Sequence[str | None], supports: Mapping[int, Support]
) -> SegmenterState:
    """The state with other supports. Only what depends on supports or masks that differ is computed again.

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
    same = {number for number, support in supports.items() if before.supports.get(number) is support}
    labels = {n: before.labels[n] if n in same else labels_of([support]) for n, support in supports.items()}
    every = frozenset().union(*labels.values())
    for label, name in enumerate(classes, 1):
        if label not in every:
            raise FssegError(
                f"no support shows {name or 'the rejected image'}: its masks have no pixel of it, or too few at "
                "the segmenter's size. Mark more, or give a larger size."
            )
    touched = frozenset().union(*(shown for known in (before.labels, labels) for n, shown in known.items()
                                  if n not in same))  # fmt: skip
    if touched & {*pooled(method, classes)}:
        touched = every  # the background of every class
    adapted = {
        (label, n): state
        for (label, n), state in before.adapted.items()
        if label and (n in same if is_per_support(method) else label not in touched)
    }
    if is_per_support(method):
        new = {(label, n): supports[n] for n, shown in labels.items() if n not in same for label in shown}
        adapted |= {(label, n): class_state(method, [support], label) for (label, n), support in new.items()}
    return SegmenterState(tuple(classes), supports, labels, method, adapted)


def without(method: Method, before: SegmenterState, *numbers: int) -> SegmenterState:
    """The state without some supports, and without classes that have no other support.

    Raises:
        FssegError: no support has one of the numbers.
    """
    leaving = [before.support(number) for number in numbers]
    labels = {n: shown for n, shown in before.labels.items() if n not in numbers}
    left = sorted(frozenset().union(*labels.values()))
    if left == list(range(1, len(before.classes) + 1)):
        return changed(method, before, before.classes, {n: before.supports[n] for n in labels})
    place = {old: new for new, old in enumerate(left, 1)}
    table = torch.from_numpy(label_table(place))
    supports = {n: _relabelled(before.supports[n], table) for n in labels}
    classes = tuple(before.classes[old - 1] for old in left)
    kept = {n: frozenset(place[old] for old in shown) for n, shown in labels.items()}
    adapted = {
        (place[old], n): state for (old, n), state in before.adapted.items() if old in place and n not in numbers
    }
    if not is_per_support(method):
        gone = labels_of(leaving)
        is_pooled = bool(gone & {*pooled(method, before.classes)})  # the background of every class changes
        alike = {place[old] for old in left if not is_pooled and old not in gone}
        adapted = {(label, n): state for (label, n), state in adapted.items() if label in alike}
    return SegmenterState(classes, supports, kept, method, adapted)


def _relabelled(support: Support, table: Tensor) -> Support:
    return support._replace(mask=table.to(support.mask.device)[support.mask.long()])


def labels_of(supports: Iterable[Support]) -> frozenset[int]:
    """Labels of the classes that supports show."""
    found = {int(value) for support in supports for value in support.mask.unique()}
    return frozenset(found - {BACKGROUND, IGNORE})
