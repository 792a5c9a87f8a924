"""Published numbers, each with its source."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fsseg.untrusted.records import Positive


@dataclass(frozen=True)
class Setting:
    """What a number is of; the encoder is part of it, since a published number of another encoder is no target.

    Attributes:
        method: its published name.
        encoder: its name.
        dataset: its name.
        way: classes of an episode.
        shot: supports of a class.
        annotation: of the supports, in the test.
        departures: of the method from its paper's setting, option to words, e.g. ``{"components": "K=5"}``.
    """

    method: str
    encoder: str
    dataset: str
    way: Positive
    shot: Positive
    annotation: str = "mask"
    departures: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """The method's name in tables, such as ``PMMs (K=5)``."""
        return method_label(self.method, self.departures)


def method_label(method: str, departures: Mapping[str, str]) -> str:
    """A method's name with what departs from its paper's setting."""
    return f"{method} ({', '.join(departures.values())})" if departures else method


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
    key = replace(setting, method=setting.label, departures={})  # the file has labels
    found = _numbers().get((key, metric, "mean" if fold is None else str(fold)), [])
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
