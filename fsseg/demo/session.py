"""What one person has on the page: supports that are painted on, queries, and what a segmenter makes of them."""

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fsseg.datasets.base import Mask
from fsseg.demo.maps import Map, prototype_maps
from fsseg.demo.painting import CLASSES, Way, lacks, painted, to_labels
from fsseg.demo.passes import Passes
from fsseg.demo.pictures import Picture
from fsseg.episode import BACKGROUND
from fsseg.errors import FssegError
from fsseg.segmenter import Segmenter
from fsseg.segmenter.inputs import relabelled
from fsseg.segmenter.tiling import fill_mask
from fsseg.untrusted.text import shown

SUPPORTS, QUERIES = 12, 24  # that a session keeps, of some 3 MB each
_LETTERS = 30  # of a class's name


@dataclass
class Support:
    """A picture to paint on.

    Attributes:
        picture: itself.
        layer: what was painted, see `fsseg.demo.painting.read_layer`.
        way: how that is meant.
        learnt: number that the segmenter knows it by; None while too little is painted.
        taught: labels that it taught.
    """

    picture: Picture
    layer: Mask
    way: Way = "mask"
    learnt: int | None = None
    taught: list[int] = field(default_factory=list)


class Result(NamedTuple):
    """What was found in a query.

    Attributes:
        query: itself.
        mask: ``H W`` at the size that is worked on: 0, or classes by their colours' numbers.
        scores: of each class that was taught, by label; None where nothing can be said.
        maps: what prototypes see, where that was asked for.
        milliseconds: from the change to the result.
        passes: pictures that the encoder was shown for it.
    """

    query: Picture
    mask: Mask
    scores: Mapping[int, float | None]
    maps: list[Map]
    milliseconds: float
    passes: int


class Session:
    """Supports, queries and class names of one person.

    Args:
        segmenter: of the method; what it has learnt is where the session begins.
        passes: of its encoder.

    Attributes:
        supports: by number.
        queries: by number.
        names: of the classes, in the order of their colours.
        support: number of the one that is painted on.
        query: number of the one that is shown.
        maps: whether to look at prototypes.
        lock: to hold while it is used.

    Raises:
        FssegError: the segmenter knows more classes than there are colours.
    """

    def __init__(self, segmenter: Segmenter, passes: Passes) -> None:
        known = segmenter.classes
        if len(known) > CLASSES:
            raise FssegError(f"the segmenter knows {len(known)} classes; the page has colours for {CLASSES}.")
        # Method and encoded pictures are common to all sessions; what was learnt is replaced, never changed.
        self.segmenter, self._passes = copy.copy(segmenter), passes
        self._start = segmenter.known
        self._keys = [*known, *(f"class {place}" for place in range(len(known) + 1, CLASSES + 1))]
        self.names = list(self._keys)
        self.supports: dict[int, Support] = {}
        self.queries: dict[int, Picture] = {}
        self.support = self.query = 0
        self.maps = False
        self.way: Way = "mask"
        self.lock = threading.Lock()
        self._next = 1

    @property
    def taught(self) -> list[int]:
        """Labels of the classes that can be found."""
        return sorted(1 + self._keys.index(name) for name in self.segmenter.classes)

    def add_support(self, picture: Picture) -> None:
        """Take a support up and show it.

        Raises:
            FssegError: there are too many.
        """
        self._refuse_more(self.supports, SUPPORTS, "supports")
        self._encode(picture)
        layer = np.zeros(picture.image.shape[:2], dtype=np.uint8)
        self.supports[self._next] = Support(picture, layer, self.way if self.way != "nothing" else "mask")
        self.support = self._next
        self._next += 1

    def add_query(self, picture: Picture) -> None:
        """Take a query up and show it.

        Raises:
            FssegError: there are too many.
        """
        self._refuse_more(self.queries, QUERIES, "queries")
        self._encode(picture)
        self.queries[self._next] = picture
        self.query = self._next
        self._next += 1

    def choose_support(self, number: Any) -> None:
        """Show another support.

        Raises:
            FssegError: there is none of this number.
        """
        self._support(number)
        self.support = number

    def choose_query(self, number: Any) -> None:
        """Show another query.

        Raises:
            FssegError: see `choose_support`.
        """
        if not isinstance(number, int) or number not in self.queries:
            raise FssegError("that query is not here any more. Drop it again.")
        self.query = number

    def remove_support(self, number: Any) -> None:
        """Forget a support.

        Raises:
            FssegError: see `choose_support`.
        """
        self._support(number)
        del self.supports[number]
        self.support = next(reversed(self.supports), 0) if number == self.support else self.support
        self._learn_all()

    def remove_query(self, number: Any) -> None:
        """Forget a query.

        Raises:
            FssegError: see `choose_support`.
        """
        self.choose_query(number)
        del self.queries[number]
        self.query = next(reversed(self.queries), 0)

    def paint(self, number: Any, layer: Callable[[tuple[int, int]], Mask], way: Way) -> None:
        """Learn from what is painted on a support now.

        Args:
            number: of the support.
            layer: what is painted, for a size.
            way: how it is meant.

        Raises:
            FssegError: no such support, or a layer that is none.
        """
        support = self._support(number)
        height, width = support.layer.shape
        support.layer, support.way = layer((height, width)), way
        self.way = way
        now = self._teaches(support)
        if now and support.learnt is not None and now == support.taught:
            self.segmenter.repaint(support.learnt, self._for_segmenter(support))
        else:  # classes come or go, or the support itself does: all is learnt anew, from features that were kept
            self._learn_all()

    def rename(self, names: Any) -> None:
        """Give the classes other names, which are only shown.

        Raises:
            FssegError: names are missing, or no text.
        """
        if not (isinstance(names, list) and len(names) == CLASSES and all(isinstance(name, str) for name in names)):
            raise FssegError(f"{CLASSES} names of classes are needed.")
        self.names = [shown(name)[:_LETTERS].strip() or key for name, key in zip(names, self._keys, strict=True)]

    def hint(self) -> str:
        """What to do next, while nothing can be shown."""
        if not self.supports and not self.taught:
            return "Drop a support picture, and paint an object on it."
        support = self.supports.get(self.support)
        if support is not None and support.learnt is None and (painted(support.layer) or not self.taught):
            return lacks(support.layer, support.way) or "Paint more: the method is shown fewer pixels than you see."
        if not self.taught:
            return "Paint an object."
        return "" if self.queries else "Drop a query picture."

    def result(self, since: tuple[float, int] | None = None, number: int | None = None) -> Result | None:
        """What is found in a query; None while there is none, or nothing was taught.

        Args:
            since: what `now` gave when the change began.
            number: of the query; the one that is shown.
        """
        began, passes = since or self.now()
        query = self.queries.get(self.query if number is None else number)
        if query is None or not self.taught:
            return None
        found = self.segmenter.predict(query.image, probability=False)
        labels = {name: 1 + self._keys.index(name) for name in self.segmenter.classes}
        mask = relabelled(found.mask, dict(enumerate(labels.values(), 1)))
        scores = {labels[name]: score for name, score in found.score.items()}
        maps = prototype_maps(self.segmenter, query.image, list(labels.values())) if self.maps else []
        milliseconds = 1000 * (perf_counter() - began)
        ordered = dict(sorted(scores.items()))
        return Result(query, mask, ordered, maps, milliseconds, self._passes.so_far - passes)

    def now(self) -> tuple[float, int]:
        """Time, and encoder passes so far."""
        return perf_counter(), self._passes.so_far

    def _learn_all(self) -> None:
        """Learn from all supports that are painted on."""
        self.segmenter.known = self._start
        for support in self.supports.values():
            support.learnt, support.taught = None, []
        for support in self.supports.values():
            if taught := self._teaches(support):
                names = [self._keys[label - 1] for label in taught]
                labels = _compact(to_labels(support.layer, support.way), taught)
                [support.learnt] = self.segmenter.learn(support.picture.image, labels, names)
                support.taught = taught
        for support in self.supports.values():
            if support.way == "nothing":
                [support.learnt] = self.segmenter.reject(support.picture.image)

    def _teaches(self, support: Support) -> list[int]:
        """Labels that a support teaches now; at the size that the method is shown, small marks are gone."""
        if support.way == "nothing" or lacks(support.layer, support.way):
            return []
        seen = fill_mask(to_labels(support.layer, support.way), self.segmenter.canvas._replace(fit="square"))
        return painted(seen) if (seen == BACKGROUND).any() else []

    def _for_segmenter(self, support: Support) -> Mask:
        """A support's mask as `Segmenter.repaint` takes it: labels by the order in which classes were learnt."""
        labels = to_labels(support.layer, support.way)
        if len(support.taught) == 1:
            return _compact(labels, support.taught)
        return _compact(labels, [1 + self._keys.index(name) for name in self.segmenter.classes])

    def _support(self, number: Any) -> Support:
        if not isinstance(number, int) or number not in self.supports:
            raise FssegError("that support is not here any more. Drop it again.")
        return self.supports[number]

    def _encode(self, picture: Picture) -> None:
        """Now, so that painting need not wait for it; squares have one form as support and as query."""
        if self.segmenter.canvas.fit == "square":
            self.segmenter.feature(picture.image)

    def _refuse_more(self, kept: Mapping[int, Any], most: int, what: str) -> None:
        if len(kept) >= most:
            raise FssegError(f"{most} {what} are the most. Take one away first.")


def _compact(labels: Mask, order: list[int]) -> Mask:
    """Labels renumbered from 1 on; what is open stays."""
    return relabelled(labels, {label: place for place, label in enumerate(order, 1)})
