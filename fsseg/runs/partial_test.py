"""A test that was stopped: its rows so far, from which the same command with ``--resume`` goes on."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsseg
from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from fsseg.results import stream
from fsseg.results.stream import Streamed
from fsseg.results.table_file import read_table
from fsseg.results.test_facts import Tested
from fsseg.runs import folders
from fsseg.runs.checkpoint_files import content_digest
from fsseg.runs.identity import TEST, first_difference, identity

_log = logging.getLogger(__name__)

ROWS, _ASKED = "rows.part", "unfinished.json"  # rows by number of image; what they were asked for


def asked_of(own: Mapping[str, Any], ckpt_path: str | None, protocol: Protocol, pairs: int) -> dict[str, Any]:
    """Identity of a test. Its rows are resumed, and it counts as finished, only where the identity is the same.

    Args:
        own: configuration of the test.
        ckpt_path: its checkpoint.
        protocol: its protocol, with the digest of listed episodes.
        pairs: number of (image, class) pairs that episodes are drawn from.
    """
    config = identity(own, TEST)
    config["data"].pop("episodes.test_file")  # a file may move; the protocol has the digest of its episodes
    weights = content_digest(Path(ckpt_path)) if ckpt_path else "untrained"
    if ckpt_path:
        config.pop("seed_everything")
    found = {"version": fsseg.__version__, "weights": weights, "pairs": pairs, **config, "protocol": vars(protocol)}
    as_read: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return as_read


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole test."""
    return all((folder / name).is_file() for name in ("table.json", "rows.csv"))


def refuse_other_test(folder: Path, asked: Tested) -> None:
    """Refuse a finished test that is not the one asked for.

    Args:
        folder: of the finished test.
        asked: what is asked for.

    Raises:
        FssegError: the folder holds another test.
    """
    try:
        found = read_table(folder).tested
    except FssegError as error:
        raise FssegError(f"--out {folder} holds a test that cannot be read. Choose another --out.") from error
    before = found.asked
    if before.get("weights") != asked.asked["weights"]:
        was, now = found.origin, asked.origin
        if was == now:
            was, now = "an earlier file of that name", f"{now} as it is now"
        raise FssegError(f"--out {folder} holds a test of {was}; {now} is asked for. Choose another --out.")
    if difference := _difference(before, asked.asked):
        option, was, now = difference
        raise FssegError(f"--out {folder} holds a test with {option} {was}; {now} is asked for. Choose another --out.")


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first option that differs, by name; the version of fsseg is none."""
    found = first_difference(*({key: one[key] for key in one if key != "version"} for one in (before, now)))
    if found is None:
        return None
    names = {"pairs": "images of the data set: pairs", "weights": "weights", "protocol.listed": "episodes"}
    return (names.get(found[0], f"--{found[0]}"), *found[1:])


def begin(part: Path, asked: Mapping[str, Any]) -> None:
    """Note beside the rows what they were asked for."""
    atomic.write_text(part / _ASKED, json.dumps(asked))


def end(folder: Path, part: Path) -> None:
    """Take the note away, since the test is finished, and whatever earlier tests left of theirs.

    Args:
        folder: where the results go.
        part: where they are being written.
    """
    (part / _ASKED).unlink(missing_ok=True)
    for old in folders.left_behind(folder, but=part):
        shutil.rmtree(old, ignore_errors=True)


def take_up(folder: Path, part: Path, asked: Mapping[str, Any], at_most: int) -> Streamed | None:
    """The rows of the test that got furthest, if any did. A line says where there are rows of another test only.

    Args:
        folder: where the test's results go in the end.
        part: where they are being written.
        asked: identity that the rows must have.
        at_most: episodes.
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
    """Why rows are not gone on from."""
    were = f"{episodes:,} episodes that were tested before are of another test"
    if noted.get("weights") != asked["weights"]:
        why = "other weights"
    elif difference := _difference(noted, asked):
        why = f"{difference[0]} was {difference[1]}, now {difference[2]}"
    else:
        why = f"fsseg was {noted.get('version')}, now {asked['version']}"
    return f"{were} ({why}): this test begins anew. Their rows are kept until it is finished."


def forget(folder: Path, part: Path, asked: Mapping[str, Any]) -> None:
    """Take away what this test left when it was stopped, now that its rows are in ``part``."""
    for old in folders.left_behind(folder, but=part):
        if _noted(old) == asked:
            shutil.rmtree(old, ignore_errors=True)


def _noted(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / _ASKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
