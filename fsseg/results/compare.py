"""Comparison of two tests on the same episodes: differences of metrics, their intervals, classes and episodes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fsseg.episode import BACKGROUND
from fsseg.errors import FssegError
from fsseg.iou import percent
from fsseg.results.intervals import LEVEL, METRICS, interval, replicates
from fsseg.results.results import FinishedTest


class MetricDifference(NamedTuple):
    """One metric of both tests, in percent.

    Attributes:
        first: value of the first test, a mean over folds.
        second: value of the second test.
        low: lower end of the paired bootstrap interval of ``second - first``.
        high: upper end of the interval.
        above: share of replicates where the second is above the first.
    """

    first: float
    second: float
    low: float
    high: float
    above: float

    @property
    def value(self) -> float:
        """Second minus first."""
        return self.second - self.first


class Pair(NamedTuple):
    """One episode in both tests.

    Attributes:
        fold: fold of the episode.
        run: number of the run.
        episode: number of the episode.
        first: IoU in the first test, over all classes of the episode, in percent; NaN if neither masks nor
            predictions show a class.
        second: IoU in the second test.
        results: the two tests.
    """

    fold: int
    run: int
    episode: int
    first: float
    second: float
    results: tuple[FinishedTest, FinishedTest]


@dataclass(frozen=True)
class Comparison:
    """Differences of two tests, or of two sets of tests.

    Attributes:
        pairs: results of both sides, matched by fold, shots, annotation and seed.
        metrics: difference of each metric.
        classes: IoU of each class in both, by name, as a mean over pairs.
        episodes: all episodes, the largest absolute difference first.
        alone: number of tests that only one side has; they are left out.
    """

    pairs: tuple[tuple[FinishedTest, FinishedTest], ...]
    metrics: dict[str, MetricDifference]
    classes: dict[str, tuple[float, float]]
    episodes: tuple[Pair, ...]
    alone: int = 0

    @property
    def counted(self) -> tuple[int, int, int]:
        """Episodes where the second is better, as good, worse."""
        differences = np.array([pair.second - pair.first for pair in self.episodes])
        return int((differences > 0).sum()), int((differences == 0).sum()), int((differences < 0).sum())


def compare(first: Sequence[FinishedTest], second: Sequence[FinishedTest]) -> list[Comparison]:
    """Match two sets of results, and compare them episode by episode.

    Returns:
        a comparison for each number of shots and each annotation; these are never averaged.

    Raises:
        FssegError: no result has a partner, or a pair differs in episodes or protocol.
    """
    pairs = _matched(first, second)
    for pair in pairs:
        _check_episodes(*pair)
    alone = len(first) + len(second) - 2 * len(pairs)
    kinds: dict[tuple[int, str], list[tuple[FinishedTest, FinishedTest]]] = {}
    for pair in pairs:
        setting = pair[0].tested.setting
        kinds.setdefault((setting.shot, setting.annotation), []).append(pair)
    return [_compare(part, alone) for _, part in sorted(kinds.items())]


def _compare(pairs: Sequence[tuple[FinishedTest, FinishedTest]], alone: int) -> Comparison:
    episodes = sorted(
        (found for pair in pairs for found in _episodes(pair)),
        key=lambda pair: -abs(np.nan_to_num(pair.second - pair.first)),
    )
    metrics = {name: _difference(pairs, name) for name in METRICS}
    return Comparison(tuple(pairs), metrics, _classes(pairs), tuple(episodes), alone)


def _matched(first: Sequence[FinishedTest], second: Sequence[FinishedTest]) -> list[tuple[FinishedTest, FinishedTest]]:
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    keyed = [_by_key(results) for results in (first, second)]
    both = sorted(keyed[0].keys() & keyed[1].keys())
    if not both:
        raise FssegError(
            "compare: the two have no test of the same fold, shots, annotation and seed. Give the folders of single "
            "tests, or two benchmarks that share some of their plan."
        )
    return [(keyed[0][key], keyed[1][key]) for key in both]


def _by_key(results: Iterable[FinishedTest]) -> dict[tuple[int, int, str, int], FinishedTest]:
    found: dict[tuple[int, int, str, int], FinishedTest] = {}
    for result in results:
        tested = result.tested
        key = (tested.fold, tested.setting.shot, tested.setting.annotation, tested.seed)
        if key in found:
            raise FssegError(
                f"compare: {found[key].folder} and {result.folder} have the same fold, shots and seed: give one of "
                "them."
            )
        found[key] = result
    return found


def _check_episodes(first: FinishedTest, second: FinishedTest) -> None:
    if first.tested.what != second.tested.what:
        raise FssegError(
            f"{first.folder} is a test of {first.tested.what}, {second.folder} of {second.tested.what}: they have no "
            "episode in common."
        )
    if first.tested.protocol.digest != second.tested.protocol.digest:
        raise FssegError(
            f"{first.folder} was tested under protocol {first.tested.protocol}, {second.folder} under "
            f"{second.tested.protocol}: test one of them again under the other's."
        )
    keys = [{(r.run, r.episode, r.class_id, r.support, r.query) for r in result.rows} for result in (first, second)]
    if other := sorted(keys[0] ^ keys[1]):
        run, episode = other[0][:2]
        raise FssegError(
            f"{first.folder} and {second.folder} were not tested on the same episodes (run {run}, episode {episode}): "
            f"test one of them again with `data.episodes.test_file` {first.folder}/episodes.json."
        )


def _episodes(pair: tuple[FinishedTest, FinishedTest]) -> list[Pair]:
    first, second = (_episode_iou(result) for result in pair)
    fold = pair[0].tested.fold
    return [Pair(fold, *key, value, second[key], pair) for key, value in first.items()]


def _episode_iou(result: FinishedTest) -> dict[tuple[int, int], float]:
    """IoU of each episode over all its classes, in percent, by run and number."""
    sums: dict[tuple[int, int], list[int]] = {}
    for row in result.rows:
        if row.class_id != BACKGROUND and row.query_class != BACKGROUND:
            counted = sums.setdefault((row.run, row.episode), [0, 0])
            counted[0] += row.intersection
            counted[1] += row.union
    values = percent(*np.array([*sums.values()], dtype=np.int64).reshape(-1, 2).T)
    return dict(zip(sums, values.tolist(), strict=True))


def _difference(pairs: Sequence[tuple[FinishedTest, FinishedTest]], metric: str) -> MetricDifference:
    """Difference of a metric, with a paired bootstrap: both sides use the same draws of episodes.

    All seeds of a fold share one draw, because they were tested on the same episodes.
    """
    folds = sorted({pair[0].tested.fold for pair in pairs})
    sides = []
    for side in (0, 1):
        of = [[pair[side] for pair in pairs if pair[0].tested.fold == fold] for fold in folds]
        sides.append(
            np.mean([replicates(results, metric, fold) for fold, results in zip(folds, of, strict=True)], axis=0)
        )
    first, second = (_mean_of_folds(pairs, side, metric) for side in (0, 1))
    differences = sides[1] - sides[0]
    return MetricDifference(first, second, *interval(differences), float((differences > 0).mean()))


def _mean_of_folds(pairs: Sequence[tuple[FinishedTest, FinishedTest]], side: int, metric: str) -> float:
    folds: dict[int, list[float]] = {}
    for pair in pairs:
        folds.setdefault(pair[0].tested.fold, []).append(pair[side].table.score(metric).mean)
    return float(np.mean([np.mean(values) for values in folds.values()]))


def _classes(pairs: Sequence[tuple[FinishedTest, FinishedTest]]) -> dict[str, tuple[float, float]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for first, second in pairs:
        for one, other in zip(first.table.classes, second.table.classes, strict=True):
            found.setdefault(one.name, []).append((one.iou.mean, other.iou.mean))
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    return {name: (float(first), float(second)) for name, (first, second) in means.items()}


def place(pair: Pair) -> str:
    """Fold, seeds, run and number of an episode, in words."""
    seeds = {result.tested.seed for result in pair.results}
    return f"fold {pair.fold}, seed {', '.join(map(str, sorted(seeds)))}, run {pair.run}, episode {pair.episode}"


def comparison_text(comparison: Comparison, names: tuple[str, str], count: int) -> str:
    """A comparison as text for a terminal.

    Args:
        comparison: to print.
        names: names of the two sides.
        count: number of episodes to list.
    """
    tested = comparison.pairs[0][0].tested
    folds = {pair[0].tested.fold: pair[0].episodes for pair in comparison.pairs}
    seeds = sorted({pair[0].tested.seed for pair in comparison.pairs})
    what = f"{len(folds)} fold{'s' * (len(folds) > 1)}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    lines = [
        f"A  {names[0]}",
        f"B  {names[1]}",
        f"{tested.setting.dataset}, {tested.kind}: {what}, {sum(folds.values()):,} episodes",
        f"protocol {tested.protocol}",
        *([f"left out: {comparison.alone} tests that only one of them has"] if comparison.alone else []),
        "",
        f"  {'':18}{'A':>7}{'B':>7}{'B - A':>8}   {LEVEL:.0f} % interval     B above A",
    ]
    for name, found in comparison.metrics.items():
        lines.append(
            f"  {name:18}{found.first:7.1f}{found.second:7.1f}{found.value:+8.1f}   "
            f"[{found.low:+.1f}, {found.high:+.1f}]".ljust(61)
            + f"{found.above:.0%} of draws"
        )
    lines.append("")
    for name, (first, second) in comparison.classes.items():
        lines.append(f"  {name:18}{first:7.1f}{second:7.1f}{second - first:+8.1f}")
    better, same, worse = comparison.counted
    lines += [
        "",
        f"episodes: B better in {better:,}, as good in {same:,}, worse in {worse:,}. They differ most in",
        *(
            f"  {place(p)}: {p.first:.1f}, {p.second:.1f} ({p.second - p.first:+.1f})"
            for p in comparison.episodes[:count]
        ),
    ]
    return "\n".join(lines)
