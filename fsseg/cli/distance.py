"""`fsseg distance`: measures the distance between prototypes of supports and queries (PANet, section 4.3)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsseg import atomic
from fsseg.cli.options import MOVED, Options
from fsseg.errors import FssegError

if TYPE_CHECKING:
    from fsseg.experiment.replay import Replay
    from fsseg.methods import PANet

_PAPER = {"PANet": 32.2, "PANet w/o PAR": 42.6}  # section 4.3: 1,000 episodes, 1-way 5-shot, of split-1
_SOURCE = "PANet section 4.3: VGG16 features, PASCAL-5i fold 0, 5-shot; the scale is the encoder's"
_KINDS = {"predicted": "query under its prediction", "true": "query under its mask"}
_LINES = 10  # number of progress lines


def options() -> Options:
    """The command's options."""
    made = Options("distance")
    made.option("folder", Path, "folder of `fsseg test`; checkpoint and data are needed too", metavar="TEST_FOLDER")
    made.option("--data.root", str, MOVED, dest="root", metavar="DIR")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``distance``; return the exit code.

    Raises:
        FssegError: An option is wrong, or the tested method has no single prototype per class.
    """
    given = options().read(arguments)
    from fsseg.experiment.replay import Replay  # imports torch
    from fsseg.methods import PANet

    replay = Replay(given.folder, given.root)
    if not isinstance(replay.method, PANet):
        raise FssegError(
            f"{given.folder} tested {type(replay.method).__name__}, which has no single prototype per class; give a "
            "test of PANet."
        )
    found = distances(replay, replay.method)
    content = {
        "method": replay.tested.setting.label,
        "encoder": replay.tested.setting.encoder,
        "checkpoint": replay.tested.origin,
        **{kind: summary(found[kind]) for kind in _KINDS},
        "paper": {**_PAPER, "source": _SOURCE},
    }
    try:
        atomic.write_text(given.folder / "distance.json", json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise FssegError(f"{given.folder / 'distance.json'} cannot be written: {error.strerror}.") from error
    print(_text(content))
    print(f"\n  distances {given.folder / 'distance.json'}")
    return 0


def distances(replay: Replay, method: PANet) -> dict[str, list[list[float]]]:
    """Distances of all ways of all episodes by run; NaN if the query's mask, or prediction, does not show the way."""
    runs, episodes = replay.data.protocol.runs, replay.data.protocol.episodes
    found: dict[str, list[list[float]]] = {kind: [[] for _ in range(runs)] for kind in _KINDS}
    done, total = 0, runs * episodes
    for batch in replay.batches():
        with replay.running():
            distance = method.distance(batch)
        for b, run in enumerate(batch.run.tolist()):
            found["predicted"][run] += distance.predicted[b].tolist()
            found["true"][run] += distance.true[b].tolist()
        before, done = done, done + len(batch.run)
        if done * _LINES // total > before * _LINES // total:
            print(f"distance {done:,}/{total:,} episodes", file=sys.stderr, flush=True)
    return found


def summary(runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Mean and standard deviation over runs of the runs' means; NaN is left out and counted.

    Args:
        runs: Distances by run.
    """
    known = [[value for value in run if not np.isnan(value)] for run in runs]
    means = [float(np.mean(run)) for run in known if run]
    counted = sum(map(len, known))
    return {
        "mean": float(np.mean(means)) if means else None,
        "std": float(np.std(means)) if len(means) > 1 else None,
        "runs": means,
        "counted": counted,
        "left_out": sum(map(len, runs)) - counted,
    }


def _text(content: dict[str, Any]) -> str:
    width = max(map(len, _KINDS.values())) + 3
    lines = [
        f"{content['method']}  {content['encoder']}  {content['checkpoint']}",
        "mean Euclidean distance between the prototypes of supports and query, of the classes:",
        "",
        f"  {'':{width}}distance        ways   left out",
    ]
    for kind, words in _KINDS.items():
        found = content[kind]
        mean = "-" if found["mean"] is None else f"{found['mean']:.2f}"
        spread = "" if found["std"] is None else f" +- {found['std']:.2f}"
        lines.append(f"  {words:{width}}{mean + spread:14}{found['counted']:6,}{found['left_out']:11,}")
    paper = "   ".join(f"{name} {value}" for name, value in _PAPER.items())
    return "\n".join([*lines, "", f"  published: {paper}", f"  ({_SOURCE})"])
