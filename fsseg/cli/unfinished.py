"""A test that was stopped: its rows so far, from which the same command with ``--resume`` goes on."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsseg
from fsseg import atomic
from fsseg.benchmark import stream
from fsseg.benchmark.stream import Streamed
from fsseg.cli import folders

ROWS, _WHAT = "rows.part", "unfinished.json"  # rows by number of image; what they are of
_FREE = ("root", "workers", "unreadable_images")  # options of the data that change no row


def what_of(own: Mapping[str, Any], ckpt_path: str | None, step: int) -> dict[str, Any]:
    """What rows are of: only those of the same test may be gone on from.

    Args:
        own: configuration of the test.
        ckpt_path: its checkpoint.
        step: of the checkpoint; a training that went on since then has another.
    """
    data = {name: value for name, value in own["data"].items() if name not in _FREE}
    state = Path(ckpt_path).stat() if ckpt_path else None
    weights = [step, state.st_size, state.st_mtime_ns] if state else []
    # As it is read back.
    found: dict[str, Any] = json.loads(
        json.dumps({"version": fsseg.__version__, "weights": weights, "config": {**own, "data": data}}, default=str)
    )
    return found


def begin(part: Path, what: Mapping[str, Any]) -> None:
    """Note beside the rows what they are of."""
    atomic.write_text(part / _WHAT, json.dumps(what))


def end(part: Path) -> None:
    """Take the note away, since the test is finished."""
    (part / _WHAT).unlink(missing_ok=True)


def take_up(folder: Path, part: Path, what: Mapping[str, Any], at_most: int) -> Streamed | None:
    """The rows of the test that got furthest, if any did; folders of tests that were stopped are gone afterwards.

    Args:
        folder: where the test's results go in the end.
        part: where they are being written.
        what: rows must be of.
        at_most: batches.
    """
    left = folders.left_behind(folder, but=part)
    found = [stream.read(old / ROWS, at_most) for old in left if _noted(old) == what and (old / ROWS).is_file()]
    for old in left:
        shutil.rmtree(old, ignore_errors=True)
    furthest = max(found, key=lambda streamed: streamed.batches, default=None)
    return furthest if furthest and furthest.batches else None


def _noted(folder: Path) -> object:
    try:
        return json.loads((folder / _WHAT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
