"""Supports on the command line, for the commands that learn from them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg.cli.options import Options, split
from fsseg.errors import FssegError
from fsseg.progress import tell

if TYPE_CHECKING:
    from fsseg.experiment.support_files import Shown
    from fsseg.segmenter import Segmenter
    from fsseg.segmenter.tuning import Labelled

_MANY = ("--support", "--negative", "--query", "--formats")  # options that may be repeated and have several values
SEVERAL: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}


def add_supports(made: Options) -> None:
    """Add the options that give supports and negative images."""
    masks = "MASK: image, .npy, JSON, box 10,20,90,80; or a labelling export"
    made.option("--support", str, masks, metavar="[CLASS=]IMAGE:MASK", **SEVERAL)
    negative = "images, or regions, that do not show the class"
    made.option("--negative", str, negative, metavar="IMAGE[:MASK]", **SEVERAL)


def add_tile(made: Options) -> None:
    """Add the option that cuts images into tiles."""
    made.option("--tile", int, "cut images into squares of N pixels instead of resizing")


def read(made: Options, arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The values of a command's options, and the words of the method's options.

    Raises:
        FssegError: An option is wrong, or a word is empty, e.g. an unset variable of the shell.
    """
    if "" in arguments:
        raise FssegError(f"{made.command}: an empty word among the options. Is a variable of the shell unset?")
    of_method, own = split(arguments, ("--model",))
    words = [part for word in own for part in (word.split("=", 1) if word.startswith(_MANY) else [word])]
    return made.read(words), of_method


def is_deep(path: Path) -> bool:
    """Whether an image is scaled to 8 bits; one that cannot be read is named when its turn comes."""
    from fsseg.files.images import image_header

    with suppress(FssegError):
        return image_header(path).deep
    return False


def note_depth(count: int) -> None:
    """Print how many images are scaled to 8 bits."""
    from fsseg.files.images import depth_note

    if count:
        tell(f"note: {depth_note(count)}.")


def learn(segmenter: Segmenter, supports: Sequence[Shown], rejected: Sequence[Shown]) -> list[Labelled]:
    """Adapt a segmenter to supports and negative images; return the supports as labelled images.

    Raises:
        FssegError: An image or a mask cannot be read, or shows nothing.
    """
    from fsseg.episode import IGNORE
    from fsseg.segmenter.inputs import relabelled
    from fsseg.segmenter.mask_inputs import as_labels
    from fsseg.segmenter.tuning import Labelled

    note_depth(sum(map(is_deep, {shown.image for shown in (*supports, *rejected)})))
    _note_alike([*segmenter.classes, *(name for shown in supports for name in shown.classes)])
    began, known, learnt = time.perf_counter(), segmenter.classes, []
    for shown in supports:
        try:
            labels, names = shown.labels(), shown.classes
            if ((labels > 0) & (labels != IGNORE)).all():
                tell(f"note: the mask of {shown.image} covers the whole image: this support shows no background.")
            if len(names) > 1:  # a label map need not show all classes
                there = [label for label in range(1, len(names) + 1) if (labels == label).any()] or [1]
                labels = relabelled(labels, {label: place for place, label in enumerate(there, 1)})
                names = tuple(names[label - 1] for label in there)
            numbers = segmenter.learn(shown.image, labels, names)
            learnt.append(Labelled(numbers[0], shown.image, as_labels(labels, len(names), labels.shape), names))
        except FssegError as error:
            raise _naming(shown, error) from error
    for shown in rejected:
        try:
            segmenter.reject(shown.image, shown.labels())
        except FssegError as error:
            raise _naming(shown, error) from error

    seconds = f"{time.perf_counter() - began:.1f} s"
    more = f" knows {', '.join(known)};" if known else ""
    now = f" adapted to {', '.join(segmenter.classes)} from {counted(len(supports), 'support')} in {seconds}"
    tell((more + (now if supports or rejected else "")).strip(" ;"))
    return learnt


def _note_alike(classes: Sequence[str]) -> None:
    """Print the classes whose names differ in upper and lower case only."""
    by_case: dict[str, list[str]] = {}
    for name in dict.fromkeys(classes):
        by_case.setdefault(name.casefold(), []).append(name)
    for alike in by_case.values():
        if len(alike) > 1:
            tell(f"note: {' and '.join(alike)} are {len(alike)} classes. Give one name if they are one.")


def _naming(shown: Shown, error: FssegError) -> FssegError:
    """The error with the names of image and mask files."""
    message = str(error).removeprefix("`masks`: ")
    if message.startswith(("what the mask marks", "no support shows")):
        message = f"{shown.image}: {message}"
    if message.startswith("the mask"):
        message = f"mask {shown.mask} of {shown.image}{message.removeprefix('the mask')}"
    return FssegError(message)


def counted(number: int, what: str) -> str:
    """A number of things, e.g. ``2 supports``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
