"""Common parts of custom data sets: given or generated folds, and a val split chosen by image names."""

import hashlib
from collections.abc import Sequence

import numpy as np

from fsseg.datasets.base import Dataset
from fsseg.episode import MOST_CLASSES
from fsseg.errors import FssegError
from fsseg.files.names import plain
from fsseg.untrusted.text import is_line

Folds = int | list[list[str]]

_MADE = 4  # default number of folds, as in PASCAL-5i and COCO-20i


class CustomDataset(Dataset):
    """A data set whose classes and folds are known only after its files are read."""

    class_names: tuple[str, ...] = ()
    _folds: tuple[tuple[int, ...], ...] = ()

    def novel(self, fold: int) -> tuple[int, ...]:
        """Novel class ids of a fold."""
        return self._folds[fold]

    def _set_classes(self, names: Sequence[str], folds: Folds | None, where: str) -> None:
        """Set class names and folds, see `made_folds`.

        Raises:
            FssegError: too many classes, or the folds are no partition of the classes.
        """
        if not 1 <= len(names) <= MOST_CLASSES:
            raise FssegError(f"{where} has {len(names)} classes; 1 to {MOST_CLASSES} are possible.")
        check_names(names, where)
        self.class_names = tuple(map(plain, names))
        self._folds = made_folds(self.class_names, folds, where)
        self.folds = len(self._folds)
        self.fold_words = "as given" if isinstance(folds, list) else "blocks of nearly equal size"
        if not self._folds[0]:
            self.fold_words = "none; all classes are base classes"


def made_folds(names: Sequence[str], folds: Folds | None, where: str) -> tuple[tuple[int, ...], ...]:
    """Novel class ids of each fold: given lists, or blocks of nearly equal size in the order of the names.

    Args:
        names: of the classes.
        folds: number of folds to make, names of each fold's novel classes, or None for up to four folds. 0 makes one
            fold without novel classes, so that a training has all classes.
        where: names the file or folder in an error.

    Raises:
        FssegError: more folds than classes, or the lists are no partition of the names.
    """
    if folds is None:
        folds = min(_MADE, len(names))
    if folds == 0:
        return ((),)
    if isinstance(folds, int):
        if not 1 <= folds <= len(names):
            most = f"1 to {len(names)} are possible, or 0 to train on all classes"
            raise FssegError(f"{where}: {folds} folds of {len(names)} classes; {most}.")
        return tuple(tuple(int(c) + 1 for c in part) for part in np.array_split(np.arange(len(names)), folds))
    folds = [[plain(str(name)) for name in fold] for fold in folds]
    listed = [name for fold in folds for name in fold]
    unknown = [name for name in listed if name not in names]
    lacking = [name for name in names if name not in listed]
    twice = [name for name in names if listed.count(name) > 1]
    for wrong, what in ((unknown, "is no class"), (lacking, "is in no fold"), (twice, "is in two folds")):
        if wrong:
            raise FssegError(
                f"{where}: {wrong[0]} {what}. Each class belongs to one fold; classes: {', '.join(names)}."
            )
    if not all(folds):
        raise FssegError(f"{where}: fold {[bool(fold) for fold in folds].index(False)} is empty. Remove it.")
    return tuple(tuple(sorted(names.index(name) + 1 for name in fold)) for fold in folds)


def is_val(name: str, share: float) -> bool:
    """Whether an image belongs to the val split; only its name decides, so that added images change no other image."""
    return int.from_bytes(hashlib.sha256(plain(name).encode()).digest()[:8]) < share * 2**64


def check_share(share: float) -> None:
    """Refuse an invalid share of val images; 1 is valid, for testing only.

    Raises:
        FssegError: the share is not above 0, or above 1.
    """
    if not 0 < share <= 1:
        raise FssegError(f"val_share {share}: a share above 0 and up to 1 is needed.")


def check_bits(bits: int) -> None:
    """Refuse a number of bits that grey images do not have.

    Raises:
        FssegError: the number is neither 0 nor 8 to 32.
    """
    if bits and not 8 <= bits <= 32:
        raise FssegError(f"bits {bits}: 8 to 32 are needed, or 0 for the range of each image.")


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse class names that cannot be printed, and the reserved name ``background``.

    Raises:
        FssegError: a name is refused.
    """
    for name in names:
        if not is_line(name) or not name.strip():
            raise FssegError(
                f"{where}: {name!r} is no name of a class: text on one line is needed, in quotes if YAML needs them."
            )
        if name == "background":
            raise FssegError(f"{where}: background is no class, but the pixels without a class. Leave it out.")
