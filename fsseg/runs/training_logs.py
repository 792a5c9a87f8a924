"""What a training has logged: the CSV files of Lightning's logger, over all that it was resumed."""

import csv
from pathlib import Path

from fsseg.errors import FssegError
from fsseg.untrusted.text import shown

Logged = dict[str, dict[int, float]]  # by metric and step
_OTHERS = ("epoch", "step")  # columns that are no metrics
_LETTERS = 80  # of an error


def read_logs(folder: Path) -> Logged:
    """What a run has logged, by metric and step.

    A resumed training logs into a version of its own. What the version before it logged from its first step on was
    trained anew, and is left out.

    Raises:
        FssegError: no logs.
    """
    found = [path for path in folder.glob("logs/version_*/metrics.csv") if path.parent.name[8:].isdecimal()]
    files = sorted(found, key=lambda path: int(path.parent.name[8:]))
    if not files:
        raise FssegError(
            f"{folder} has no logs/version_0/metrics.csv: the folder of a `fsseg fit` with the CSVLogger is needed."
        )
    logged: Logged = {}
    for file in files:
        try:
            rows = _rows(file)
            values = [
                (int(row["step"]), name, float(value))
                for row in rows
                for name, value in row.items()
                if value and name not in _OTHERS
            ]
        except (OSError, ValueError, csv.Error) as error:
            raise FssegError(f"{file} is broken ({shown(str(error))[:_LETTERS]}). Take it away.") from error
        first = min((int(row["step"]) for row in rows), default=None)
        if first is not None:
            logged = {name: {s: v for s, v in before.items() if s < first} for name, before in logged.items()}
        for step, name, value in values:
            logged.setdefault(name, {})[step] = value
    return logged


def _rows(file: Path) -> list[dict[str, str]]:
    """Rows of a log but for a last one that was cut off in the middle."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if None not in row and None not in row.values()]
    if rows and "step" not in rows[0]:
        raise FssegError(f"{file} has no column `step`: it is no log of Lightning's CSVLogger.")
    return [row for row in rows if row["step"]]
