"""`fsseg zoo`: lists and fetches published checkpoints, and makes the index of one's own. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fsseg.cli.options import Options
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean
from fsseg.zoo.fetch import fetch
from fsseg.zoo.index import Entry, read_index, write_index
from fsseg.zoo.model_card import UNKNOWN, ModelCard
from fsseg.zoo.places import place
from fsseg.zoo.readme import command_of_prediction, command_of_test

_HEAD = ("name", "method", "encoder", "data", "protocol", "mean-IoU", "licence", "size")
_WIDEST = 40  # characters of a cell
_DEFAULT = Path("zoo")


def options(command: str) -> Options:
    """The options of a zoo command.

    Args:
        command: ``list``, ``fetch`` or ``index``.
    """
    made = Options(f"zoo {command}")
    if command == "index":
        made.option("folder", Path, "folder of published checkpoints, as fsseg card makes them", metavar="FOLDER")
        return made
    if command == "fetch":
        made.option("name", str, "name of a checkpoint, see fsseg zoo list", metavar="NAME")
        made.option("--out", Path, "folder to write to (zoo/NAME)", metavar="FOLDER")
    where = "hf:OWNER/NAME[@REVISION], a URL of an index.json, or a folder; or set FSSEG_ZOO"
    made.option("--index", str, where, metavar="WHERE")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run a zoo command; return the exit code.

    Raises:
        FssegError: An option is wrong, or the zoo or a checkpoint of it cannot be read.
    """
    command, *words = arguments
    given = options(command).read(words)
    return {"list": _list, "fetch": _fetch, "index": _index}[command](given)


def _list(given: Any) -> int:
    of = place(given.index)
    found = read_index(of)
    print(_table(found.values()) if found else f"{of.where} has no checkpoints.")
    return 0


def _fetch(given: Any) -> int:
    of = place(given.index)
    found = read_index(of)
    if given.name not in found:
        known = f"It has {', '.join(sorted(found)[:10])}." if found else "It is empty."
        raise FssegError(f"zoo fetch: {of.where} has no {given.name!r}.{did_you_mean(given.name, found)} {known}")
    entry = found[given.name]
    card = entry.card
    print(f"{card.name}: {card.label} on {card.encoder.name}, {_data(card)}", flush=True)
    print(f"  size      {card.megabytes}\n  licence   {_licence(card)}", flush=True)
    fetched = fetch(of, entry, given.out or _DEFAULT / card.name)
    print(f"  {'there already' if fetched.there else 'fetched'}, SHA-256 {card.sha256}")
    print(f"  files     {fetched.path}  card.json  README.md")
    if card.own_class:
        print(f"  needs     {card.own_class}, which fsseg lacks: install it, and set FSSEG_TRUST if you trust it")
    path = shlex.quote(str(fetched.path))
    test = next((t for t in card.tests if t.dataset == card.training.dataset), None)
    print(f"next: {command_of_test(path, card, test)}\n      {command_of_prediction(path)}")
    return 0


def _index(given: Any) -> int:
    found = write_index(given.folder)
    print(_table(found.values()))
    print(f"  index     {given.folder / 'index.json'}\nnext: fsseg zoo list --index {shlex.quote(str(given.folder))}")
    return 0


def _table(entries: Iterable[Entry]) -> str:
    """One line for each test of each checkpoint; the facts of a checkpoint stand in its first line."""
    rows = [_HEAD]
    for card in (entry.card for entry in entries):
        facts = (card.name, card.label, card.encoder.name, _data(card))
        numbers = [(f"{test.protocol}, {test.what}", str(test.mean_iou)) for test in card.tests] or [("-", "-")]
        rows.append((*facts, *numbers[0], _licence(card), card.megabytes))
        rows += [("", "", "", "", *number, "", "") for number in numbers[1:]]
    cells = [(row[0], *map(_short, row[1:])) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _data(card: ModelCard) -> str:
    return f"{card.training.dataset} fold {card.training.fold}"


def _licence(card: ModelCard) -> str:
    return card.licence or UNKNOWN
