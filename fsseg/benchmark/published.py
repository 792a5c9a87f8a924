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


def published(setting: Setting, metric: str, fold: int | None) -> Published | None:
    """The published number of one fold, or of the mean over folds (None); the two are never mixed."""
    return _numbers().get((setting, metric, "mean" if fold is None else str(fold)))


@cache
def _numbers() -> dict[tuple[Setting, str, str], Published]:
    text = files("fsseg.benchmark").joinpath("published.csv").read_text()
    return {
        (_setting(line), line["metric"], line["fold"]): Published(
            float(line["value"]), line["source"], line["protocol"]
        )
        for line in csv.DictReader(text.splitlines())
    }


def _setting(line: dict[str, str]) -> Setting:
    way, shot = int(line["way"]), int(line["shot"])
    return Setting(line["method"], line["encoder"], line["dataset"], way, shot, line["annotation"])
