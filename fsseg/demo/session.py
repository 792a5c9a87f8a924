"""The session of one visitor: painted supports, queries, class names, and the results of a segmenter."""

import copy
import threading
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np

from fsseg.demo.adapting import Support, adapt, compact, usable_labels
from fsseg.demo.class_names import ClassNames
from fsseg.demo.maps import prototype_maps
from fsseg.demo.painting import Way, lacks, painted, rejects, to_labels
from fsseg.demo.passes import Passes
from fsseg.demo.pictures import Picture
from fsseg.demo.results import Result, uncertainty
from fsseg.episode import Mask
from fsseg.errors import FssegError
from fsseg.segmenter import Segmenter
from fsseg.segmenter.inputs import relabelled

SUPPORTS, QUERIES = 12, 24  # of a session, at most 17 and 3 MB each


class Session:
    """Supports, queries and class names of one visitor.

    Args:
        segmenter: the session starts with the classes of this segmenter and does not change them.
        passes: counter of the segmenter's encoder.

    Attributes:
        supports: by number.
        queries: by number.
        classes: names of the classes.
        begin: state of the segmenter before any support of the session.
        support: number of the shown support, 0 for none.
        query: number of the shown query, 0 for none.
        maps: whether to show maps of prototypes.
        threshold: smallest score of a class, see `Segmenter.predict`.
        way: meaning of painted pixels for the next support.
        lock: must be held while the session is used.

    Raises:
        FssegError: the segmenter knows more classes than there are colours.
    """

    def __init__(self, segmenter: Segmenter, passes: Passes) -> None:
        # All sessions share the method and the cached features; the segmenter's state is replaced, never changed.
        self.segmenter, self._passes = copy.copy(segmenter), passes
        self.begin = segmenter.known
        self.classes = ClassNames(segmenter.classes)
        self.supports: dict[int, Support] = {}
        self.queries: dict[int, Picture] = {}
        self.support = self.query = 0
        self.maps, self.threshold = False, 0.0
        self.way: Way = "scribble"
        self.lock = threading.Lock()
        self._next = 1

    @property
    def names(self) -> list[str]:
        """Shown names of the classes by label, from 1."""
        return self.classes.shown

    @property
    def labels(self) -> dict[str, int]:
        """Labels of the segmenter's classes by their names in the segmenter."""
        return self.classes.labels(self.segmenter.classes)

    @property
    def known_labels(self) -> list[int]:
        """Labels of the classes that the segmenter knows."""
        return sorted(self.labels.values())

    def add_support(self, picture: Picture, guided: bool = False) -> None:
        """Add a support and show it.

        Args:
            picture: the image.
            guided: whether the canvas shows the prediction for the image, to be corrected.

        Raises:
            FssegError: there are too many supports.
        """
        self._refuse_more(self.supports, SUPPORTS, "supports")
        self._encode(picture)
        layer = np.zeros(picture.image.shape[:2], dtype=np.uint8)
        way: Way = "scribble" if guided or self.way == "nothing" else self.way
        self.supports[self._next] = Support(picture, layer, way, guided)
        self.support = self._next
        self._next += 1

    def correct(self, number: Any) -> None:
        """Make a query a support, on which corrections of its prediction are painted, and show it.

        Raises:
            FssegError: no query has this number, or there are too many supports.
        """
        self.choose_query(number)
        same = [n for n, support in self.supports.items() if _is_same(support.picture, self.queries[number])]
        if not same:
            self.add_support(self.queries[number], guided=True)
            return
        self.support = same[0]
        self.supports[self.support].guided = True

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
        self.find_support(number)
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
        self.find_support(number)
        del self.supports[number]
        self.support = next(reversed(self.supports), 0) if number == self.support else self.support
        self.adapt()

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
        support = self.find_support(number)
        height, width = support.layer.shape
        support.layer, support.way = layer((height, width)), way
        self.way = way
        labels = usable_labels(self.segmenter, support)
        if labels and support.number is not None and labels == support.labels:
            self.segmenter.repaint(support.number, self._for_segmenter(support))
        else:  # a class or a support was added or removed: adapt to all supports again, from cached features
            self.adapt()

    def set_threshold(self, value: Any) -> None:
        """Set the smallest score of a class.

        Raises:
            FssegError: the value is no number of 0..1.
        """
        if not (isinstance(value, int | float) and 0 <= value <= 1):
            raise FssegError("a threshold of 0..1 is needed.")
        self.threshold = float(value)

    def hint(self) -> str:
        """What the visitor should do next; empty if a result can be shown."""
        if not self.supports and not self.known_labels:
            return "Drop a support image, and click on an object in it."
        support = self.supports.get(self.support)
        if support is not None and support.guided and not support.layer.any() and support.way != "nothing":
            return "Paint what is wrong: the class where it is missing, background where it is too much."
        if support is not None and rejects(support.layer, support.way) and self.known_labels:
            return "Background only: no class is in what you painted."
        if support is not None and support.number is None and (painted(support.layer) or not self.known_labels):
            return lacks(support.layer, support.way) or "Paint more: the method sees fewer pixels than you."
        if not self.known_labels:
            return "Paint an object."
        return "" if self.queries else "Drop a query image."

    def result(
        self, since: tuple[float, int] | None = None, number: int | None = None, unsure: bool = False
    ) -> Result | None:
        """The prediction for a query; None without a query or without known classes.

        Args:
            since: value of `now` when the change began.
            number: of the query; None: the shown query.
            unsure: compute the uncertainty, which needs memory.
        """
        began, passes = since or self.now()
        query = self.queries.get(self.query if number is None else number)
        if query is None or not self.known_labels:
            return None
        found = self.segmenter.predict(query.image, self.threshold, probability=unsure)
        labels = self.labels
        scores = {labels[name]: score for name, score in found.score.items()}
        maps = prototype_maps(self.segmenter, query.image, list(labels.values())) if self.maps and not unsure else []
        doubt = None if found.probability is None else uncertainty(found.probability)
        milliseconds = 1000 * (perf_counter() - began)
        ordered = dict(sorted(scores.items()))
        mask = self._relabelled(found.mask)
        return Result(query, mask, ordered, maps, milliseconds, self._passes.so_far - passes, doubt)

    def guide(self) -> Mask | None:
        """The prediction for the shown support, if it is to be corrected."""
        support = self.supports.get(self.support)
        if support is None or not (support.guided and self.known_labels):
            return None
        return self._relabelled(self.segmenter.segment(support.picture.image, self.threshold))

    def is_support(self, number: int) -> bool:
        """Whether the image of a query is a support too."""
        return any(_is_same(support.picture, self.queries[number]) for support in self.supports.values())

    def now(self) -> tuple[float, int]:
        """Current time and number of encoded images."""
        return perf_counter(), self._passes.so_far

    def adapt(self) -> None:
        """Adapt the segmenter to all painted supports, from the state at the start of the session."""
        self.segmenter.known = self.begin
        adapt(self.segmenter, self.supports.values(), self.classes.keys)

    def _relabelled(self, mask: Mask) -> Mask:
        """A mask of the segmenter in the labels of the colours."""
        return relabelled(mask, dict(enumerate(self.labels.values(), 1)))

    def _for_segmenter(self, support: Support) -> Mask:
        """A support's mask for `Segmenter.repaint`: labels follow the order of the segmenter's classes."""
        labels = to_labels(support.layer, support.way)
        if len(support.labels) == 1:
            return compact(labels, support.labels)
        return compact(labels, [*self.labels.values()])

    def find_support(self, number: Any) -> Support:
        """The support of a number.

        Raises:
            FssegError: no support has this number.
        """
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


def _is_same(one: Picture, other: Picture) -> bool:
    return one is other or np.array_equal(one.image, other.image)
