"""`fsseg look` and `fsseg distance`, on a finished test."""

import json
import math
import shutil
from collections import defaultdict
from pathlib import Path

import PIL.Image
import pytest
import torch
import yaml

from fsseg.cli.distance import summary
from fsseg.cli.help import OTHERS
from fsseg.cli.look import choose, same_queries
from fsseg.errors import FssegError
from fsseg.experiment.replay import Query, Replay
from fsseg.plots.episodes import GAP, SIDE
from fsseg.plots.side_by_side import draw_side_by_side
from fsseg.results.rows import read_rows
from tests.cli.conftest import QUICKSTART


@pytest.fixture(scope="module")
def replay(finished_test: Path) -> Replay:
    return Replay(finished_test)


@pytest.mark.slow
def test_every_replayed_episode_is_the_one_of_the_rows(replay, finished_test):
    name = replay.data.dataset.image_name
    rows = [row for row in read_rows(finished_test / "rows.csv") if row.class_id]
    assert len(rows) == 20
    for row in rows:
        batch, panel = replay.batch(row.run, row.episode), replay.panel(row.run, row.episode)
        assert row.query == panel.query == name(int(batch.query_id[0, 0]))
        assert row.support == name(int(batch.support_id[0, 0, 0]))
        assert row.truth == int((panel.query_mask == 1).sum())
        both = (panel.query_mask == 1) & (panel.prediction == 1)
        assert row.intersection == int(both.sum())
        assert panel.iou == (pytest.approx(100 * row.intersection / row.union),)
    assert [query.iou for query in replay.queries()] == [100 * row.intersection / row.union for row in rows]


@pytest.mark.slow
def test_an_episode_that_was_not_tested_is_refused(replay):
    with pytest.raises(FssegError, match="runs 0 to 1 of episodes 0 to 9, no episode 10 of run 0"):
        replay.panel(0, 10)


@pytest.mark.slow
def test_batches_are_all_episodes(replay):
    keys = [(int(r), int(n)) for batch in replay.batches() for r, n in zip(batch.run, batch.number, strict=True)]
    assert keys == [(r, n) for r in range(2) for n in range(10)]


@pytest.mark.slow
def test_weak_annotations_of_another_seed_are_replayed(fsseg, trained):
    assert fsseg("test", "--ckpt_path", str(trained), "--protocol.seed", "5", "--data.images.test_support_annotation",
                 "scribble", "--out", "weak").code == 0  # fmt: skip
    replay = Replay(Path("weak"))
    for row in [row for row in read_rows(Path("weak/rows.csv")) if row.class_id][::4]:
        assert replay.panel(row.run, row.episode).iou == (pytest.approx(100 * row.intersection / row.union),)


@pytest.mark.slow
@pytest.mark.parametrize("option", [(), ("--model.refine", "true"), ("--model.adapt_steps", "2")])
def test_an_untrained_test_is_replayed(fsseg, option):
    assert fsseg("test", *QUICKSTART, "--untrained", *option, "--out", "init").code == 0
    assert json.loads(Path("init/table.json").read_text())["checkpoint"] is None
    replay = Replay(Path("init"))
    found = [replay.panel(query.run, query.number).iou for query in replay.queries()]
    assert found == [query.ways for query in replay.queries()]


@pytest.mark.slow
def test_the_checkpoint_is_found_from_anywhere(finished_test):
    checkpoint = json.loads((finished_test / "table.json").read_text())["checkpoint"]["path"]
    assert checkpoint == str((finished_test.parent / "last.ckpt").resolve())


# look


def query(iou: float, image: str = "", number: int = 0) -> Query:
    return Query(0, number, 0, iou, (iou,), image or f"photo{iou}", (1,))


def test_best_median_and_worst_are_chosen_by_iou():
    queries = [query(iou) for iou in (10.0, 90.0, 50.0, 20.0, 40.0, math.nan, 60.0, 80.0)]
    chosen = choose(queries, 2)
    assert [q.iou for q in chosen["best"]] == [90, 80]
    assert [q.iou for q in chosen["worst"]] == [10, 20]
    assert {q.iou for q in choose(queries, 1)["median"]} == {50}
    twice = [query(90.0, "a", 1), query(89.0, "a", 2), query(10.0, "b")]
    assert [q.image for q in choose(twice, 2)["best"]] == ["a", "b"]
    with pytest.raises(FssegError, match="no query of this test has an IoU"):
        choose([query(math.nan)], 1)


@pytest.mark.slow
def test_look_draws_beside_the_test_and_replaces_nothing(fsseg, finished_test, trained, tmp_path):
    shutil.copytree(finished_test, tmp_path / "run/test")
    table = json.loads((finished_test / "table.json").read_text())
    table["checkpoint"]["path"] = str(tmp_path / "gone/last.ckpt")
    (tmp_path / "run/test/table.json").write_text(json.dumps(table))
    gone = fsseg("look", "run/test")
    assert gone.code == 2
    assert "which is missing. Put it back, or copy it to" in gone.line
    shutil.copy(trained, tmp_path / "run/last.ckpt")  # a run that was moved, with its test in it
    assert fsseg("look", "run/test", "--count", "1").code == 0
    ran = fsseg("look", "run/test", "--count", "2")
    assert "run/test/look-2/probabilities.png" in ran.out
    for folder in ("look", "look-2"):
        names = {path.name for path in (tmp_path / "run/test" / folder).iterdir()}
        assert names == {"best_median_worst.png", "probabilities.png", "regions.png"}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "pictures"), [("PMMs", 3), ("CANet", 1)])
def test_look_shows_prototypes_where_there_are_any(fsseg, method, pictures):
    network = ("--model.method.encoder", "ConvNet", "--model.method.encoder.widths", "[8,8]",
               "--model.method.encoder.strides", "[2,2]", "--model.method.channels", "8")  # fmt: skip
    data = [word for word in QUICKSTART[2:] if word.startswith(("--data", "--protocol", "--trainer"))]
    assert fsseg("test", "--model.method", method, *network, "--data.dataset", "Shapes", *data, "--untrained",
                 "--out", "init").code == 0  # fmt: skip
    ran = fsseg("look", "init", "--count", "1", "--out", "pictures")
    assert ran.code == 0, ran.err
    assert len(list(Path("pictures").iterdir())) == pictures
    assert ("CANet has no prototypes to show." in ran.out) == (method == "CANet")
    if method == "CANet":
        assert fsseg("distance", "init").line == (
            "fsseg: init tested CANet, which has no single prototype per class; give a test of PANet."
        )


def test_the_same_queries_take_turns_over_classes_with_distinct_images():
    def asked(number, image, class_id):
        return Query(0, number, 0, 50.0, (50.0,), image, (class_id,))

    queries = [asked(*of) for of in ((0, "a", 1), (1, "b", 1), (2, "a", 1), (3, "c", 2), (4, "d", 1), (5, "a", 2))]
    assert [q.number for q in same_queries([queries, queries], [Path("x"), Path("y")], 4)] == [0, 3, 1, 5]
    assert len(same_queries([queries, queries], [Path("x"), Path("y")], 9)) == 5
    with pytest.raises(FssegError, match=r"^y has other episodes than x: give tests of one fold, protocol"):
        same_queries([queries, [*queries[1:], asked(0, "z", 1)]], [Path("x"), Path("y")], 4)


@pytest.mark.slow
def test_several_tests_stand_side_by_side(fsseg, finished_test, trained, monkeypatch):
    config = str(trained.parent / "config.yaml")
    assert fsseg("test", "--config", config, "--untrained", "--out", "init").code == 0
    drawn = []
    monkeypatch.setattr("fsseg.plots.side_by_side.draw_side_by_side", lambda rows, names: drawn.append((rows, names)) or
                        draw_side_by_side(rows, names))  # fmt: skip
    ran = fsseg("look", str(finished_test), "init", "--count", "6", "--out", "both")
    assert ran.code == 0, ran.err
    ((rows, names),) = drawn
    assert names == ["PANet", "PANet-init"]
    assert len(rows) == 6
    for one, other in rows:  # the same supports and query, each test's own prediction and IoU
        assert torch.equal(one.support_image, other.support_image)
        assert torch.equal(one.query_mask, other.query_mask)
        for panel in (one, other):
            found = panel.prediction == 1, panel.query_mask == 1
            iou = 100 * int((found[0] & found[1]).sum()) / int((found[0] | found[1]).sum())
            assert panel.iou[0] == pytest.approx(iou)
    assert any(not torch.equal(one.prediction, other.prediction) for one, other in rows)
    with PIL.Image.open("both/side_by_side.png") as picture:
        assert picture.width == 4 * (SIDE + GAP) + GAP
    other = fsseg("test", "--config", config, "--untrained", "--protocol.seed", "7", "--out", "other")
    assert other.code == 0
    assert "other has other episodes than init" in fsseg("look", "init", "other").line


@pytest.mark.slow
def test_a_checkpoint_that_went_on_is_refused(fsseg, finished_test, tmp_path):
    shutil.copytree(finished_test, tmp_path / "test")
    table = json.loads((tmp_path / "test/table.json").read_text())
    table["checkpoint"]["step"] = 2
    (tmp_path / "test/table.json").write_text(json.dumps(table))
    ran = fsseg("look", "test")
    assert ran.code == 2
    assert "the test was of step 2, its checkpoint is now at step 4" in ran.line
    assert not (tmp_path / "test/look").exists()


@pytest.mark.slow
def test_mistakes_are_one_line(fsseg, finished_test, trained, tmp_path):
    for arguments, said in (
        (("look", "nowhere"), "nowhere: no such folder. The folder of a test is needed"),
        (("look", str(tmp_path)), "is no test: config.yaml is missing. Give the folder that `fsseg test` wrote."),
        (("look", str(finished_test), "--cout", "2"), "no option --cout. Did you mean --count?"),
        (("look", str(finished_test), "--count", "0"), "--count 0: at least 1 is needed."),
        (("look", str(finished_test), "--out", str(finished_test)), "already holds files. Choose another folder."),
        (("distance", "nowhere"), "nowhere: no such folder."),
        (("lok", "nowhere"), "Did you mean look?"),
    ):
        ran = fsseg(*arguments)
        assert ran.code == 2
        assert said in ran.line
        assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", OTHERS)
def test_help_is_a_short_page(fsseg, command):
    ran = fsseg(command, "--help")
    assert ran.code == 0
    assert f"fsseg {command} " in ran.out
    assert len(ran.out.splitlines()) < 24


# distance


@pytest.mark.slow
def test_distances_are_those_of_a_loop_and_written(fsseg, finished_test, replay):
    ran = fsseg("distance", str(finished_test))
    assert ran.code == 0, ran.err
    content = json.loads((finished_test / "distance.json").read_text())
    assert "published: PANet 32.2   PANet w/o PAR 42.6" in ran.out
    by_run = defaultdict(list)
    for query in replay.queries():
        batch = replay.batch(query.run, query.number)
        with torch.inference_mode():
            by_run[query.run].append(float(replay.method.distance(batch).true))
    means = [sum(values) / len(values) for values in by_run.values()]
    assert content["true"]["runs"] == pytest.approx(means, rel=1e-4)
    assert content["true"]["mean"] == pytest.approx(sum(means) / 2, rel=1e-4)
    assert content["true"]["std"] == pytest.approx(abs(means[0] - means[1]) / 2, abs=1e-4)
    assert content["true"]["counted"] + content["true"]["left_out"] == 20
    assert yaml.safe_load((finished_test / "config.yaml").read_text())["data"]["episodes"]["test_file"] is None


def test_what_has_no_distance_is_left_out_and_counted():
    found = summary([[1.0, math.nan, 3.0], [4.0, math.nan, math.nan]])
    assert found == {"mean": 3.0, "std": 1.0, "runs": [2.0, 4.0], "counted": 3, "left_out": 3}
    assert summary([[math.nan]])["mean"] is None
