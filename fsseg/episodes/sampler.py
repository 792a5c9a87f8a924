"""Episodes as a pure function of seed and number, and the order in which processes take them.

A test set is a list of episodes, never a random state: episode ``number`` of seed ``seed`` is the same for any number
of workers, processes and GPUs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from fsseg.episode import NO_WAY, Episode
from fsseg.errors import FssegError
from fsseg.processes import rank_and_count

Numbers = npt.NDArray[np.int64]
Images = Mapping[int, Numbers]  # image numbers of each class id
Chosen = list[tuple[int, ...]]  # image numbers drawn for each way

_TRIES = 100  # draws of an episode before giving up; the classes of a draw may share too many images


class Key(NamedTuple):
    """Key of a data loader: one episode of one run. Padding is loaded, but must not be counted."""

    run: int
    number: int
    padding: bool = False


class Rules(NamedTuple):
    """Rules of a draw, besides ways, shots and queries.

    Attributes:
        queries: image numbers of each class id that may be queries; None allows all that may be supports.
        several: queries show at least two classes of the episode.
        repeat_supports: supports of an episode may repeat.
        absent: share of episodes whose queries show no class of the episode.
        lacking: gives the image numbers that show no pixel of some classes; needed for ``absent``.
    """

    queries: Images | None = None
    several: bool = False
    repeat_supports: bool = False
    absent: float = 0.0
    lacking: Callable[[Sequence[int]], Numbers] | None = None

    @property
    def plain(self) -> bool:
        """Whether supports and queries of a class are drawn together, from the same images."""
        return self.queries is None and not self.several and not self.repeat_supports


PLAIN = Rules()


def draw_episode(
    images: Images, way: int, shot: int, query: int, seed: int, number: int, rules: Rules = PLAIN
) -> Episode:
    """Draw episode ``number`` of a seed.

    Classes are drawn uniformly, then images uniformly within a class. All images of an episode are distinct, also
    across ways. The way of each query is drawn per episode (PANet's code draws it once per run).

    Args:
        images: image numbers of each class id; a class needs ``shot + query`` of them.
        way: classes per episode.
        shot: supports per class.
        query: queries per episode.
        seed: seed of the list of episodes.
        number: position in the list.
        rules: further rules.

    Raises:
        FssegError: too few distinct images: the classes share too many of them.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    class_ids = sorted(images)
    for _ in range(_TRIES):
        classes = tuple(class_ids[i] for i in generator.choice(len(class_ids), size=way, replace=False))
        query_way = tuple(sorted(int(w) for w in generator.integers(way, size=query)))
        counts = [query_way.count(w) for w in range(way)]
        drawn = _draw(images, classes, counts, shot, rules, generator)
        if drawn is not None:
            supports, queries = drawn
            episode = Episode(classes, tuple(supports), tuple(i for chosen in queries for i in chosen), query_way)
            return _absent(episode, rules, generator) if rules.absent else episode
    several = "queries that show several of the classes, or " if rules.several else ""
    raise FssegError(
        f"{way} ways x {shot} shots + {query} queries need distinct images, but there are too few {several}"
        "images that the classes do not share. Lower `data.way` or `data.shot`."
    )


def _draw(
    images: Images,
    classes: Sequence[int],
    counts: Sequence[int],
    shot: int,
    rules: Rules,
    generator: np.random.Generator,
) -> tuple[Chosen, Chosen] | None:
    """Supports and queries of each class; None if there are too few.

    Plain rules draw both together. Other rules draw queries first, from the images that may be queries, and then
    supports from the remaining images.
    """
    if rules.plain:
        both = _distinct(images, classes, [shot + count for count in counts], generator)
        return None if both is None else ([chosen[:shot] for chosen in both], [chosen[shot:] for chosen in both])
    queries = _distinct(_query_images(images, classes, rules), classes, counts, generator)
    if queries is None:
        return None
    taken = [i for chosen in queries for i in chosen]
    rest = {c: images[c][~np.isin(images[c], taken)] for c in classes}
    supports = _supports(rest, shot, rules, generator)
    return None if supports is None else (supports, queries)


def _query_images(images: Images, classes: Sequence[int], rules: Rules) -> Images:
    """Images of each class that may be queries."""
    sources = images if rules.queries is None else rules.queries
    if not rules.several:
        return sources
    others = {c: np.concatenate([sources[other] for other in classes if other != c]) for c in classes}
    return {c: sources[c][np.isin(sources[c], others[c])] for c in classes}


def _supports(images: Images, shot: int, rules: Rules, generator: np.random.Generator) -> Chosen | None:
    """Supports of each class, distinct unless they may repeat; None if there are too few."""
    if not rules.repeat_supports:
        return _distinct(images, tuple(images), [shot] * len(images), generator)
    if not all(len(found) for found in images.values()):
        return None
    return [tuple(int(i) for i in generator.choice(found, size=shot)) for found in images.values()]


def _absent(episode: Episode, rules: Rules, generator: np.random.Generator) -> Episode:
    """The episode; with probability ``rules.absent``, its queries are replaced by images without its classes."""
    if generator.random() >= rules.absent or rules.lacking is None:
        return episode
    found = rules.lacking(episode.classes)
    if len(found) < len(episode.query):
        raise FssegError(
            f"absent queries: {len(found)} images show none of {len(episode.classes)} classes, "
            f"{len(episode.query)} are needed. Lower `data.way` or leave absent queries out."
        )
    chosen = generator.choice(found, size=len(episode.query), replace=False)
    return episode._replace(query=tuple(int(i) for i in chosen), query_way=(NO_WAY,) * len(chosen))


def _distinct(
    images: Images,
    classes: Sequence[int],
    counts: Sequence[int],
    generator: np.random.Generator,
) -> Chosen | None:
    """Distinct images for each class; None if earlier classes took too many images of a later one."""
    drawn: Chosen = []
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

    Process r of w takes episodes r, r + w, ... If w does not divide their number, the last round has padding: every
    process takes the same number of steps, and no episode counts twice. (Lightning's distributed sampler pads with
    episodes that count: use ``use_distributed_sampler=False``.)

    Args:
        runs: number of runs.
        episodes: episodes per run.
        first: gives the number of an epoch's first episode, called at its start; 0 in every epoch by default.
        done: number of this process's first episodes that are skipped, because a resumed test has done them.
    """

    def __init__(self, runs: int, episodes: int, first: Callable[[], int] | None = None, done: int = 0) -> None:
        self.runs, self.episodes, self.first, self.done = runs, episodes, first, done

    def __len__(self) -> int:
        return -(-self.runs * self.episodes // rank_and_count()[1]) - self.done

    def __iter__(self) -> Iterator[Key]:
        rank, processes = rank_and_count()  # here, because loaders are made before the process group
        total = self.runs * self.episodes
        first = self.first() if self.first else 0
        for step in range(self.done, self.done + len(self)):
            position = step * processes + rank
            run, number = divmod(min(position, total - 1), self.episodes)
            yield Key(run, first + number, padding=position >= total)
