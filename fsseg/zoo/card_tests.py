"""Tests of a checkpoint, from the ``table.json`` files of `fsseg test` and `fsseg benchmark`, for its card."""

from collections.abc import Sequence
from dataclasses import replace
from math import isclose, isnan
from pathlib import Path
from typing import Any

import fsseg.datasets
from fsseg import class_paths
from fsseg.checksum import content_digest
from fsseg.errors import FssegError
from fsseg.protocols.presets import protocol
from fsseg.protocols.protocol import DRAWING, OF_FILES
from fsseg.results.results import find_results, read_result
from fsseg.results.table_file import NAME, Scores, read_scores, read_table
from fsseg.results.test_facts import Tested
from fsseg.untrusted.card import CheckpointCard
from fsseg.untrusted.records import plain
from fsseg.zoo.anonymous import absolute_paths, without_paths
from fsseg.zoo.model_card import CardScore, CardTest

_ROWS = "rows.csv"
_CHANGES = {"adapt_steps", "refine"}  # departures of tests whose option changes masks or weights


def tests_of(path: Path, stored: CheckpointCard, tables: Sequence[Path]) -> list[CardTest]:
    """Tests of a checkpoint, each once.

    Args:
        path: the checkpoint.
        stored: its record.
        tables: ``table.json`` files, or folders that hold tests.

    Raises:
        FssegError: a table cannot be read, its numbers are not those of its rows, it belongs to another checkpoint, or
            its masks were refined or its weights tuned.
    """
    weights = content_digest(path)
    folders = dict.fromkeys(folder.resolve() for table in tables for folder in _folders(table))
    hidden = (*absolute_paths(stored.trained), str(Path.home()), str(Path.cwd()), str(path.resolve().parent))
    found = []
    for folder in folders:
        tested = read_table(folder).tested
        if tested.asked.get("weights") != weights:
            raise FssegError(
                f"{folder / NAME} is of {tested.origin}, not of {path}, step {stored.step:,}: a card has the tests of "
                "its own checkpoint only."
            )
        if changed := sorted(_CHANGES & tested.setting.departures.keys()):
            raise FssegError(
                f"{folder / NAME} is of {tested.setting.label}: a card has the numbers of the checkpoint alone. Test "
                f"without `model.{changed[0]}`."
            )
        found.append(_test(tested, _scores(folder), _changed(tested, stored), hidden))
    return found


def _folders(table: Path) -> list[Path]:
    if table.name == NAME and table.is_file():
        return [table.parent]
    if table.is_file():
        raise FssegError(f"card: {table} is no test: give a {NAME}, or a folder that holds tests.")
    return [result.folder for result in find_results([table])]


def _scores(folder: Path) -> Scores:
    """The numbers of a test; those of changed files are refused."""
    scores = read_scores(folder)
    if (folder / _ROWS).is_file():
        table = read_result(folder).table
        for found, counted in ((scores.mean_iou, table.mean_iou), (scores.binary_iou, table.binary_iou)):
            if not isclose(found.mean, counted.mean, abs_tol=1e-6) and not isnan(counted.mean):
                raise FssegError(f"{folder / NAME} has other numbers than {_ROWS} beside it: test again.")
    return scores


def _changed(tested: Tested, stored: CheckpointCard) -> dict[str, Any]:
    """Fields of a test's protocol that differ from those of its name on the data set of the training."""
    dataset = stored.trained["data"].get("dataset") or {}
    kind = getattr(fsseg.datasets, class_paths.last_name(str(dataset.get("class_path", ""))), None)
    named = protocol({"name": tested.protocol.name}, getattr(kind, "family", ""))
    images = stored.trained["data"].get("images", {})
    if tested.protocol.size in (images.get("test_size"), images.get("size")) and named.size == "trained":
        named = replace(named, size=tested.protocol.size)
    listed = (*OF_FILES, *(DRAWING if tested.protocol.draw == "list" else ()))
    values = plain(tested.protocol)
    return {name: values[name] for name, value in plain(named).items() if value != values[name] and name not in listed}


def _test(tested: Tested, scores: Scores, changed: dict[str, Any], hidden: tuple[str, ...]) -> CardTest:
    setting, of = tested.setting, tested.protocol
    return CardTest(
        dataset=setting.dataset,
        fold=tested.fold,
        way=setting.way,
        shot=setting.shot,
        annotation=setting.annotation,
        protocol=of.name,
        digest=of.digest,
        changed=changed,
        how=without_paths(tested.how, hidden),
        mean_iou=CardScore(**plain(scores.mean_iou)),
        binary_iou=CardScore(**plain(scores.binary_iou)),
        notes=[without_paths(note, hidden) for note in tested.notes],
    )
