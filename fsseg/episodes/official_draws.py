"""The draws of the official codes: the same generator, called in the same order, gives the same episodes."""

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from fsseg.episode import Episode

_PFENET_WORKERS = 8  # of the official configurations
_OSLSM_PERIOD = 1000  # episodes after which OSLSM's code seeds its generator again (ss_datalayer.py)

T = TypeVar("T")


def panet_episodes(
    images: Mapping[int, Sequence[int]], way: int, shot: int, query: int, seed: int, episodes: int
) -> list[Episode]:
    """Episodes of one run, drawn exactly as the official PANet code does (dataloaders/common.py, customized.py).

    The ways of the queries are drawn once per run. An image may appear in two ways of an episode.

    Args:
        images: image numbers of each class id, in the order of the official class lists.
        way: classes per episode.
        shot: supports per class.
        query: queries per episode.
        seed: seed of Python's generator; 1234 + run in the official config.py.
        episodes: number of episodes.
    """
    generator = random.Random(seed)
    ways = generator.choices(range(way), k=query)
    counts = [shot + ways.count(w) for w in range(way)]
    class_ids = list(images)
    drawn = []
    for _ in range(episodes):
        classes = tuple(class_ids[c] for c in generator.sample(range(len(class_ids)), way))
        chosen = [
            tuple(images[c][i] for i in generator.sample(range(len(images[c])), count))
            for c, count in zip(classes, counts, strict=True)
        ]
        queries = tuple(i for numbers in chosen for i in numbers[shot:])
        drawn.append(Episode(classes, tuple(numbers[:shot] for numbers in chosen), queries, tuple(sorted(ways))))
    return drawn


def pmms_episodes(pairs: Sequence[tuple[int, int]], shot: int, seed: int, episodes: int) -> list[Episode]:
    """1-way episodes, drawn exactly as the official PMMs code does on PASCAL (data/voc_val.py).

    Queries follow the list, which is shuffled after each pass; a class is as frequent as in the list.
    Supports are uniform over the other images of the query's class.

    Args:
        pairs: image number and class id, in the order of the official list; a class needs ``shot + 1`` images.
        shot: supports, all distinct.
        seed: seed of Python's generator; 1385 in the official code.
        episodes: number of episodes.
    """
    generator = random.Random(seed)
    images: dict[int, list[int]] = {}
    for number, class_id in pairs:
        images.setdefault(class_id, []).append(number)
    walk, drawn = list(pairs), []
    for position in range(episodes):
        if position and position % len(walk) == 0:
            generator.shuffle(walk)
        query, class_id = walk[position % len(walk)]
        support = _pmms_support(generator, images[class_id], query, shot)
        drawn.append(Episode((class_id,), (support,), (query,), (0,)))
    return drawn


def _pmms_support(generator: random.Random, images: Sequence[int], query: int, shot: int) -> tuple[int, ...]:
    """Supports of a query: a single one is drawn again if it is the query; several are drawn without the query."""
    if shot > 1:
        return tuple(generator.sample([number for number in images if number != query], shot))
    support = query
    while support == query:
        support = images[generator.randint(0, len(images) - 1)]
    return (support,)


def pfenet_episodes(
    shown: Mapping[int, Sequence[int]], images: Mapping[int, Sequence[int]], shot: int, seed: int, episodes: int
) -> list[Episode]:
    """1-way episodes, drawn exactly as the official PFENet code does with its eight workers (util/dataset.py, test.py).

    Queries follow the list of images in repeated passes. In each pass, torch's loader seeds the generators of the
    workers anew, and worker w draws items w, w + 8, ... (Another number of workers gives other episodes.)

    Args:
        shown: novel class ids that each query shows, ascending, in the order of the official list.
        images: image numbers that show enough of each class id; a class needs ``shot + 1`` of them.
        shot: supports, all distinct.
        seed: seed of torch's generator; 321 in the official configurations.
        episodes: number of episodes.
    """
    seeds, drawn = torch.Generator().manual_seed(seed), list[Episode]()
    while len(drawn) < episodes:
        first = int(torch.empty((), dtype=torch.int64).random_(generator=seeds))  # as torch's DataLoader draws it
        workers = [random.Random(first + worker) for worker in range(_PFENET_WORKERS)]
        for item, query in enumerate(shown):
            drawn.append(pfenet_episode(workers[item % _PFENET_WORKERS], query, shown[query], images, shot))
    return drawn[:episodes]


def pfenet_episode(
    generator: random.Random, query: int, shown: Sequence[int], images: Mapping[int, Sequence[int]], shot: int
) -> Episode:
    """An episode of PFENet's code. The class is drawn from those that the query shows, at any size.

    Supports are distinct and uniform over the images that show enough of the class; the last one drawn comes first, as
    the code stacks them. The code draws once more per support and does not use the number.
    """
    class_id = shown[generator.randint(1, len(shown)) - 1]
    numbers, support = images[class_id], list[int]()
    for _ in range(shot):
        generator.randint(1, len(numbers))
        found = query
        while found == query or found in support:
            found = numbers[generator.randint(1, len(numbers)) - 1]
        support.append(found)
    return Episode((class_id,), (tuple(reversed(support)),), (query,), (0,))


def hsnet_episodes(
    pairs: Sequence[tuple[int, int]],
    shot: int,
    seed: int,
    episodes: int,
    repeat: bool = True,
    images: Mapping[int, Sequence[int]] | None = None,
) -> list[Episode]:
    """1-way episodes, drawn as the official HSNet code does on PASCAL without workers (data/pascal.py).

    Queries follow the list in repeated passes of the same order. Each support is drawn independently and uniformly
    from the other images of the query's class, so that supports may repeat.

    Args:
        pairs: image number and class id, in the order of the official list; a class needs ``shot + 1`` images.
        shot: supports.
        seed: seed of numpy's RandomState; 0 in the official code.
        episodes: number of episodes.
        repeat: whether supports may repeat; if not, a repeated support is drawn again.
        images: image numbers of each class id in the order in which supports are drawn from them, if the list has
            another order: on FSS-1000 the code walks paths (1, 10, 2 ...) and draws numbers (data/fss.py).
    """
    generator = np.random.RandomState(seed)
    listed: dict[int, list[int]] = {}
    for number, class_id in pairs:
        listed.setdefault(class_id, []).append(number)
    sources: Mapping[int, Sequence[int]] = listed if images is None else images
    drawn = []
    for position in range(episodes):
        query, class_id = pairs[position % len(pairs)]
        support = _hsnet_support(generator, sources[class_id], query, shot, repeat)
        drawn.append(Episode((class_id,), (support,), (query,), (0,)))
    return drawn


def hsnet_class_episodes(
    images: Mapping[int, Sequence[int]], shot: int, seed: int, episodes: int, repeat: bool = True
) -> list[Episode]:
    """1-way episodes, drawn as the official HSNet code does on COCO without workers (data/coco.py).

    Classes are uniform, and so are the queries of a class. Supports are drawn as by `hsnet_episodes`.

    Args:
        images: image numbers of each class id, in the order of the official lists; a class needs ``shot + 1`` images.
        shot: supports.
        seed: see `hsnet_episodes`.
        episodes: number of episodes.
        repeat: see `hsnet_episodes`.
    """
    generator = np.random.RandomState(seed)
    class_ids, drawn = list(images), []
    for _ in range(episodes):
        class_id = class_ids[_one(generator, len(class_ids))]
        query = images[class_id][_one(generator, len(images[class_id]))]
        support = _hsnet_support(generator, images[class_id], query, shot, repeat)
        drawn.append(Episode((class_id,), (support,), (query,), (0,)))
    return drawn


def patnet_episodes(
    images: Mapping[int, Sequence[int]], shot: int, seed: int, episodes: int, repeat: bool = True
) -> list[Episode]:
    """1-way episodes, drawn as the official PATNet code does on its target sets (data/deepglobe.py, isic.py, lung.py).

    Classes take turns. The query is uniform over the images of the class, and supports are drawn as by
    `hsnet_episodes`. ABCDFSS (data/suim.py) and INSID3 (datasets/suim.py) do the same on SUIM.

    Args:
        images: image numbers of each class id, in the order of the file names; a class needs ``shot + 1`` images.
        shot: supports.
        seed: seed of numpy's RandomState; 0 in the official code.
        episodes: number of episodes.
        repeat: see `hsnet_episodes`.
    """
    generator = np.random.RandomState(seed)
    class_ids, drawn = list(images), []
    for position in range(episodes):
        class_id = class_ids[position % len(class_ids)]
        query = images[class_id][_one(generator, len(images[class_id]))]
        support = _hsnet_support(generator, images[class_id], query, shot, repeat)
        drawn.append(Episode((class_id,), (support,), (query,), (0,)))
    return drawn


def _hsnet_support(
    generator: np.random.RandomState, images: Sequence[int], query: int, shot: int, repeat: bool
) -> tuple[int, ...]:
    support: list[int] = []
    while len(support) < shot:
        found = images[_one(generator, len(images))]
        if found != query and (repeat or found not in support):
            support.append(found)
    return tuple(support)


def _one(generator: np.random.RandomState, count: int) -> int:
    """The first entry of a permutation, as the code draws a number."""
    return int(generator.choice(count, 1, replace=False)[0])


def oslsm_episodes(pairs: Sequence[tuple[int, int]], shot: int, seed: int, episodes: int) -> list[Episode]:
    """1-way episodes, drawn exactly as the official OSLSM code does under Python 2 (ss_datalayer.py, util.py).

    Queries walk a shuffled copy of the list, and another one when it is exhausted. Supports are the first of the
    shuffled other images of the query's class. Every 1,000 episodes all starts again.

    Args:
        pairs: image number and class id, in the order of the official list; a class needs ``shot + 1`` images.
        shot: supports, all distinct.
        seed: seed of Python's generator; 1385 in the official code.
        episodes: number of episodes.
    """
    images: dict[int, list[int]] = {}
    for number, class_id in pairs:
        images.setdefault(class_id, []).append(number)
    generator, walk = random.Random(seed), list[tuple[int, int]]()
    drawn: list[Episode] = []
    for _ in range(min(episodes, _OSLSM_PERIOD)):
        walk = walk or _shuffled(pairs, generator)[::-1]
        query, class_id = walk.pop()
        others = _shuffled([number for number in images[class_id] if number != query], generator)
        drawn.append(Episode((class_id,), (tuple(others[:shot]),), (query,), (0,)))
    return [drawn[position % _OSLSM_PERIOD] for position in range(episodes)]


def _shuffled(values: Sequence[T], generator: random.Random) -> list[T]:
    """A copy, shuffled as by Python 2, whose indices are products; Python 3 draws them from bits."""
    copied = list(values)
    for i in range(len(copied) - 1, 0, -1):
        j = int(generator.random() * (i + 1))
        copied[i], copied[j] = copied[j], copied[i]
    return copied
