"""What data sets of one's own share: folds given or made, and a val split made by name."""

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fsseg.datasets.base import MOST_CLASSES, Dataset
from fsseg.errors import FssegError
from fsseg.untrusted.text import is_line

Folds = int | list[list[str]]

_MADE = 4  # folds, where nobody says otherwise and there are as many classes


class OwnDataset(Dataset):
    """A data set whose classes and folds are known only once its files are read.

    Attributes:
        option: of the data set's class, for errors.
    """

    option: ClassVar[str]
    class_names: tuple[str, ...] = ()
    _folds: tuple[tuple[int, ...], ...] = ()

    def novel(self, fold: int) -> tuple[int, ...]:
        """Class ids that the fold tests on."""
        return self._folds[fold]

    def _set_classes(self, names: Sequence[str], folds: Folds | None, where: str) -> None:
        """Take over names, and folds as they are given or made: blocks of nearly equal size, in the names' order.

        Raises:
            FssegError: too many classes, or folds that are no partition of them.
        """
        if not 1 <= len(names) <= MOST_CLASSES:
            raise FssegError(f"{where} has {len(names)} classes; 1 to {MOST_CLASSES} are possible.")
        check_names(names, where)
        self.class_names = tuple(names)
        self._folds = made_folds(self.class_names, folds, where)
        self.folds = len(self._folds)
        self.fold_words = "as given" if isinstance(folds, list) else "blocks of nearly equal size"


def made_folds(names: Sequence[str], folds: Folds | None, where: str) -> tuple[tuple[int, ...], ...]:
    """Novel class ids of each fold.

    Args:
        names: of the classes.
        folds: number of folds to make, names of each fold's novel classes, or None for up to four folds.
        where: names the place in an error.

    Raises:
        FssegError: more folds than classes, or lists that are no partition of the names.
    """
    if folds is None:
        folds = min(_MADE, len(names))
    if isinstance(folds, int):
        if not 1 <= folds <= len(names):
            raise FssegError(f"{where}: {folds} folds of {len(names)} classes; 1 to {len(names)} are possible.")
        return tuple(tuple(int(c) + 1 for c in part) for part in np.array_split(np.arange(len(names)), folds))
    listed = [str(name) for fold in folds for name in fold]
    alien = [name for name in listed if name not in names]
    lacking = [name for name in names if name not in listed]
    twice = [name for name in names if listed.count(name) > 1]
    for wrong, what in ((alien, "is no class"), (lacking, "is in no fold"), (twice, "is in two folds")):
        if wrong:
            raise FssegError(
                f"{where}: {wrong[0]} {what}. Each class belongs to one fold; classes: {', '.join(names)}."
            )
    if not all(folds):
        raise FssegError(f"{where}: fold {[bool(fold) for fold in folds].index(False)} is empty.")
    return tuple(tuple(sorted(names.index(str(name)) + 1 for name in fold)) for fold in folds)


def is_val(name: str, share: float) -> bool:
    """Whether an image is of the val split; by its name alone, so that others may come and go."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) < share * 2**64


def check_share(share: float) -> None:
    """Refuse what is no share of the images for the val split; all of them may be, for testing only.

    Raises:
        FssegError: it is not above 0, or above 1.
    """
    if not 0 < share <= 1:
        raise FssegError(f"val_share {share}: a share above 0 and up to 1 is needed.")


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse names of classes that cannot be printed, or mean something else.

    Raises:
        FssegError: there is one.
    """
    for name in names:
        if not is_line(name) or not name.strip():
            raise FssegError(
                f"{where}: {name!r} is no name of a class: text on one line is needed, in quotes if need be."
            )
        if name == "background":
            raise FssegError(f"{where}: background is no class, it is what shows none. Leave it out.")
