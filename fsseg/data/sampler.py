"""Episodes from an index, as a pure function of seed and number, and the order in which processes take them.

A test set is a list of episodes, never a random state: whatever the number of workers, processes or GPUs, episode
``number`` of seed ``seed`` is the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch.distributed as dist
from torch.utils.data import Sampler

from fsseg.episode import Episode
from fsseg.errors import FssegError

_TRIES = 100


class Key(NamedTuple):
    """What a data loader asks for: one episode of one run; padding is loaded, but must not be counted."""

    run: int
    number: int
    padding: bool = False


def draw_episode(
    images: Mapping[int, npt.NDArray[np.int64]], way: int, shot: int, query: int, seed: int, number: int
) -> Episode:
    """Episode ``number`` of a seed.

    Classes are drawn uniformly, then images uniformly within a class. All images of an episode are distinct, also
    across ways. The way that a query is drawn for is drawn per query (PANet's code draws it once per run).

    Args:
        images: image numbers of each class id; a class needs ``shot + query`` of them.
        way: classes per episode.
        shot: supports per class.
        query: queries per episode.
        seed: chooses the list of episodes.
        number: position in that list.

    Raises:
        FssegError: the classes have too few images that are not shared with each other.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    class_ids = sorted(images)
    for _ in range(_TRIES):
        classes = tuple(class_ids[i] for i in generator.choice(len(class_ids), size=way, replace=False))
        query_way = tuple(sorted(int(w) for w in generator.integers(way, size=query)))
        drawn = _distinct(images, classes, [shot + query_way.count(w) for w in range(way)], generator)
        if drawn is not None:
            support = tuple(chosen[:shot] for chosen in drawn)
            return Episode(classes, support, tuple(i for chosen in drawn for i in chosen[shot:]), query_way)
    raise FssegError(
        f"{way} ways x {shot} shots + {query} queries need distinct images, but the classes share too many of theirs. "
        "Lower --data.way or --data.shot."
    )


def _distinct(
    images: Mapping[int, npt.NDArray[np.int64]],
    classes: Sequence[int],
    counts: Sequence[int],
    generator: np.random.Generator,
) -> list[tuple[int, ...]] | None:
    """Images for each class, none twice; None where an earlier class took too many of a later one's."""
    drawn: list[tuple[int, ...]] = []
    taken: list[int] = []
    for class_id, count in zip(classes, counts, strict=True):
        free = images[class_id][~np.isin(images[class_id], taken)] if taken else images[class_id]
        if len(free) < count:
            return None
        chosen = tuple(int(i) for i in generator.choice(free, size=count, replace=False))
        drawn.append(chosen)
        taken += chosen
    return drawn


class EpisodeOrder(Sampler[Key]):
    """Keys of the episodes that this process loads, in order.

    Process r of w takes episodes r, r + w, ...; where w does not divide their number, the last round is filled with
    padding, so that every process makes equally many steps and no episode counts twice. (Lightning's own distributed
    sampler pads with episodes that do count: use ``use_distributed_sampler=False``.)

    Args:
        runs: lists of episodes, one after the other.
        episodes: length of each.
        first: number of an epoch's first episode, asked for at its start; 0 in every epoch where it is not given.
    """

    def __init__(self, runs: int, episodes: int, first: Callable[[], int] | None = None) -> None:
        self.runs, self.episodes, self.first = runs, episodes, first

    def __len__(self) -> int:
        return -(-self.runs * self.episodes // _processes()[1])

    def __iter__(self) -> Iterator[Key]:
        rank, processes = _processes()
        total = self.runs * self.episodes
        first = self.first() if self.first else 0
        for step in range(len(self)):
            position = step * processes + rank
            run, number = divmod(min(position, total - 1), self.episodes)
            yield Key(run, first + number, padding=position >= total)


def _processes() -> tuple[int, int]:
    """Rank and number of processes; asked for late, since the group is not up when loaders are made."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
