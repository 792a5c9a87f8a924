"""The draws of a protocol: functions from a key to an episode."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from fsseg.datasets.base import Dataset
from fsseg.episode import Episode
from fsseg.episodes.eligible_images import with_complete_masks
from fsseg.episodes.official_draws import (
    hsnet_class_episodes,
    hsnet_episodes,
    oslsm_episodes,
    panet_episodes,
    patnet_episodes,
    pfenet_episodes,
    pmms_episodes,
)
from fsseg.episodes.sampler import PLAIN, Images, Key, Numbers, Rules, draw_episode
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol

Draw = Callable[[Key], Episode]
Sizes = tuple[int, int, int]  # way, shot, query


def seeded(images: Images, sizes: Sizes, seed: int, rules: Rules = PLAIN) -> Draw:
    """Draw each episode from its number; run r has the seed ``seed + r``."""
    return partial(_draw, images=images, sizes=sizes, seed=seed, rules=rules)


def of_classes(dataset: Dataset, images: Images, sizes: Sizes, seed: int, absent: float = 0.0) -> Draw:
    """Draw each episode of a training or a validation from its number; images with weak masks are supports only.

    Args:
        dataset: opened data set.
        images: image numbers of each class id.
        sizes: way, shot, query.
        seed: seed of the episodes.
        absent: share of episodes whose queries show no class of the episode; they are images of other classes.
    """
    queries = with_complete_masks(dataset, images)
    rules = PLAIN if queries is images else Rules(queries=queries)
    if absent:
        every = np.unique(np.concatenate([*queries.values()]))
        rules = rules._replace(absent=absent, lacking=partial(_lacking, dataset, numbers=every))
    return seeded(images, sizes, seed, rules)


def listed(runs: Sequence[Sequence[Episode]]) -> Draw:
    """Take episodes from lists, one list per run."""
    return partial(_listed, runs=runs)


def drawn(protocol: Protocol, dataset: Dataset, images: Images, sizes: Sizes) -> Draw:
    """The draw of a protocol's test episodes.

    Args:
        protocol: protocol of the test.
        dataset: opened data set.
        images: image numbers of each novel class id, selected by the protocol's rule.
        sizes: way, shot, query.

    Raises:
        FssegError: an official code's draw is asked for, but some images have weak masks.
    """
    queries = with_complete_masks(dataset, images)
    if protocol.draw == "seeded":
        rules = Rules(
            queries=None if queries is images else queries,
            several=protocol.queries == "several",
            repeat_supports=protocol.repeat_supports,
            absent=protocol.absent_queries,
            lacking=partial(_lacking, dataset, numbers=_complete_numbers(dataset, protocol)),
        )
        return seeded(images, sizes, protocol.seed, rules)
    if weak := sum(map(len, images.values())) - sum(map(len, queries.values())):
        raise FssegError(
            f"`protocol.draw` {protocol.draw} draws supports and queries from one list, but {weak} (image, class) "
            "pairs have weak masks, which may be supports only. Give `protocol.draw` seeded."
        )
    seeds = range(protocol.seed, protocol.seed + protocol.runs)
    return listed([_as_code(protocol, dataset, queries, sizes, seed) for seed in seeds])


def _as_code(protocol: Protocol, dataset: Dataset, images: Images, sizes: Sizes, seed: int) -> list[Episode]:
    """Episodes of one run, drawn as an official code draws them."""
    lists = {c: found.tolist() for c, found in images.items()}
    pairs = sorted(
        (number, c) for c, numbers in lists.items() for number in numbers
    )  # the order of the published lists
    if dataset.index.order and (protocol.pairs == "official" or protocol.draw in ("fss1000", "hsnet")):
        eligible = set(pairs)
        pairs = [pair for pair in dataset.index.order if pair in eligible]
    shot, episodes = sizes[1], protocol.episodes
    if protocol.draw == "panet":
        return panet_episodes(lists, *sizes, seed, episodes)
    if protocol.draw == "pmms":
        return pmms_episodes(pairs, shot, seed, episodes)
    if protocol.draw == "oslsm":
        return oslsm_episodes(pairs, shot, seed, episodes)
    if protocol.draw == "fss1000":
        return hsnet_episodes(pairs, shot, seed, episodes, protocol.repeat_supports, lists)
    if protocol.draw == "cdfss":
        return patnet_episodes(lists, shot, seed, episodes, protocol.repeat_supports)
    if protocol.draw == "hsnet" and dataset.family == "coco":
        return hsnet_class_episodes(lists, shot, seed, episodes, protocol.repeat_supports)
    if protocol.draw == "hsnet":
        return hsnet_episodes(pairs, shot, seed, episodes, protocol.repeat_supports)
    pixels = dataset.index.pixels
    walk = {n: [c for c in lists if pixels[n, c]] for n in sorted({number for number, _ in pairs})}
    return pfenet_episodes(walk, lists, shot, seed, episodes)


def _complete_numbers(dataset: Dataset, protocol: Protocol) -> Numbers:
    return np.array([n for n in dataset.numbers(protocol.split) if n not in dataset.weak], dtype=np.int64)


# Functions at module level, because workers that are not forked unpickle them.
def _draw(key: Key, images: Images, sizes: Sizes, seed: int, rules: Rules) -> Episode:
    return draw_episode(images, *sizes, seed + key.run, key.number, rules)


def _listed(key: Key, runs: Sequence[Sequence[Episode]]) -> Episode:
    return runs[key.run][key.number]


def _lacking(dataset: Dataset, classes: Sequence[int], numbers: Numbers) -> Numbers:
    return dataset.index.without(classes, numbers)
