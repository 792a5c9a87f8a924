from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsseg.episode import Episode
from fsseg.episodes import sampler
from fsseg.episodes.sampler import PLAIN, EpisodeOrder, Key, Rules, draw_episode
from fsseg.errors import FssegError

SMALL = {1: np.arange(4), 2: np.arange(3, 8), 5: np.array([8, 9, 10, 0])}


def test_first_episodes_are_pinned() -> None:
    assert [draw_episode(SMALL, way=2, shot=1, query=1, seed=1234, number=i) for i in range(3)] == [
        Episode(classes=(1, 2), support=((2,), (5,)), query=(1,), query_way=(0,)),
        Episode(classes=(2, 1), support=((7,), (1,)), query=(2,), query_way=(1,)),
        Episode(classes=(2, 5), support=((4,), (8,)), query=(9,), query_way=(1,)),
    ]


def test_numbers_behind_episodes_are_those_of_philox() -> None:
    # Known answer of the Random123 library for key 0, counter 0; numpy counts up before it draws.
    generator = np.random.Philox(key=0, counter=[2**64 - 1] * 4)
    assert generator.random_raw(4).tolist() == [
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B,
    ]  # fmt: skip
    assert np.random.SeedSequence([1234, 0]).generate_state(2).tolist() == [2906597030, 1602421836]


def test_an_episode_depends_on_seed_and_number_alone() -> None:
    forward = [draw_episode(SMALL, 1, 1, 1, seed=3, number=i) for i in range(20)]
    reordered = dict(reversed(SMALL.items()))
    np.random.seed(99)
    backward = [draw_episode(reordered, 1, 1, 1, seed=3, number=i) for i in reversed(range(20))]
    assert forward == backward[::-1]
    assert forward != [draw_episode(SMALL, 1, 1, 1, seed=4, number=i) for i in range(20)]
    assert len(set(forward)) > 10


@settings(max_examples=60)
@given(st.data())
@pytest.mark.slow
def test_images_are_distinct_and_show_their_class(data: st.DataObject) -> None:
    way = data.draw(st.integers(1, 3), "way")
    shot = data.draw(st.integers(1, 3), "shot")
    query = data.draw(st.integers(1, 2), "query")
    least = way * shot + query  # enough even where classes share all their images
    sets = st.sets(st.integers(0, 2 * least), min_size=least)
    images = data.draw(st.dictionaries(st.integers(1, 20), sets, min_size=way, max_size=5), "images")
    arrays = {c: np.array(sorted(numbers)) for c, numbers in images.items()}
    episode = draw_episode(arrays, way, shot, query, data.draw(st.integers(0, 2**31)), data.draw(st.integers(0, 10**6)))
    assert len(set(episode.classes)) == way
    assert [len(shots) for shots in episode.support] == [shot] * way
    assert len(set(episode.images)) == len(episode.images) == way * shot + query
    for class_id, shots in zip(episode.classes, episode.support, strict=True):
        assert set(shots) <= images[class_id]
    for number, n in zip(episode.query, episode.query_way, strict=True):
        assert number in images[episode.classes[n]]
    assert all(type(number) is int for number in episode.images + episode.classes)


def test_classes_and_images_are_drawn_uniformly() -> None:
    episodes = [draw_episode(SMALL, 1, 1, 1, seed=0, number=i) for i in range(3000)]
    classes = Counter(episode.classes[0] for episode in episodes)
    assert all(900 < classes[c] < 1100 for c in SMALL)
    queries = Counter(episode.query[0] for episode in episodes if episode.classes == (2,))
    assert all(150 < queries[i] < 250 for i in SMALL[2].tolist())


def test_query_way_is_drawn_per_episode() -> None:
    ways = Counter(draw_episode(SMALL, 2, 1, 1, seed=0, number=i).query_way for i in range(400))
    assert set(ways) == {(0,), (1,)}
    assert min(ways.values()) > 150


def test_too_few_distinct_images_is_an_error_in_words() -> None:
    same = {1: np.arange(3), 2: np.arange(3)}
    with pytest.raises(FssegError, match=r"2 ways x 2 shots.*Lower `data.way` or `data.shot`"):
        draw_episode(same, way=2, shot=2, query=1, seed=0, number=0)


def keys(order: EpisodeOrder, processes: int, monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    """All keys, in the order in which the processes' steps take them."""
    steps = []
    for rank in range(processes):
        monkeypatch.setattr(sampler, "rank_and_count", lambda rank=rank: (rank, processes))
        steps.append(list(order))
        assert len(steps[-1]) == len(order)
    return [key for step in zip(*steps, strict=True) for key in step]


@pytest.mark.parametrize(("runs", "episodes"), [(1, 7), (2, 5), (3, 4), (1, 1)])
def test_no_episode_twice_or_dropped_on_three_processes(
    runs: int, episodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = EpisodeOrder(runs, episodes)
    alone = keys(order, 1, monkeypatch)
    assert alone == [Key(run, number) for run in range(runs) for number in range(episodes)]
    shared = keys(order, 3, monkeypatch)
    assert [key for key in shared if not key.padding] == alone
    assert len(shared) % 3 == 0
    assert len(shared) - len(alone) < 3


def test_training_goes_on_where_it_was() -> None:
    taken = [0]
    order = EpisodeOrder(1, 4, first=lambda: taken[0])
    assert [key.number for key in order] == [0, 1, 2, 3]
    taken[0] = 6  # also in the middle of an epoch
    assert list(order) == [Key(0, number) for number in (6, 7, 8, 9)]


def test_a_test_repeats_the_same_episodes() -> None:
    order = EpisodeOrder(2, 2)
    assert list(order) == list(order)


# Rules

SHARED = {1: np.array([0, 1, 2, 3, 4, 5]), 2: np.array([4, 5, 6, 7, 8, 9]), 3: np.array([9, 10, 11, 12, 13])}
WAYS, SHOTS = 2, 2


def drawn(rules: Rules, episodes: int = 300, way: int = WAYS, query: int = 1) -> list[Episode]:
    return [draw_episode(SHARED, way, SHOTS, query, seed=7, number=i, rules=rules) for i in range(episodes)]


def test_queries_come_from_every_way_of_a_run() -> None:
    ways = Counter(episode.query_way[0] for episode in drawn(PLAIN))
    assert min(ways[0], ways[1]) > 100


def test_queries_that_show_several_classes_do() -> None:
    episodes = drawn(Rules(several=True))
    for episode in episodes:
        assert sum(episode.query[0] in SHARED[c] for c in episode.classes) == 2
        assert episode.query[0] in SHARED[episode.classes[episode.query_way[0]]]
        assert len(set(episode.images)) == len(episode.images)
        for class_id, shots in zip(episode.classes, episode.support, strict=True):
            assert set(shots) <= set(SHARED[class_id].tolist())
    assert {frozenset(episode.classes) for episode in episodes} == {frozenset((1, 2)), frozenset((2, 3))}


def test_without_an_image_of_several_classes_there_is_no_such_episode() -> None:
    apart = {1: np.arange(5), 2: np.arange(5, 10)}
    with pytest.raises(FssegError, match="queries that show several of the classes"):
        draw_episode(apart, 2, 1, 1, seed=0, number=0, rules=Rules(several=True))


def test_supports_may_repeat_but_are_never_the_query() -> None:
    episodes = drawn(Rules(repeat_supports=True), way=1)
    assert any(len(set(episode.support[0])) == 1 for episode in episodes)
    assert all(episode.query[0] not in episode.support[0] for episode in episodes)


def test_only_some_images_may_be_queries() -> None:
    queries = {1: np.array([0]), 2: np.array([8, 9]), 3: np.array([13])}
    for episode in drawn(Rules(queries=queries)):
        class_id = episode.classes[episode.query_way[0]]
        assert episode.query[0] in queries[class_id]
    supports = {i for episode in drawn(Rules(queries=queries)) for shots in episode.support for i in shots}
    assert supports == set(range(14)), "any image may be a support"


def test_a_share_of_queries_shows_none_of_the_classes_and_the_rest_stay_as_they_are() -> None:
    def lacking(classes: tuple[int, ...]) -> np.ndarray:
        shown = np.concatenate([SHARED[c] for c in classes])
        return np.setdiff1d(np.arange(20), shown)

    plain, episodes = drawn(PLAIN, query=2), drawn(Rules(absent=0.4, lacking=lacking), query=2)
    absent = [episode for episode in episodes if episode.query_way == (-1, -1)]
    assert 90 < len(absent) < 150
    for episode, before in zip(episodes, plain, strict=True):
        assert (episode.classes, episode.support) == (before.classes, before.support)
        if episode.query_way == (-1, -1):
            assert not {*episode.query} & {i for c in episode.classes for i in SHARED[c].tolist()}
            assert len(set(episode.query)) == 2
        else:
            assert episode == before
    nothing = Rules(absent=0.999, lacking=lambda _: np.array([], dtype=int))
    with pytest.raises(FssegError, match="0 images show none of 2 classes, 2 are needed"):
        draw_episode(SHARED, 2, 1, 2, seed=0, number=0, rules=nothing)


def test_an_order_leaves_out_what_was_done_before():
    keys = list(EpisodeOrder(2, 3))
    order = EpisodeOrder(2, 3, done=4)
    assert (list(order), len(order)) == (keys[4:], 2)
