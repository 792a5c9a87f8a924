"""Makes the folder of a published checkpoint: the checkpoint without its training's state, its card and its README.

A training's checkpoint holds the optimiser, and paths of the machine that trained it. The published one holds the
weights and what a test needs.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from fsseg import atomic
from fsseg.checksum import file_digest
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.results.published import method_label
from fsseg.segmenter.persistence import of_checkpoint
from fsseg.untrusted.card import CheckpointCard, read_card, seen
from fsseg.zoo import model_card
from fsseg.zoo.anonymous import without_machine
from fsseg.zoo.card_tests import tests_of
from fsseg.zoo.model_card import CARD, ENDING, README, CardEncoder, CardTraining, ModelCard
from fsseg.zoo.readme import readme_text

_KEPT = ("epoch", "global_step", "pytorch-lightning_version", "state_dict")  # keys of a checkpoint beside the card
_DEFAULT = Path("zoo")  # folder of published checkpoints


class Made(NamedTuple):
    """A published checkpoint.

    Attributes:
        card: its card.
        folder: folder of the three files.
    """

    card: ModelCard
    folder: Path


def publish(
    path: Path,
    tables: Sequence[Path] = (),
    licence: str | None = None,
    name: str | None = None,
    out: Path | None = None,
) -> Made:
    """Write a checkpoint for publication, with its card and README.

    Args:
        path: checkpoint of `fsseg fit` or `fsseg import`.
        tables: tests of the checkpoint: ``table.json`` files, or folders that hold tests.
        licence: licence of the checkpoint, e.g. ``apache-2.0``.
        name: name in a zoo; by default made of method, encoder, data set, fold and shots.
        out: folder to write to; by default ``zoo/NAME``.

    Raises:
        FssegError: the checkpoint or a table cannot be read, a table belongs to another checkpoint, or the folder
            holds other files of the same names.
    """
    licence = model_card.check_licence(licence)
    stored = read_card(str(path), "card:")
    content = _without_training(path, stored)
    method = of_checkpoint(path, content, "cpu").method
    tests = tests_of(path, stored, tables)
    label = method_label(method.paper or method.name, method.departures)
    if stored.earlier:
        label = method_label(label, {"weights": "warm start"})
    name = model_card.check_name(name) if name else _name(label, method, stored)
    folder = out or _DEFAULT / name
    _refuse_other_files(folder, name)
    atomic.make_folder(folder)
    target = folder / f"{name}{ENDING}"
    if target.exists() and target.resolve() == path.resolve():
        raise FssegError(f"{path} would be overwritten. Give another `out`.")
    atomic.save(target, partial(torch.save, content))
    card = ModelCard(
        fsseg_card=model_card.VERSION,
        name=name,
        file=target.name,
        size=target.stat().st_size,
        sha256=file_digest(target),
        licence=licence,
        method=_kind(method),
        label=label,
        encoder=_encoder(method),
        training=_training(stored),
        tests=tests,
        fsseg=stored.version,
    )
    atomic.write_text(folder / CARD, model_card.card_text(card))
    atomic.write_text(folder / README, readme_text(card))
    return Made(card, folder)


def _kind(made: object) -> str:
    return f"{type(made).__module__}.{type(made).__qualname__}"


def _encoder(method: Method) -> CardEncoder:
    weights = method.encoder.weights
    return CardEncoder(
        kind=_kind(method.encoder), name=method.encoder.name, weights=None if weights is None else Path(weights).name
    )


def _training(stored: CheckpointCard) -> CardTraining:
    data = stored.trained["data"]
    return CardTraining(
        dataset=stored.dataset,
        fold=stored.fold,
        classes=stored.trained_on,
        way=data.get("way", 1),
        shot=data["shot"],
        steps=stored.step,
        seed=stored.trained["seed_everything"],
        selection=stored.selection,
        before=seen(stored.earlier),
        origin=str(stored.origin or ""),
    )


def _name(label: str, method: Method, stored: CheckpointCard) -> str:
    """A name of a zoo from the facts, such as ``panet-vgg16-pascal-5i-fold0-1shot``."""
    words = f"{label} {method.encoder.name} {stored.dataset} fold{stored.fold} {stored.trained['data']['shot']}shot"
    found = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return model_card.check_name(found)


def _refuse_other_files(folder: Path, name: str) -> None:
    """Refuse a folder whose files the command did not write, or whose README was changed by hand."""
    if folder.exists() and not folder.is_dir():
        raise FssegError(f"`out` {folder} is no folder. Give another `out`.")
    if not (folder / CARD).exists():
        if (folder / README).exists() or (folder / f"{name}{ENDING}").exists():
            raise FssegError(f"`out` {folder} holds files of something else. Give another `out`.")
        return
    before = model_card.read_card(folder / CARD)
    if before.name != name:
        raise FssegError(f"`out` {folder} holds {before.name}, not {name}. Give another `out`.")
    readme = folder / README
    if readme.exists() and readme.read_text(encoding="utf-8", errors="replace") != readme_text(before):
        raise FssegError(f"{readme} was changed by hand and would be lost. Move it, or give another `out`.")


def _without_training(path: Path, stored: CheckpointCard) -> dict[str, Any]:
    """The checkpoint without optimiser, callbacks, random states and paths of the machine."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    config = yaml.safe_dump(without_machine(stored.trained), sort_keys=False)
    return {**{key: content[key] for key in _KEPT}, "fsseg": {**content["fsseg"], "config": config}}
