"""Published numbers, each with its source."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Setting(NamedTuple):
    """What a published number is of; the encoder is part of it, since a number of another encoder is no target."""

    method: str
    encoder: str
    dataset: str
    way: int
    shot: int
    annotation: str = "mask"  # of the supports, in the test


class Published(NamedTuple):
    """A number in percent, where it stands, and the protocol it was made with; ``unknown`` if none of ours."""

    value: float
    source: str
    protocol: str


def published(setting: Setting, metric: str, fold: int | None, table: str = "") -> Published | None:
    """The published number of one fold, or of the mean over folds (None); the two are never mixed.

    Args:
        setting: what it is of.
        metric: ``mean-IoU`` or ``binary-IoU``.
        fold: or None.
        table: such as ``PMMs table 1``, where papers' tables disagree; the first of all otherwise.
    """
    found = _numbers().get((setting, metric, "mean" if fold is None else str(fold)), [])
    own = [number for number in found if table and number.source.startswith(table)]
    return next(iter([*own, *found]), None)


@cache
def _numbers() -> dict[tuple[Setting, str, str], list[Published]]:
    text = files("fsseg.results").joinpath("published.csv").read_text(encoding="utf-8")
    numbers: dict[tuple[Setting, str, str], list[Published]] = {}
    for line in csv.DictReader(text.splitlines()):
        found = Published(float(line["value"]), line["source"], line["protocol"])
        numbers.setdefault((_setting(line), line["metric"], line["fold"]), []).append(found)
    return numbers


def _setting(line: dict[str, str]) -> Setting:
    way, shot = int(line["way"]), int(line["shot"])
    return Setting(line["method"], line["encoder"], line["dataset"], way, shot, line["annotation"])
