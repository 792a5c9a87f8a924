"""Episodes that ask how much a result depends on the supports: the same queries, many draws of supports."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fsseg.episode import Episode
from fsseg.episodes.episode_file import Runs
from fsseg.episodes.sampler import Images, Numbers

_MOST = 10  # queries of one episode, which are segmented together


class SupportDraws(NamedTuple):
    """Queries and draws of supports of each class id.

    Attributes:
        queries: image numbers of the queries.
        orders: image numbers of the other images, in a random order for each draw; the first K are the K supports.
    """

    queries: dict[int, Numbers]
    orders: dict[int, list[Numbers]]

    def runs(self, shot: int) -> Runs:
        """1-way episodes with ``shot`` supports: a run for each draw, with all classes and queries.

        Supports of a draw contain those of the same draw with fewer shots, so that a curve over shots compares like
        with like.
        """
        draws = len(next(iter(self.orders.values())))
        return [[episode for c in self.queries for episode in self._episodes(c, draw, shot)] for draw in range(draws)]

    def _episodes(self, class_id: int, draw: int, shot: int) -> list[Episode]:
        supports = (tuple(int(number) for number in self.orders[class_id][draw][:shot]),)
        parts = np.split(
            self.queries[class_id], len(self.queries[class_id]) // per_episode(len(self.queries[class_id]))
        )
        return [Episode((class_id,), supports, tuple(map(int, part)), (0,) * len(part)) for part in parts]


def per_episode(queries: int) -> int:
    """Queries of an episode: the largest divisor of their number up to 10, as all episodes have equally many."""
    return max(size for size in range(1, _MOST + 1) if queries % size == 0)


def draw_supports(images: Images, complete: Mapping[int, Numbers], draws: int, queries: int, seed: int) -> SupportDraws:
    """Draw queries and orders of supports; those of a class do not depend on other classes.

    Args:
        images: image numbers of each class id.
        complete: those that may be queries, because their masks are complete.
        draws: draws of supports.
        queries: queries of each class.
        seed: seed of both.
    """
    chosen: dict[int, Numbers] = {}
    orders: dict[int, list[Numbers]] = {}
    for class_id, found in images.items():
        chosen[class_id] = _generator(seed, class_id).permutation(complete[class_id])[:queries]
        rest = np.setdiff1d(found, chosen[class_id])
        orders[class_id] = [_generator(seed, class_id, draw + 1).permutation(rest) for draw in range(draws)]
    return SupportDraws(chosen, orders)


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))
