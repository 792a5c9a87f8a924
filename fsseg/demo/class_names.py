"""Names of the classes by the labels of their colours."""

from collections.abc import Iterable, Sequence
from typing import Any

from fsseg.demo.painting import CLASSES
from fsseg.errors import FssegError
from fsseg.untrusted.text import shown

_LETTERS = 30  # characters of a class name


class ClassNames:
    """The shown names of the classes, and their names in the segmenter.

    Args:
        known: names of the classes that the segmenter knows.

    Attributes:
        shown: by label, from 1.
        keys: names in the segmenter, likewise.

    Raises:
        FssegError: the segmenter knows more classes than there are colours.
    """

    def __init__(self, known: Sequence[str]) -> None:
        if len(known) > CLASSES:
            raise FssegError(f"the segmenter knows {len(known)} classes; the page has colours for {CLASSES}.")
        self.keys = [*known, *(f"class {place}" for place in range(len(known) + 1, CLASSES + 1))]
        self.shown = list(self.keys)

    def labels(self, classes: Iterable[str]) -> dict[str, int]:
        """Labels of the segmenter's classes, in their order."""
        return {name: 1 + self.keys.index(name) for name in classes}

    def rename(self, names: Any) -> None:
        """Change the shown names; an empty name is that of the segmenter.

        Raises:
            FssegError: names are missing, or a name is no text.
        """
        if not (isinstance(names, list) and len(names) == CLASSES and all(isinstance(name, str) for name in names)):
            raise FssegError(f"{CLASSES} names of classes are needed.")
        self.shown = [_line(name) or key for name, key in zip(names, self.keys, strict=True)]

    def place(self, names: Iterable[str], used: Iterable[int]) -> dict[str, int]:
        """A label for each name: that of the class with the name, or one that is not in use.

        Raises:
            FssegError: there are more classes than colours.
        """
        found: dict[str, int] = {}
        taken = {*used}
        for name in dict.fromkeys(names):
            same = [label for label, own in enumerate(self.shown, 1) if own == _line(name)]
            free = [label for label in range(1, CLASSES + 1) if label not in taken]
            left = [label for label in same + free if label not in found.values()]
            if not left:
                raise FssegError(
                    f"no colour is left for the class {_line(name)}: there are {CLASSES}. Remove supports of a class."
                )
            found[name] = left[0]
        return found

    def show(self, placed: dict[str, int]) -> None:
        """Take over the names of `place`."""
        for name, label in placed.items():
            self.shown[label - 1] = _line(name) or self.keys[label - 1]

    def know(self, placed: dict[str, int]) -> None:
        """Take over the names of `place` as those of the segmenter."""
        for name, label in placed.items():
            if name in self.keys:
                self.keys[self.keys.index(name)] = self.keys[label - 1]
            self.keys[label - 1] = name
        self.show(placed)


def _line(name: str) -> str:
    return shown(name)[:_LETTERS].strip()
