"""Fetches a checkpoint of a zoo. The file gets its name after its size and SHA-256 are those of its card."""

from pathlib import Path
from typing import NamedTuple

from fsseg import atomic
from fsseg.checksum import file_digest
from fsseg.download import ROOM, download, file_size
from fsseg.errors import FssegError
from fsseg.progress import Progress
from fsseg.zoo.index import Entry
from fsseg.zoo.model_card import CARD, README, ModelCard, card_text
from fsseg.zoo.places import Place
from fsseg.zoo.readme import readme_text

_CHUNK = 1 << 20  # bytes


class Fetched(NamedTuple):
    """A checkpoint on the disk.

    Attributes:
        path: path of the checkpoint.
        there: whether it was there before.
    """

    path: Path
    there: bool


def fetch(of: Place, entry: Entry, folder: Path) -> Fetched:
    """Fetch a checkpoint, and write its card and README beside it.

    Args:
        of: place of the zoo.
        entry: the checkpoint.
        folder: folder to write to. An incomplete download there is resumed.

    Raises:
        FssegError: the file is missing, cannot be reached or is not that of the card, another file has its name, or
            the disk is full. An incomplete download stays; one with a wrong SHA-256 is deleted.
    """
    card = entry.card
    target = folder / card.file
    there = target.exists()
    if there and not _is_right(target, card):
        raise FssegError(f"{target} is another file than {card.name}'s. Move it, or give another `out`.")
    if not there:
        atomic.make_folder(folder, ROOM)
        part = target.with_name(f"{target.name}.part")
        _get(of, entry, part)
        with atomic.writing(folder, ROOM):
            part.replace(target)
    atomic.write_text(folder / CARD, card_text(card))
    atomic.write_text(folder / README, readme_text(card))
    return Fetched(target, there)


def _is_right(path: Path, card: ModelCard) -> bool:
    return path.is_file() and file_size(path) == card.size and file_digest(path, name=card.file) == card.sha256


def _get(of: Place, entry: Entry, part: Path) -> None:
    """Write the right file to ``part``; a part of another file is replaced once."""
    card, source = entry.card, of.file(entry.folder, entry.card.file)
    begun = file_size(part) > 0
    for last in (not begun, True):
        if isinstance(source, str):
            download(of.remote(source, card.file, card.size), part)
        else:
            _copy(source, part, card)
        if _is_right(part, card):
            return
        found = file_digest(part)
        part.unlink()
        if last:
            raise FssegError(
                f"{source} has the SHA-256 {found[:12]}..., its card says {card.sha256[:12]}...: it is damaged or was "
                "changed. The download was deleted; tell the publisher if it happens again."
            )


def _copy(source: Path, part: Path, card: ModelCard) -> None:
    if not source.is_file():
        raise FssegError(f"{source}: no such file. The index names it: make the index again with fsseg zoo index.")
    if file_size(source) != card.size:
        raise FssegError(f"{source} has {file_size(source):,} bytes, its card says {card.size:,}: it was changed.")
    with source.open("rb") as file, atomic.writing(part.parent, ROOM), part.open("wb") as copy, \
            Progress(f"copying {card.file}:", card.size, "GB") as step:  # fmt: skip
        while chunk := file.read(_CHUNK):
            copy.write(chunk)
            step.add(len(chunk))
