"""Arguments of `fsseg predict`: supports with their masks, negative images, and queries."""

import os
import re
from collections.abc import Sequence
from glob import glob, has_magic
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NamedTuple

from fsseg.datasets.export_formats import ENDINGS, refuse_unread
from fsseg.episode import MOST_CLASSES
from fsseg.errors import FssegError
from fsseg.experiment.support_files import DEFAULT, Shown, exported, is_cut_out, is_export, with_classes
from fsseg.files.decoders import (
    count_endings,
    endings,
    installation,
    is_ignored,
    is_image,
    is_undecodable,
    list_files,
)
from fsseg.runs.prediction_files import ASKED, MASKS, OVERLAYS, PROBABILITIES
from fsseg.segmenter.mask_inputs import BOX
from fsseg.untrusted.text import is_line, relative_path

_FORM = "[CLASS=]IMAGE:MASK is needed, MASK a file or a box LEFT,TOP,RIGHT,BOTTOM"
_CLASS = re.compile(r"^([^=/\\:]+)=(.+)$", re.DOTALL)
_NUMBERS = re.compile(r"^[\d.,\s-]+$")  # looks like a wrong box
_UNNAMEABLE = set('/\\:*?"<>|')  # class names are folder names of probability maps


def supports(given: Sequence[str]) -> list[Shown]:
    """Supports of ``--support``.

    Args:
        given: Values ``[CLASS=]IMAGE:MASK[:VALUE]``. A class applies until the next class; ``cat,dog=`` names the
            labels 1, 2 of a label map. A box is ``LEFT,TOP,RIGHT,BOTTOM`` in pixels. ``[CLASS=]IMAGE`` is an object on
            transparent ground, and ``[CLASS=]EXPORT`` a folder or file of a labelling program.

    Raises:
        FssegError: A value has another form, or a file is missing.
    """
    found: list[Shown] = []
    classes: tuple[str, ...] = (DEFAULT,)
    for text in given:
        named = _CLASS.match(text)
        if named:
            classes = tuple(name.strip() for name in named[1].split(","))
            _check_classes(classes, text)
        shown = _shown(text, named[2] if named else text, classes)
        if shown.mask is not None:
            _check_files("--support", shown)
            found.append(with_classes(shown))
        elif not shown.image.exists():
            raise FssegError(
                f"--support {text}: no such file or folder; {_FORM}, or the export of a labelling program."
            )
        elif is_export(shown.image) or shown.image.is_dir():
            found += exported(shown.image, classes)
        elif is_cut_out(shown.image):
            found.append(shown._replace(mask=str(shown.image)))
        else:
            refuse_unread(shown.image)
            raise FssegError(f"--support {text}: {_FORM}; an image alone is an object on transparent ground.")
    for each in found:
        _check_classes(each.classes, str(each.image))
    return found


def _shown(text: str, files: str, classes: tuple[str, ...]) -> Shown:
    """Parse ``IMAGE[:MASK[:VALUE]]``."""
    image, _, rest = files.partition(":")
    mask, _, value = rest.partition(":")
    if not image or (value and not (mask and value.isascii() and value.isdigit())):
        raise FssegError(f"{text}: {_FORM}. File names with a colon are not possible.")
    if mask and _NUMBERS.match(mask) and not BOX.match(mask) and not Path(mask).is_file():
        raise FssegError(f"{text}: a box is four numbers without spaces, LEFT,TOP,RIGHT,BOTTOM.")
    if value:
        is_map = not BOX.match(mask) and Path(mask).suffix.lower() not in ENDINGS
        if len(classes) > 1 or not is_map or not 1 <= int(value) <= MOST_CLASSES:
            raise FssegError(f"{text}: a value of 1 to {MOST_CLASSES} is for a label map of several classes.")
    return Shown(classes, Path(image), mask or None, int(value) if value else None)


def rejected(given: Sequence[str], supports: Sequence[Shown]) -> list[Shown]:
    """Images of ``--negative``: ``IMAGE``, or ``IMAGE:MASK[:VALUE]`` if only the masked pixels count.

    Raises:
        FssegError: A file is missing, or a support is rejected as a whole.
    """
    found, showing = [], {shown.image.resolve() for shown in supports}
    for text in given:
        shown = _shown(text, text, ())
        _check_files("--negative", shown)
        if shown.mask is None and shown.image.resolve() in showing:
            raise FssegError(f"--negative {text} is a support too. Reject a region, {text}:MASK, or leave it out.")
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
    if "background" in classes:
        raise FssegError(f"--support {text}: background is no class. Give another name, or use --negative.")


def _check_files(option: str, shown: Shown) -> None:
    if not shown.image.is_file():
        raise FssegError(f"{option}: image {shown.image} is missing.")
    if shown.mask is not None and not BOX.match(shown.mask) and not Path(shown.mask).is_file():
        raise FssegError(f"{option}: mask {shown.mask} of {shown.image} is missing.")
    if shown.mask is not None:
        refuse_unread(Path(shown.mask))
