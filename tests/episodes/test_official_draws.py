import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fsseg.episodes.official_draws import (
    hsnet_class_episodes,
    hsnet_episodes,
    oslsm_episodes,
    panet_episodes,
    pfenet_episode,
    pfenet_episodes,
    pmms_episodes,
)


@pytest.mark.parametrize("name", ["panet_sampling_a", "panet_sampling_b"])
def test_the_draw_equals_panets_code(name: str, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    stored = oracle(name)
    images = {c: range(length) for c, length in enumerate(stored["lengths"].tolist())}
    way, shot, query, seed, count = (int(stored[k]) for k in ("n_ways", "n_shots", "n_queries", "seed", "max_iters"))
    episodes = panet_episodes(images, way, shot, query, seed, count)
    found = []
    for episode in episodes:
        queries = list(zip(episode.query_way, episode.query, strict=True))
        pairs = []
        for n, class_id in enumerate(episode.classes):
            numbers = [*episode.support[n], *(number for w, number in queries if w == n)]
            pairs += [(class_id, number) for number in numbers]
        found.append(pairs)
    assert np.array_equal(found, stored["indices"])
    assert [episodes[0].query_way.count(n) for n in range(way)] == stored["cnt_query"].tolist()


@pytest.mark.parametrize("shot", [1, 5])
def test_the_walk_equals_pmms_code(shot: int, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    stored = oracle(f"pmms_voc_val_order_{shot}shot")
    lines = [line.split("__") for line in stored["list_lines"].tolist()]
    names = sorted({name for name, _ in lines}, reverse=True)  # any numbering will do
    pairs = [(names.index(name), int(class_id)) for name, class_id in lines]
    episodes = pmms_episodes(pairs, shot, int(stored["seed"]), episodes=len(stored["query"]))
    assert [names[episode.query[0]] for episode in episodes] == stored["query"].tolist()
    assert [[names[i] for i in episode.support[0]] for episode in episodes] == stored["support"].tolist()
    assert [episode.classes[0] - 1 for episode in episodes] == stored["class_index"].tolist()


@pytest.mark.parametrize("shot", [1, 5])
def test_the_walk_equals_hsnets_code(shot: int, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    """On a list that is not sorted and names some pairs twice."""
    stored = oracle("hsnet_voc_val_order_invented")
    lines = [line.split("__") for line in stored["list_lines"].tolist()]
    names = sorted({name for name, _ in lines}, reverse=True)
    episodes = hsnet_episodes([(names.index(name), int(class_id)) for name, class_id in lines], shot, 0, 400)
    assert [names[episode.query[0]] for episode in episodes] == stored[f"query_{shot}"].tolist()
    assert [[names[i] for i in episode.support[0]] for episode in episodes] == stored[f"support_{shot}"].tolist()
    assert [episode.classes[0] - 1 for episode in episodes] == stored[f"class_{shot}"].tolist()


@pytest.mark.parametrize("shot", [1, 5])
def test_uniform_classes_equal_hsnets_code_on_coco(shot: int, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    stored = oracle("hsnet_coco_val_order_invented")
    classes, numbers = stored["list_class"].astype(int), stored["list_image"]
    images = {class_id: numbers[classes == class_id].tolist() for class_id in stored["class_ids"].tolist()}
    episodes = hsnet_class_episodes(images, shot, 0, 200)
    assert [episode.query[0] for episode in episodes] == stored[f"query_{shot}"].tolist()
    assert [list(episode.support[0]) for episode in episodes] == stored[f"support_{shot}"].tolist()
    assert [episode.classes[0] for episode in episodes] == stored[f"class_{shot}"].tolist()
    assert sum(len(set(episode.support[0])) < shot for episode in episodes) == stored[f"repeats_{shot}"]
    distinct = hsnet_class_episodes(images, shot, 0, 200, repeat=False)
    assert all(len(set(episode.support[0])) == shot for episode in distinct)


@pytest.mark.parametrize("shot", [1, 5])
def test_the_walk_equals_oslsms_code(shot: int, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    """1,100 pairs: the walk is exhausted many times, and the generator starts again once."""
    stored = oracle("oslsm_pairs")
    items = list(zip(stored["image"].tolist(), stored["class_id"].tolist(), strict=True))
    kept = [item for item, cells in zip(items, stored["cells"], strict=True) if cells > 2]
    episodes = oslsm_episodes(kept, shot, int(stored["seed"]), episodes=1100)
    assert [(e.query[0], e.classes[0]) for e in episodes] == [items[i] for i in stored[f"query_{shot}shot"]]
    supports = [[(number, e.classes[0]) for number in e.support[0]] for e in episodes]
    assert supports == [[items[i] for i in row] for row in stored[f"support_{shot}shot"]]
    assert episodes[1000:] == episodes[:100]
    assert oslsm_episodes(kept, shot, 1385, episodes=7) == episodes[:7]


def test_a_walk_takes_every_pair_once_before_it_is_shuffled() -> None:
    pairs = [(i, 1 + i % 3) for i in range(9)]
    episodes = pmms_episodes(pairs, shot=2, seed=0, episodes=20)
    taken = [(episode.query[0], episode.classes[0]) for episode in episodes]
    assert taken[:9] == pairs
    assert taken[9:18] != pairs
    assert sorted(taken[9:18]) == pairs
    for episode in episodes:
        assert len({*episode.images}) == 3
        assert {(i, episode.classes[0]) for i in episode.images} <= set(pairs)
        assert episode.query_way == (0,)
    assert pairs == [(i, 1 + i % 3) for i in range(9)]


@pytest.mark.parametrize("case", ["voc_val", "voc_train_5shot"])
def test_draws_equal_pfenets_code(case: str, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    """Of synthetic label maps, with one generator; an image counts if a class covers 2,048 pixels."""
    stored = oracle(f"pfenet_episodes_{case}")
    labels, classes, kept = stored["labels"], stored["class_ids"].tolist(), stored["kept_images"].tolist()
    pixels = np.stack([(labels == c).sum((1, 2)) for c in classes], axis=1)
    assert np.flatnonzero((pixels >= 2048).any(1)).tolist() == kept
    images = {c: np.flatnonzero(pixels[:, i] >= 2048).tolist() for i, c in enumerate(classes)}
    assert [[n for n in row if n >= 0] for row in stored["class_lists"].tolist()] == list(images.values())
    shown = {n: [c for i, c in enumerate(classes) if pixels[n, i]] for n in kept}
    generator = random.Random(int(stored["random_seed"]))
    for item, query in enumerate(stored["query"].tolist()):
        assert query == kept[item % len(kept)]
        episode = pfenet_episode(generator, query, shown[query], images, int(stored["shot"]))
        assert episode.support[0] == tuple(stored["support_stacked"][item])
        assert classes.index(episode.classes[0]) == stored["subcls"][item]


def test_pfenets_walk_has_eight_workers_and_new_seeds_in_each_pass(oracle_folder: Path) -> None:
    seeds = json.loads((oracle_folder / "pfenet_test_seeds.json").read_text())
    images = {1: list(range(30)), 2: list(range(10, 40))}
    shown = {n: [c for c in images if n in images[c]] for n in range(40)}
    episodes = pfenet_episodes(shown, images, 2, seeds["seed"], 20 * len(shown))
    expected = []
    for first in seeds["base_seeds"]:
        workers = [random.Random(first + worker) for worker in range(seeds["workers"])]
        expected += [pfenet_episode(workers[n % 8], n, shown[n], images, 2) for n in shown]
    assert episodes == expected
    assert pfenet_episodes(shown, images, 2, 321, 101) == episodes[:101]
    for episode in episodes:
        assert len({*episode.images}) == 3
        assert episode.classes[0] in shown[episode.query[0]]
        assert set(episode.support[0]) <= set(images[episode.classes[0]])


def test_hsnets_walk_repeats_in_order_and_may_repeat_supports() -> None:
    pairs = [(10, 1), (11, 1), (11, 2), (12, 2), (13, 1), (13, 2)]
    images = {1: [10, 11, 13], 2: [11, 12, 13]}
    episodes = hsnet_episodes(pairs, shot=2, seed=0, episodes=60)
    assert [(episode.query[0], episode.classes[0]) for episode in episodes] == pairs * 10
    for episode in episodes:
        assert set(episode.support[0]) <= set(images[episode.classes[0]]) - {episode.query[0]}
    assert any(len(set(episode.support[0])) == 1 for episode in episodes)
    # As np.random of seed 0 gives them: the code draws one name at a time, without replacement from all of the class.
    np.random.seed(0)
    support: list[int] = []
    while len(support) < 2:
        found = int(np.random.choice(images[1], 1, replace=False)[0])
        if found != 10:
            support.append(found)
    assert episodes[0].support == (tuple(support),)
    distinct = hsnet_episodes(pairs, shot=2, seed=0, episodes=60, repeat=False)
    assert all(len(set(episode.support[0])) == 2 for episode in distinct)
