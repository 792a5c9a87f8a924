"""Arguments of `fsseg predict`: supports with their masks, negative images, and queries."""

import os
import re
from collections.abc import Sequence
from glob import glob, has_magic
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsseg.datasets.boxes import Box, box_mask
from fsseg.datasets.folder_layout import SCRIBBLE
from fsseg.episode import BACKGROUND, IGNORE, MOST_CLASSES, Mask, void_of
from fsseg.errors import FssegError
from fsseg.files.annotation_json import read_marks
from fsseg.files.decoders import (
    count_endings,
    endings,
    installation,
    is_ignored,
    is_image,
    is_undecodable,
    list_files,
)
from fsseg.files.images import image_size
from fsseg.files.masks import read_labels, read_region, read_scribble
from fsseg.runs.prediction_files import ASKED, MASKS, OVERLAYS, PROBABILITIES
from fsseg.segmenter.inputs import as_labels
from fsseg.untrusted.text import is_line, relative_path

_DEFAULT = "object"  # class of supports without a class name
_FORM = "[CLASS=]IMAGE:MASK is needed, MASK a file or a box LEFT,TOP,RIGHT,BOTTOM"
_CLASS = re.compile(r"^([^=/\\:]+)=(.+)$", re.DOTALL)
_BOX = re.compile(r"^\d+(\.\d+)?(,\d+(\.\d+)?){3}$", re.ASCII)
_NUMBERS = re.compile(r"^[\d.,\s-]+$")  # looks like a wrong box
_UNNAMEABLE = set('/\\:*?"<>|')  # class names are folder names of probability maps


class Shown(NamedTuple):
    """A support or a negative image of the command line.

    Attributes:
        classes: Class names; several if the mask is a label map, none for a negative image.
        image: File of the image.
        mask: File of its mask, or a box; None if every pixel counts.
        value: Value of the class in a label map of several classes.
    """

    classes: tuple[str, ...]
    image: Path
    mask: str | None
    value: int | None = None

    def labels(self) -> Mask:
        """The mask ``H W`` for `fsseg.Segmenter.learn`.

        Raises:
            FssegError: The mask is missing or broken, or a box lies outside of the image.
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
            raise FssegError(f"mask {path} is empty: no scribble has the label 1 of the class. Paint the object.")
        return labels

    def _marked(self, path: Path, size: tuple[int, int]) -> Mask:
        """Mask from an annotation JSON. In a negative image every shape counts, whatever its label."""
        ids = {name: c for c, name in enumerate(self.classes, 1)} if self.classes else _Any()
        try:
            labels = read_marks(path, ids).paint(*size)
            if not ((labels != BACKGROUND) & (labels != IGNORE)).any():
                raise FssegError(f"mask {path} is empty: no shape has the name of a class. Mark the object.")
            return labels.astype(np.uint8)
        except FssegError as error:
            hint = " Name the class in front: CLASS=IMAGE:MASK." if self.classes == (_DEFAULT,) else ""
            raise FssegError(f"{error}{hint}") from error


def _chosen(path: Path, value: int) -> Mask:
    """Mask of one value in a label map."""
    labels = read_labels(path)
    void = void_of(labels)
    if value == void:
        raise FssegError(f"mask {path}: {value} marks ignored pixels. In a black and white mask, leave :{value} out.")
    if not (labels == value).any():
        found = ", ".join(map(str, np.unique(labels)[:10].tolist()))
        raise FssegError(f"mask {path} holds no pixel of {value}; it has {found}. Give one of them.")
    return np.where(labels == void, np.uint8(IGNORE), labels == value).astype(np.uint8)


class _Any(dict[str, int]):
    """Mapping that gives every name the label 1."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> int:
        return 1


def supports(given: Sequence[str]) -> list[Shown]:
    """Supports of ``--support``.

    Args:
        given: Values ``[CLASS=]IMAGE:MASK[:VALUE]``. A class applies until the next class; ``cat,dog=`` names the
            labels 1, 2 of a label map. A box is ``LEFT,TOP,RIGHT,BOTTOM`` in pixels.

    Raises:
        FssegError: A value has another form, or a file is missing.
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
    """Parse ``IMAGE[:MASK[:VALUE]]``."""
    image, _, rest = files.partition(":")
    mask, _, value = rest.partition(":")
    if not image or (value and not (mask and value.isascii() and value.isdigit())):
        raise FssegError(f"{text}: {_FORM}. File names with a colon are not possible.")
    if mask and _NUMBERS.match(mask) and not _BOX.match(mask) and not Path(mask).is_file():
        raise FssegError(f"{text}: a box is four numbers without spaces, LEFT,TOP,RIGHT,BOTTOM.")
    if value:
        is_map = not _BOX.match(mask) and Path(mask).suffix.lower() != ".json"
        if len(classes) > 1 or not is_map or not 1 <= int(value) <= MOST_CLASSES:
            raise FssegError(f"{text}: a value of 1 to {MOST_CLASSES} is for a label map of several classes.")
    return Shown(classes, Path(image), mask or None, int(value) if value else None)


def rejected(given: Sequence[str]) -> list[Shown]:
    """Images of ``--negative``: ``IMAGE``, or ``IMAGE:MASK[:VALUE]`` if only the masked pixels count.

    Raises:
        FssegError: A file is missing.
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
        paths: Paths by the name of the query's result files, in the order of names.
        undecodable: Images whose decoder is not installed.
        notes: For each ``--query``, the counts of ignored other files by ending.
    """

    paths: dict[str, Path]
    undecodable: list[Path]
    notes: list[str]


def queries(given: Sequence[str]) -> Queries:
    """Images of ``--query``.

    Args:
        given: Files, folders (all images in and below them, without hidden and system files and results of this
            command), or patterns such as ``images/*.jpg``.

    Raises:
        FssegError: A path does not exist, or holds no image that can be decoded.
    """
    found: dict[Path, Path] = {}  # path relative to the given folder, by path
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
    """Files of a folder or a pattern, without hidden and system files.

    Raises:
        FssegError: The text is neither a folder nor a pattern.
    """
    if path.is_dir():
        return list_files(path, below=True)
    if not has_magic(text):
        raise FssegError(f"--query {text}: no such file or folder.")
    fixed = len(tuple(takewhile(lambda part: not has_magic(part), path.parts)))  # these may be hidden
    matching = (Path(p) for p in sorted(glob(text, recursive=True)))
    return [p for p in matching if p.is_file() and not any(map(is_ignored, p.parts[fixed:]))]


def _none_found(undecodable: Sequence[Path], others: str) -> str:
    if undecodable:
        return f"no image there can be decoded ({count_endings(undecodable)}). {installation(undecodable[0])}"
    there = f" There are {others}." if others else ""
    return f"no image there; hidden and system files are left out.{there} {' '.join(endings())} are read."


def _named(found: dict[Path, Path]) -> dict[str, Path]:
    """A unique name for each path, without the ending if that suffices."""
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
    """Whether an image was written by this command."""
    parents = path.absolute().parents
    return any(
        inner.name in (MASKS, OVERLAYS, PROBABILITIES) and (outer / ASKED).is_file()
        for inner, outer in pairwise(parents)
    )


def _check_classes(classes: Sequence[str], text: str) -> None:
    for name in classes:
        if not name or not is_line(name) or set(name) & _UNNAMEABLE or name.strip(".") == "":
            raise FssegError(f"--support {text}: {name!r} is no name of a class. Use letters, digits and spaces.")
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
