import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsseg.datasets import Shapes
from fsseg.episode import Episode
from fsseg.episodes import EpisodeData, EpisodeOptions
from fsseg.episodes.episode_file import as_text, load
from fsseg.episodes.sampler import Rules, draw_episode
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from tests.episode_options import grouped


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    dataset = Shapes(32, 80, 80)
    dataset.open(None)
    return dataset


def drawn(shapes: Shapes, way: int = 2, runs: int = 2, episodes: int = 5) -> list[list[Episode]]:
    val = shapes.numbers("val")
    images = {c: shapes.index.images(c, val) for c in shapes.novel(0)}
    rules = Rules(absent=0.3, lacking=lambda classes: shapes.index.without(classes, val))
    return [[draw_episode(images, way, 2, 1, run, i, rules) for i in range(episodes)] for run in range(runs)]


def test_a_list_says_what_was_drawn_and_reads_back(shapes: Shapes, tmp_path: Path) -> None:
    runs = drawn(shapes)
    path = tmp_path / "episodes.json"
    path.write_text(as_text(shapes, runs, "fsseg#1"))
    content = json.loads(path.read_text())
    assert (content["dataset"], content["way"], content["shot"], content["query"]) == ("Shapes", 2, 2, 1)
    first, written = runs[0][0], content["runs"][0][0]
    assert written["classes"] == [shapes.class_name(c) for c in first.classes]
    assert written["support"][1] == [shapes.image_name(i) for i in first.support[1]]
    assert any(e["query_way"] == [-1] for run in content["runs"] for e in run)
    found = load(path, shapes, shapes.novel(0), (2, 2, 1))
    assert found.runs == runs
    shown = found.images(shapes.novel(0))
    assert {int(i) for c in shown for i in shown[c]} <= {i for run in runs for e in run for i in e.images}
    path.write_text(as_text(shapes, runs, ""), encoding="utf-8-sig")
    assert load(path, shapes, shapes.novel(0), (2, 2, 1)) == found, (
        "a byte order mark, and who drew them, change nothing"
    )
    path.write_text(as_text(shapes, [runs[1], runs[0]], ""))
    assert load(path, shapes, shapes.novel(0), (2, 2, 1)).digest != found.digest


def change(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    episode = {**content["runs"][0][0], **values}
    return {**content, "runs": [[episode, *content["runs"][0][1:]], *content["runs"][1:]]}


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda c: [], "is no list of episodes"),
    (lambda c: {**c, "format": "other"}, '"format": "fsseg episodes 1" and lists of "runs" are needed'),
    (lambda c: {**c, "runs": []}, "is no list of episodes"),
    (lambda c: {**c, "runs": [[]]}, "is no list of episodes"),
    (lambda c: {**c, "runs": [c["runs"][0], c["runs"][1][:2]]}, r"has runs of \[2, 5\] episodes; one length only"),
    (lambda c: {**c, "way": 1}, "has 1-way 2-shot episodes with 1 query; 2-way 2-shot with 1 is asked for. Give"),
    (lambda c: change(c, classes=["plain disc"]), "run 0, episode 0 is no 2-way 2-shot episode with 1 query"),
    (lambda c: change(c, classes=["plain disc", "plain disc"]), "names a class twice"),
    (lambda c: change(c, classes=["plain disc", "plain cross"]), "plain cross is no novel class of Shapes"),
    (lambda c: change(c, query=["shapes-99999"]), "shapes-99999 is no image of Shapes"),
    (lambda c: change(c, query=[7]), "7 is no image of Shapes"),
    (lambda c: change(c, query_way=[2]), "is no 2-way 2-shot episode"),
    (lambda c: change(c, query_way=["first"]), "is no 2-way 2-shot episode"),
    (lambda c: change(c, query_way=[0.7]), "is no 2-way 2-shot episode"),
    (lambda c: change(c, query_way=[float("inf")]), "is no 2-way 2-shot episode"),
    (lambda c: change(c, query=c["runs"][0][0]["support"][0][:1]), "is support and query; a query must be another one"),
    (lambda c: {k: v for k, v in c.items() if k != "way"}, '"way", "shot" and "query" are needed, as whole numbers'),
    (lambda c: change(c, support=None), "are needed, as lists"),
    (lambda c: {**c, "runs": [["episode"], ["episode"]]}, "are needed, as lists"),
    (lambda c: change(c, support=[s[::-1] for s in reversed(c["runs"][0][0]["support"])]), "shows no"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "match"), BROKEN)
def test_a_broken_list_is_named_with_the_place(
    shapes: Shapes, tmp_path: Path, broken: Callable[[dict[str, Any]], Any], match: str
) -> None:
    content = json.loads(as_text(shapes, drawn(shapes), ""))
    # Supports that show their own class only, so that swapping them is wrong.
    only = [i for i in shapes.numbers("val") if (shapes.index.pixels[i][1:6] > 0).sum() == 1]
    of = {c: [i for i in only if shapes.index.pixels[i, c]] for c in shapes.novel(0)}
    first, second = [c for c in of if len(of[c]) > 2][:2]
    content = change(content, classes=[shapes.class_name(first), shapes.class_name(second)], query_way=[0],
                     support=[[shapes.image_name(i) for i in of[c][:2]] for c in (first, second)],
                     query=[shapes.image_name(of[first][2])])  # fmt: skip
    path = tmp_path / "episodes.json"
    path.write_text(json.dumps(broken(content)))
    with pytest.raises(FssegError, match=match) as error:
        load(path, shapes, shapes.novel(0), (2, 2, 1))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [("{", "is no complete JSON file"), ("[" * 100_000, "is no complete JSON file"), (None, "no such file")],
)
def test_what_is_no_json(shapes: Shapes, tmp_path: Path, text: str | None, match: str) -> None:
    path = tmp_path / "episodes.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FssegError, match=match):
        load(path, shapes, shapes.novel(0), (2, 2, 1))


@pytest.mark.slow
def test_a_test_takes_its_runs_and_episodes_from_the_list(shapes: Shapes, tmp_path: Path) -> None:
    path = tmp_path / "episodes.json"
    runs = drawn(shapes, runs=3, episodes=4)
    path.write_text(as_text(shapes, runs, "fsseg#1"))
    options = grouped(way=2, shot=2, size=16, workers=0, test_file=str(path))
    data = EpisodeData(Shapes(32, 80, 80), **options)
    data.setup("test")
    assert (data.protocol.draw, data.protocol.runs, data.protocol.episodes) == ("list", 3, 4)
    assert "episodes from a file [" in data.protocol.in_words(data.pair_count)
    batches = list(data.test_dataloader())
    assert [(int(b.run), int(b.number)) for b in batches] == [(r, i) for r in range(3) for i in range(4)]
    assert [tuple(b.query_id[0].tolist()) for b in batches] == [e.query for run in runs for e in run]
    assert [tuple(b.query_way[0].tolist()) for b in batches] == [e.query_way for run in runs for e in run]
    for draw in ("pmms", "seeded"):
        other = EpisodeData(Shapes(32, 80, 80), protocol=Protocol(draw=draw, seed=9, split="train"), **options)
        other.setup("test")
        assert other.protocol == data.protocol, "what decides the drawing has no say"
    with pytest.raises(FssegError, match=r"`data.episodes.test_file` is empty"):
        EpisodeData(Shapes(32, 80, 80), episodes=EpisodeOptions(test_file=""))
    with pytest.raises(FssegError, match=r"`protocol.draw` list needs `data.episodes.test_file` FILE"):
        EpisodeData(Shapes(32, 80, 80), protocol=Protocol(draw="list"))
