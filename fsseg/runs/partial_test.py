"""Rows of a stopped test, from which the same command with ``resume`` continues."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsseg
from fsseg import atomic
from fsseg.checksum import content_digest
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from fsseg.results import stream
from fsseg.results.stream import Streamed
from fsseg.results.table_file import read_table
from fsseg.results.test_facts import Tested
from fsseg.runs import folders
from fsseg.runs.identity import TEST, first_difference, identity

_log = logging.getLogger(__name__)

ROWS, _ASKED = "rows.part", "unfinished.json"  # rows, with image numbers; identity of their test


def asked_of(own: Mapping[str, Any], ckpt_path: str | None, protocol: Protocol, pairs: int) -> dict[str, Any]:
    """Identity of a test. Partial rows are resumed, and a finished test is accepted, only if the identity matches.

    Args:
        own: Configuration of the test.
        ckpt_path: Checkpoint of the test.
        protocol: Protocol of the test, with the digest of listed episodes.
        pairs: Number of (image, class) pairs from which episodes are drawn.
    """
    config = identity(own, TEST)
    config["data"].pop("episodes.test_file")  # the file may move; the protocol holds the digest of its episodes
    weights = content_digest(Path(ckpt_path)) if ckpt_path else "untrained"
    if ckpt_path:
        config.pop("seed_everything")
    found = {"version": fsseg.__version__, "weights": weights, "pairs": pairs, **config, "protocol": vars(protocol)}
    as_read: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return as_read


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a complete test."""
    return all((folder / name).is_file() for name in ("table.json", "rows.csv"))


def refuse_other_test(folder: Path, asked: Tested) -> None:
    """Refuse a finished test that is not the requested one.

    Args:
        folder: Folder of the finished test.
        asked: Facts of the requested test.

    Raises:
        FssegError: The folder holds another test.
    """
    try:
        found = read_table(folder).tested
    except FssegError as error:
        raise FssegError(f"`out` {folder} holds a test that cannot be read. Choose another `out`.") from error
    before = found.asked
    if before.get("weights") != asked.asked["weights"]:
        was, now = found.origin, asked.origin
        if was == now:
            was, now = "an earlier file of that name", f"{now} as it is now"
        raise FssegError(f"`out` {folder} holds a test of {was}; {now} is asked for. Choose another `out`.")
    if difference := _difference(before, asked.asked):
        option, was, now = difference
        raise FssegError(f"`out` {folder} holds a test with {option} {was}; {now} is asked for. Choose another `out`.")


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Name and both values of the first option that differs; the version of fsseg does not count."""
    found = first_difference(*({key: one[key] for key in one if key != "version"} for one in (before, now)))
    if found is None:
        return None
    names = {"pairs": "images of the data set: pairs", "weights": "weights", "protocol.listed": "episodes"}
    return (names.get(found[0], f"`{found[0]}`"), *found[1:])


def begin(part: Path, asked: Mapping[str, Any]) -> None:
    """Write the identity of the test beside its rows."""
    atomic.write_text(part / _ASKED, json.dumps(asked))


def end(folder: Path, part: Path) -> None:
    """Delete the identity of a finished test, and the partial results of earlier tests.

    Args:
        folder: Final folder of the results.
        part: Temporary folder of the results.
    """
    (part / _ASKED).unlink(missing_ok=True)
    for old in folders.left_behind(folder, but=part):
        shutil.rmtree(old, ignore_errors=True)


def take_up(folder: Path, part: Path, asked: Mapping[str, Any], at_most: int) -> Streamed | None:
    """The partial rows with the most episodes; None if there are none. A note reports rows of another test.

    Args:
        folder: Final folder of the results.
        part: Temporary folder of the results.
        asked: Identity that the rows must have.
        at_most: Most episodes that are read.
    """
    left = {old: _noted(old) for old in folders.left_behind(folder, but=part) if (old / ROWS).is_file()}
    found = [stream.read(old / ROWS, at_most) for old, noted in left.items() if noted == asked]
    furthest = max(found, key=lambda streamed: streamed.episodes, default=None)
    if furthest and furthest.episodes:
        return furthest
    for old, noted in left.items() if not found else ():
        if noted and (others := stream.read(old / ROWS).episodes):
            _log.warning(_why(noted, asked, others))
    return None


def _why(noted: Mapping[str, Any], asked: Mapping[str, Any], episodes: int) -> str:
    """The reason why the rows of an earlier test are not resumed."""
    were = f"{episodes:,} episodes that were tested before are of another test"
    if noted.get("weights") != asked["weights"]:
        why = "other weights"
    elif difference := _difference(noted, asked):
        why = f"{difference[0]} was {difference[1]}, now {difference[2]}"
    else:
        why = f"fsseg was {noted.get('version')}, now {asked['version']}"
    return f"{were} ({why}): this test restarts. The old rows are kept until a test is finished."


def forget(folder: Path, part: Path, asked: Mapping[str, Any]) -> None:
    """Delete the partial results of this test, whose rows have been copied to ``part``."""
    for old in folders.left_behind(folder, but=part):
        if _noted(old) == asked:
            shutil.rmtree(old, ignore_errors=True)


def _noted(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / _ASKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
