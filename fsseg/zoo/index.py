"""``index.json``: the cards of a zoo. It may be untrusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg import atomic
from fsseg.checksum import file_digest
from fsseg.errors import FssegError
from fsseg.untrusted.records import as_json
from fsseg.untrusted.text import BrokenTextError, load_json
from fsseg.zoo.model_card import CARD, ModelCard, card_of, is_newer, is_safe, read_card
from fsseg.zoo.places import INDEX, Place, index_content

VERSION = 1  # of the format of index.json
_DEPTH, _MOST = 4, 10_000  # folders between index and card; models


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A checkpoint of a zoo.

    Attributes:
        folder: safe relative path of its folder, with slashes; empty for the folder of the index.
        card: its card.
    """

    folder: str
    card: ModelCard


def read_index(of: Place) -> dict[str, Entry]:
    """Checkpoints of a zoo by name.

    Raises:
        FssegError: the index cannot be read, is of another version, or has an unsafe or repeated name.
    """
    where = str(of.source)
    try:
        content = load_json(index_content(of).decode("utf-8-sig"))
    except BrokenTextError as error:
        raise FssegError(f"{where} is no JSON ({error}), so it is no index of a zoo.") from error
    except UnicodeDecodeError as error:
        raise FssegError(f"{where} is no text, so it is no index of a zoo.") from error
    if not isinstance(content, dict) or "fsseg_zoo" not in content:
        raise FssegError(f"{where} is no index of a zoo: {INDEX} of fsseg zoo index is needed.")
    if is_newer(content["fsseg_zoo"], VERSION):
        raise FssegError(f"{where} is of version {content['fsseg_zoo']}; this fsseg reads {VERSION}. Upgrade fsseg.")
    models = content.get("models")
    if not isinstance(models, list) or len(models) > _MOST or content["fsseg_zoo"] != VERSION:
        raise FssegError(f"{where} is a broken index: a list of up to {_MOST:,} models is needed.")
    return _by_name([_entry(model, f"{where}, model {number}") for number, model in enumerate(models, 1)], where)


def _entry(model: Any, where: str) -> Entry:
    folder = model.get("folder") if isinstance(model, Mapping) else None
    if not isinstance(folder, str) or not _is_safe_folder(folder):
        raise FssegError(f"{where} has the folder {str(folder)[:80]!r}: a relative path of plain names is needed.")
    return Entry(folder=folder, card=card_of(model.get("card"), where))


def _is_safe_folder(folder: str) -> bool:
    parts = folder.split("/")
    return folder == "" or (len(parts) <= _DEPTH and all(map(is_safe, parts)))


def _by_name(entries: list[Entry], where: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.card.name in found:
            raise FssegError(f"{where} has the name {entry.card.name} twice: give one of them another name.")
        found[entry.card.name] = entry
    return found


def write_index(folder: Path) -> dict[str, Entry]:
    """Write the index of all cards in a folder and below; each checkpoint must lie beside its card.

    Raises:
        FssegError: there is no card, a card is broken, a checkpoint is missing or is not the card's, or a name is
            unsafe or repeated.
    """
    if not folder.is_dir():
        raise FssegError(f"zoo index: {folder}: no such folder.")
    inside = {path: path.relative_to(folder).parts for path in sorted(folder.rglob(CARD))}
    cards = [path for path, parts in inside.items() if not any(part.startswith(".") for part in parts)]
    if not cards:
        raise FssegError(f"zoo index: {folder} holds no {CARD}: make one with fsseg card CKPT.")
    found = _by_name([_checked(path, folder) for path in cards], str(folder))
    models = [{"folder": entry.folder, "card": entry.card} for entry in found.values()]
    atomic.write_text(folder / INDEX, as_json({"fsseg_zoo": VERSION, "models": models}))
    return found


def _checked(path: Path, folder: Path) -> Entry:
    """The entry of a card whose checkpoint lies beside it."""
    inside = path.parent.relative_to(folder).as_posix()
    inside = "" if inside == "." else inside
    if not _is_safe_folder(inside):
        raise FssegError(
            f"zoo index: {path.parent}: names of letters, digits, '.', '_' and '-' are needed, {_DEPTH} folders deep."
        )
    card = read_card(path)
    file = path.with_name(card.file)
    if not file.is_file():
        raise FssegError(f"zoo index: {file} of {path} is missing. Put it there, or delete the card.")
    if file.stat().st_size != card.size or file_digest(file) != card.sha256:
        raise FssegError(f"zoo index: {file} is not the file of {path}: make the card again with fsseg card.")
    return Entry(folder=inside, card=card)
