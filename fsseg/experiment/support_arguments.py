"""Arguments of `fsseg predict`: supports with their masks, and queries."""

import os
import re
from collections.abc import Sequence
from glob import glob, has_magic
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsseg.datasets.annotation_json import read_marks
from fsseg.datasets.base import MOST_CLASSES, Mask
from fsseg.datasets.boxes import Box, box_mask
from fsseg.datasets.folder_layout import SCRIBBLE
from fsseg.datasets.image_files import (
    count_endings,
    endings,
    installation,
    is_ignored,
    is_image,
    is_undecodable,
    list_files,
)
from fsseg.datasets.images import image_size
from fsseg.datasets.mask_files import read_labels, read_region, read_scribble
from fsseg.episode import BACKGROUND, IGNORE, void_of
from fsseg.errors import FssegError
from fsseg.runs.prediction_files import ASKED, MASKS, OVERLAYS, PROBABILITIES
from fsseg.segmenter.inputs import as_labels
from fsseg.untrusted.text import is_line, relative_path

_DEFAULT = "object"  # class of supports that none is named for
_FORM = "[CLASS=]IMAGE:MASK is needed, MASK a file or a box LEFT,TOP,RIGHT,BOTTOM"
_CLASS = re.compile(r"^([^=/\\:]+)=(.+)$", re.DOTALL)
_BOX = re.compile(r"^\d+(\.\d+)?(,\d+(\.\d+)?){3}$", re.ASCII)
_NUMBERS = re.compile(r"^[\d.,\s-]+$")  # what was meant as a box
_UNNAMEABLE = set('/\\:*?"<>|')  # classes name folders of probability maps


class Shown(NamedTuple):
    """A support, or a picture that is to be rejected, as it was given.

    Attributes:
        classes: names; several where the mask is a label map of them. None of what is to be rejected.
        image: file of the picture.
        mask: file of its mask, a box, or None where every pixel counts.
        value: of the class in a mask of several.
    """

    classes: tuple[str, ...]
    image: Path
    mask: str | None
    value: int | None = None

    def labels(self) -> Mask:
        """The mask, as `fsseg.Segmenter.learn` takes it.

        Raises:
            FssegError: it is missing, broken, or lies outside of the picture.
        """
        size = image_size(self.image, upright=True)
        if self.mask is None:
            return np.ones(size, dtype=np.uint8)
        if _BOX.match(self.mask):
            return _box(self.mask, self.image, size)
        path = Path(self.mask)
        if path.suffix.lower() == ".json":
            return self._marked(path, size)
        if self.value is not None:
            return _chosen(path, self.value)
        if len(self.classes) > 1:
            return as_labels(path, len(self.classes), size)
        if not path.name.endswith(SCRIBBLE):
            return read_region(path)
        labels = read_scribble(path)
        if not (labels == 1).any():
            raise FssegError(f"mask {path} is empty: no scribble of it is the class (1). Paint the object.")
        return labels

    def _marked(self, path: Path, size: tuple[int, int]) -> Mask:
        """Of a JSON; in a picture that is to be rejected all that is marked is meant, whatever it is called."""
        ids = {name: c for c, name in enumerate(self.classes, 1)} if self.classes else _Any()
        try:
            labels = read_marks(path, ids).paint(*size)
            if not ((labels != BACKGROUND) & (labels != IGNORE)).any():
                raise FssegError(f"mask {path} is empty: no shape of it is a class. Mark the object.")
            return labels.astype(np.uint8)
        except FssegError as error:
            hint = " Name the class in front: CLASS=IMAGE:MASK." if self.classes == (_DEFAULT,) else ""
            raise FssegError(f"{error}{hint}") from error


def _chosen(path: Path, value: int) -> Mask:
    """The class of a value in a label map."""
    labels = read_labels(path)
    void = void_of(labels)
    if value == void:
        raise FssegError(f"mask {path}: {value} is what nobody labelled. White of black and white: leave :{value} out.")
    if not (labels == value).any():
        found = ", ".join(map(str, np.unique(labels)[:10].tolist()))
        raise FssegError(f"mask {path} holds no pixel of {value}; it has {found}. Give one of them.")
    return np.where(labels == void, np.uint8(IGNORE), labels == value).astype(np.uint8)


class _Any(dict[str, int]):
    """Labels by name: 1, whatever the name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> int:
        return 1


def supports(given: Sequence[str]) -> list[Shown]:
    """Supports as ``--support`` has them.

    Args:
        given: ``[CLASS=]IMAGE:MASK[:VALUE]`` each. A class holds until the next one; ``cat,dog=`` names the labels of a
            map, from 1 on. A box is ``LEFT,TOP,RIGHT,BOTTOM`` in pixels.

    Raises:
        FssegError: one is of another form, or a file is missing.
    """
    found: list[Shown] = []
    classes: tuple[str, ...] = (_DEFAULT,)
    for text in given:
        named = _CLASS.match(text)
        if named:
            classes = tuple(name.strip() for name in named[1].split(","))
            _check_classes(classes, text)
        shown = _shown(text, named[2] if named else text, classes)
        if shown.mask is None:
            raise FssegError(f"--support {text}: {_FORM}.")
        _check_files("--support", shown)
        found.append(shown)
    return found


def _shown(text: str, files: str, classes: tuple[str, ...]) -> Shown:
    """``IMAGE[:MASK[:VALUE]]`` taken apart."""
    image, _, rest = files.partition(":")
    mask, _, value = rest.partition(":")
    if not image or (value and not (mask and value.isascii() and value.isdigit())):
        raise FssegError(f"{text}: {_FORM}. Names with a colon can not be given.")
    if mask and _NUMBERS.match(mask) and not _BOX.match(mask) and not Path(mask).is_file():
        raise FssegError(f"{text}: a box is four numbers without spaces, LEFT,TOP,RIGHT,BOTTOM.")
    if value:
        is_map = not _BOX.match(mask) and Path(mask).suffix.lower() != ".json"
        if len(classes) > 1 or not is_map or not 1 <= int(value) <= MOST_CLASSES:
            raise FssegError(
                f"{text}: a value of 1 to {MOST_CLASSES} is for a picture that masks one class among others."
            )
    return Shown(classes, Path(image), mask or None, int(value) if value else None)


def rejected(given: Sequence[str]) -> list[Shown]:
    """Pictures as ``--negative`` has them: ``IMAGE``, or ``IMAGE:MASK[:VALUE]`` where only what it marks is meant.

    Raises:
        FssegError: a file is missing.
    """
    found = []
    for text in given:
        shown = _shown(text, text, ())
        _check_files("--negative", shown)
        found.append(shown)
    return found


class Queries(NamedTuple):
    """Images to segment.

    Attributes:
        paths: by the name of what is written for each, in the order of their names.
        undecodable: images whose decoder is not installed.
        notes: other files that were left out, counted by their ending, of each ``--query``.
    """

    paths: dict[str, Path]
    undecodable: list[Path]
    notes: list[str]


def queries(given: Sequence[str]) -> Queries:
    """Images as ``--query`` has them.

    Args:
        given: files, folders (all images in and below them, but no hidden or system files, and no results of this
            command), patterns such as ``photos/*.jpg``.

    Raises:
        FssegError: nothing there, or no image among it that can be decoded.
    """
    found: dict[Path, Path] = {}  # path below what was given, by path
    undecodable: list[Path] = []
    notes: list[str] = []
    for text in given:
        path = Path(text)
        if path.is_file():
            found.setdefault(path, Path(path.name))
            continue
        every = [p for p in _listed(text, path) if not _is_result(p)]
        images = [p for p in every if is_image(p)]
        unknown = [p for p in every if is_undecodable(p)]
        others = count_endings(p for p in every if not (is_image(p) or is_undecodable(p)))
        if not images:
            raise FssegError(f"--query {text}: {_none_found(unknown, others)}")
        top = path if path.is_dir() else os.path.commonpath([p.parent for p in images])
        found |= {p: p.relative_to(top) for p in images if path.is_dir() or p not in found}
        undecodable += unknown
        notes += [f"--query {text}: left out {others}, no images."] if others else []
    once = {path.resolve(): path for path in reversed(found)}
    paths = _named({path: below for path, below in found.items() if once[path.resolve()] == path})
    return Queries(paths, list(dict.fromkeys(undecodable)), notes)


def _listed(text: str, path: Path) -> list[Path]:
    """Files of a folder or a pattern, without hidden and system ones.

    Raises:
        FssegError: it is neither.
    """
    if path.is_dir():
        return list_files(path, below=True)
    if not has_magic(text):
        raise FssegError(f"--query {text}: no such file or folder.")
    fixed = len(tuple(takewhile(lambda part: not has_magic(part), path.parts)))  # named by the user
    matching = (Path(p) for p in sorted(glob(text, recursive=True)))
    return [p for p in matching if p.is_file() and not any(map(is_ignored, p.parts[fixed:]))]


def _none_found(undecodable: Sequence[Path], others: str) -> str:
    if undecodable:
        return f"no image there can be decoded ({count_endings(undecodable)}). {installation(undecodable[0])}"
    there = f" There are {others}." if others else ""
    return f"no image there; hidden and system files are left out.{there} {' '.join(endings())} are read."


def _named(found: dict[Path, Path]) -> dict[str, Path]:
    """A name for each, without ending where that is unique."""
    names: dict[str, Path] = {}
    stems = [below.with_suffix("").as_posix().casefold() for below in found.values()]
    for path, below in found.items():
        bare = below.with_suffix("").as_posix()
        name = relative_path(bare if stems.count(bare.casefold()) == 1 else below.as_posix())
        number = 1
        while (name if number == 1 else f"{name}-{number}") in names:
            number += 1
        names[name if number == 1 else f"{name}-{number}"] = path
    return names


def _is_result(path: Path) -> bool:
    """Whether a picture was written by this command."""
    parents = path.absolute().parents
    return any(
        inner.name in (MASKS, OVERLAYS, PROBABILITIES) and (outer / ASKED).is_file()
        for inner, outer in pairwise(parents)
    )


def _check_classes(classes: Sequence[str], text: str) -> None:
    for name in classes:
        if not name or not is_line(name) or set(name) & _UNNAMEABLE or name.strip(".") == "":
            raise FssegError(f"--support {text}: {name!r} is no name of a class. Letters, digits and spaces make one.")
    if len(set(classes)) < len(classes):
        raise FssegError(f"--support {text}: a class is named twice.")


def _check_files(option: str, shown: Shown) -> None:
    if not shown.image.is_file():
        raise FssegError(f"{option}: image {shown.image} is missing.")
    if shown.mask is not None and not _BOX.match(shown.mask) and not Path(shown.mask).is_file():
        raise FssegError(f"{option}: mask {shown.mask} of {shown.image} is missing.")


def _box(text: str, image: Path, size: tuple[int, int]) -> Mask:
    corners = [float(value) for value in text.split(",")]
    height, width = size
    if max(corners) <= 1:
        scaled = ",".join(str(round(value * side)) for value, side in zip(corners, (width, height) * 2, strict=True))
        raise FssegError(
            f"box {text} on {image}: pixels are needed, not fractions of the image. Did you mean {scaled}?"
        )
    left, top, right, bottom = (round(value) for value in corners)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise FssegError(f"box {text} on {image}: LEFT,TOP,RIGHT,BOTTOM within its {width}x{height} pixels is needed.")
    return box_mask(size, [Box(top, left, bottom, right, (bottom - top) * (right - left))], 1)
