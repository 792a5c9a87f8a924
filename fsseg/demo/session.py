"""The session of one visitor: painted supports, queries, class names, and the results of a segmenter."""

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fsseg.demo.maps import Map, prototype_maps
from fsseg.demo.painting import CLASSES, Way, lacks, painted, to_labels
from fsseg.demo.passes import Passes
from fsseg.demo.pictures import Picture
from fsseg.episode import BACKGROUND, Mask
from fsseg.errors import FssegError
from fsseg.segmenter import Segmenter
from fsseg.segmenter.inputs import relabelled
from fsseg.segmenter.tiling import fill_mask
from fsseg.untrusted.text import shown

SUPPORTS, QUERIES = 12, 24  # of a session, about 3 MB each
_LETTERS = 30  # characters of a class name


@dataclass
class Support:
    """A support of the page.

    Attributes:
        picture: the image.
        layer: the painted layer, see `fsseg.demo.painting.read_layer`.
        way: meaning of the painted pixels.
        number: number of the support in the segmenter; None while too little is painted.
        labels: labels of the classes that the segmenter adapted to from this support.
    """

    picture: Picture
    layer: Mask
    way: Way = "mask"
    number: int | None = None
    labels: list[int] = field(default_factory=list)


class Result(NamedTuple):
    """The prediction for a query.

    Attributes:
        query: the image.
        mask: ``H W`` of ``query.image``: 0 background, or the label of a class.
        scores: presence score of each known class by label; None where the segmenter has no score.
        maps: maps of prototypes, if the session shows them.
        milliseconds: time from the change to the result.
        passes: number of images that were encoded for the result.
    """

    query: Picture
    mask: Mask
    scores: Mapping[int, float | None]
    maps: list[Map]
    milliseconds: float
    passes: int


class Session:
    """Supports, queries and class names of one visitor.

    Args:
        segmenter: the session starts with the classes of this segmenter and does not change them.
        passes: counter of the segmenter's encoder.

    Attributes:
        supports: by number.
        queries: by number.
        names: class names, in the order of the colours.
        support: number of the shown support, 0 for none.
        query: number of the shown query, 0 for none.
        maps: whether to show maps of prototypes.
        way: meaning of painted pixels for the next support.
        lock: must be held while the session is used.

    Raises:
        FssegError: the segmenter knows more classes than there are colours.
    """

    def __init__(self, segmenter: Segmenter, passes: Passes) -> None:
        known = segmenter.classes
        if len(known) > CLASSES:
            raise FssegError(f"the segmenter knows {len(known)} classes; the page has colours for {CLASSES}.")
        # All sessions share the method and the cached features; the segmenter's state is replaced, never changed.
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
    def known_labels(self) -> list[int]:
        """Labels of the classes that the segmenter knows."""
        return sorted(1 + self._keys.index(name) for name in self.segmenter.classes)

    def add_support(self, picture: Picture) -> None:
        """Add a support and show it.

        Raises:
            FssegError: there are too many supports.
        """
        self._refuse_more(self.supports, SUPPORTS, "supports")
        self._encode(picture)
        layer = np.zeros(picture.image.shape[:2], dtype=np.uint8)
        self.supports[self._next] = Support(picture, layer, self.way if self.way != "nothing" else "mask")
        self.support = self._next
        self._next += 1

    def add_query(self, picture: Picture) -> None:
        """Add a query and show it.

        Raises:
            FssegError: there are too many queries.
        """
        self._refuse_more(self.queries, QUERIES, "queries")
        self._encode(picture)
        self.queries[self._next] = picture
        self.query = self._next
        self._next += 1

    def choose_support(self, number: Any) -> None:
        """Show another support.

        Raises:
            FssegError: no support has this number.
        """
        self._support(number)
        self.support = number

    def choose_query(self, number: Any) -> None:
        """Show another query.

        Raises:
            FssegError: no query has this number.
        """
        if not isinstance(number, int) or number not in self.queries:
            raise FssegError("this query is not here any more. Drop it again.")
        self.query = number

    def remove_support(self, number: Any) -> None:
        """Remove a support.

        Raises:
            FssegError: see `choose_support`.
        """
        self._support(number)
        del self.supports[number]
        self.support = next(reversed(self.supports), 0) if number == self.support else self.support
        self._adapt()

    def remove_query(self, number: Any) -> None:
        """Remove a query.

        Raises:
            FssegError: see `choose_query`.
        """
        self.choose_query(number)
        del self.queries[number]
        self.query = next(reversed(self.queries), 0)

    def paint(self, number: Any, layer: Callable[[tuple[int, int]], Mask], way: Way) -> None:
        """Adapt the segmenter to a new layer of a support.

        Args:
            number: of the support.
            layer: returns the new layer for a size ``(H, W)``.
            way: meaning of the painted pixels.

        Raises:
            FssegError: no support has this number, or ``layer`` refuses the layer.
        """
        support = self._support(number)
        height, width = support.layer.shape
        support.layer, support.way = layer((height, width)), way
        self.way = way
        labels = self._usable_labels(support)
        if labels and support.number is not None and labels == support.labels:
            self.segmenter.repaint(support.number, self._for_segmenter(support))
        else:  # a class or a support was added or removed: adapt to all supports again, from cached features
            self._adapt()

    def rename(self, names: Any) -> None:
        """Change the shown names of the classes.

        Raises:
            FssegError: names are missing, or a name is no text.
        """
        if not (isinstance(names, list) and len(names) == CLASSES and all(isinstance(name, str) for name in names)):
            raise FssegError(f"{CLASSES} names of classes are needed.")
        self.names = [shown(name)[:_LETTERS].strip() or key for name, key in zip(names, self._keys, strict=True)]

    def hint(self) -> str:
        """What the visitor should do next; empty if a result can be shown."""
        if not self.supports and not self.known_labels:
            return "Drop a support image, and paint an object on it."
        support = self.supports.get(self.support)
        if support is not None and support.number is None and (painted(support.layer) or not self.known_labels):
            return lacks(support.layer, support.way) or "Paint more: the method sees fewer pixels than you."
        if not self.known_labels:
            return "Paint an object."
        return "" if self.queries else "Drop a query image."

    def result(self, since: tuple[float, int] | None = None, number: int | None = None) -> Result | None:
        """The prediction for a query; None without a query or without known classes.

        Args:
            since: value of `now` when the change began.
            number: of the query; None: the shown query.
        """
        began, passes = since or self.now()
        query = self.queries.get(self.query if number is None else number)
        if query is None or not self.known_labels:
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
        """Current time and number of encoded images."""
        return perf_counter(), self._passes.so_far

    def _adapt(self) -> None:
        """Adapt the segmenter to all painted supports, from the state at the start of the session."""
        self.segmenter.known = self._start
        for support in self.supports.values():
            support.number, support.labels = None, []
        for support in self.supports.values():
            if labels := self._usable_labels(support):
                names = [self._keys[label - 1] for label in labels]
                mask = _compact(to_labels(support.layer, support.way), labels)
                [support.number] = self.segmenter.learn(support.picture.image, mask, names)
                support.labels = labels
        for support in self.supports.values():
            if support.way == "nothing":
                [support.number] = self.segmenter.reject(support.picture.image)

    def _usable_labels(self, support: Support) -> list[int]:
        """Labels that the segmenter can use; small strokes vanish when the mask is resized for the method."""
        if support.way == "nothing" or lacks(support.layer, support.way):
            return []
        seen = fill_mask(to_labels(support.layer, support.way), self.segmenter.canvas._replace(fit="square"))
        return painted(seen) if (seen == BACKGROUND).any() else []

    def _for_segmenter(self, support: Support) -> Mask:
        """A support's mask for `Segmenter.repaint`: labels follow the order of the segmenter's classes."""
        labels = to_labels(support.layer, support.way)
        if len(support.labels) == 1:
            return _compact(labels, support.labels)
        return _compact(labels, [1 + self._keys.index(name) for name in self.segmenter.classes])

    def _support(self, number: Any) -> Support:
        if not isinstance(number, int) or number not in self.supports:
            raise FssegError("this support is not here any more. Drop it again.")
        return self.supports[number]

    def _encode(self, picture: Picture) -> None:
        """Encode a square image at once, so that painting need not wait; other fits differ for support and query."""
        if self.segmenter.canvas.fit == "square":
            self.segmenter.feature(picture.image)

    def _refuse_more(self, present: Mapping[int, Any], most: int, what: str) -> None:
        if len(present) >= most:
            raise FssegError(f"at most {most} {what} are allowed. Remove one first.")


def _compact(labels: Mask, order: list[int]) -> Mask:
    """Labels renumbered from 1 on in the given order; ignored pixels stay 255."""
    return relabelled(labels, {label: place for place, label in enumerate(order, 1)})
