"""The draws of the official codes: the same generator, asked in the same order, gives the same episodes."""

import random
from collections.abc import Mapping, Sequence

from fsseg.episode import Episode


def panet_episodes(
    images: Mapping[int, Sequence[int]], way: int, shot: int, query: int, seed: int, episodes: int
) -> list[Episode]:
    """A run's episodes drawn exactly as the official PANet code draws them (dataloaders/common.py, customized.py).

    All queries of a run come from the same ways, drawn once; an image may stand in two ways of an episode.

    Args:
        images: image numbers of each class id, in the order of the official class lists.
        way: classes per episode.
        shot: supports per class.
        query: queries per episode.
        seed: of Python's generator; 1234 + run in the paper's protocol.
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
    """1-way episodes drawn exactly as the official PMMs code draws them on PASCAL (data/voc_val.py).

    Queries walk the list, which is shuffled whenever it is exhausted; so a class is as frequent as in the list.
    Supports are uniform over the other images of the query's class.

    Args:
        pairs: image number and class id, in the order of the official list; a class needs ``shot + 1`` images.
        shot: supports, distinct.
        seed: of Python's generator; 1385 in the official code.
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
    """One support is drawn until it is not the query; several are drawn at once, from the list without the query."""
    if shot > 1:
        return tuple(generator.sample([number for number in images if number != query], shot))
    support = query
    while support == query:
        support = images[generator.randint(0, len(images) - 1)]
    return (support,)
