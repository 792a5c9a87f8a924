"""Published numbers with their sources."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fsseg.untrusted.records import Positive


@dataclass(frozen=True)
class Setting:
    """The setting that a number was measured in.

    The encoder belongs to the setting: a published number with another encoder is no target.

    Attributes:
        method: published name of the method.
        encoder: name of the encoder.
        dataset: name of the data set.
        way: classes of an episode.
        shot: supports of a class.
        annotation: annotation of the supports in the test.
        departures: departures from the paper's setting, words by option, e.g. ``{"components": "K=5"}``.
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
    """A method's name, followed by its departures from the paper's setting."""
    return f"{method} ({', '.join(departures.values())})" if departures else method


class Published(NamedTuple):
    """A published number.

    Attributes:
        value: in percent.
        source: paper and table.
        protocol: name of its protocol; ``unknown`` if it is none of `fsseg.protocols.presets`.
    """

    value: float
    source: str
    protocol: str


def published(setting: Setting, metric: str, fold: int | None, table: str = "") -> Published | None:
    """The published number of a setting; None if there is none.

    Args:
        setting: setting of the number.
        metric: ``mean-IoU`` or ``binary-IoU``.
        fold: number of the fold; None for the mean over folds. One never replaces the other.
        table: table to prefer if several papers give the number, e.g. ``PMMs table 1``; the first in the file
            otherwise.
    """
    key = replace(setting, method=setting.label, departures={})  # the file names methods by their labels
    found = _numbers().get((key, metric, "mean" if fold is None else str(fold)), [])
    preferred = [number for number in found if table and number.source.startswith(table)]
    return next(iter([*preferred, *found]), None)


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
