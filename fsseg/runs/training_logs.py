"""Reads the CSV files of Lightning's logger, also of a training that was resumed."""

import csv
from collections.abc import Iterable
from pathlib import Path

from fsseg.errors import FssegError
from fsseg.untrusted.text import shown

Logged = dict[str, dict[int, float]]  # values by metric and step
_OTHERS = ("epoch", "step")  # columns that are no metrics
_LETTERS = 80  # most characters of an error that are shown


def read_logs(folder: Path) -> Logged:
    """Logged values of a run by metric and step.

    A resumed training logs into a new version folder. Values of the previous version from the resumed step on are left
    out, because those steps were trained again.

    Raises:
        FssegError: The folder has no logs, or a file is broken.
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
            raise FssegError(f"{file} is broken ({shown(str(error))[:_LETTERS]}). Delete it.") from error
        first = min((int(row["step"]) for row in rows), default=None)
        if first is not None:
            logged = {name: {s: v for s, v in before.items() if s < first} for name, before in logged.items()}
        for step, name, value in values:
            logged.setdefault(name, {})[step] = value
    return logged


def _rows(file: Path) -> list[dict[str, str]]:
    """Rows of a log without a partial last row."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if None not in row and None not in row.values()]
    if rows and "step" not in rows[0]:
        raise FssegError(f"{file} has no column `step`: it is no log of Lightning's CSVLogger.")
    return [row for row in rows if row["step"]]


def distinct(folders: Iterable[Path]) -> list[str]:
    """Short, distinct names of folders: the parts of their paths that differ.

    Raises:
        FssegError: A folder is given twice.
    """
    paths = [folder.resolve().parts for folder in folders]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise FssegError(f"{Path(*twice)} is given twice. Give each run once.")
    if len(paths) == 1:
        return ["/".join(paths[0][-2:]) if paths[0][-1].startswith("fold") else paths[0][-1]]
    depth = next(d for d in range(1, max(map(len, paths)) + 1) if len({path[-d:] for path in paths}) == len(paths))
    ends = [path[-depth:] for path in paths]
    differing = [d for d in range(-depth, 0) if len({end[d] if -d <= len(end) else "" for end in ends}) > 1]
    return ["/".join(end[d] for d in differing if -d <= len(end)) for end in ends]
