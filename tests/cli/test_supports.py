"""`fsseg supports`: draws, numbers against plain loops over rows, and the command on the built-in shapes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fsseg.episodes.support_draws import draw_supports, per_episode
from fsseg.results.results import read_result
from fsseg.results.rows import read_rows
from fsseg.results.supports import Counts, read_study

IMAGES = {1: np.arange(40), 2: np.arange(30, 80), 7: np.arange(100, 133)}
SMALL = ("--shots", "3", "1", "--draws", "4", "--queries", "6", "--data.loading.workers", "0")


def test_queries_are_the_same_in_all_draws_and_never_supports():
    drawn = draw_supports(IMAGES, IMAGES, draws=5, queries=12, seed=3)
    for shot in (1, 4):
        runs = drawn.runs(shot)
        assert len(runs) == 5
        for run in runs:
            assert [episode.classes for episode in run] == [(1,), (1,), (2,), (2,), (7,), (7,)]
            assert [episode.query for episode in run] == [episode.query for episode in runs[0]]
            for episode in run:
                (supports,) = episode.support
                assert len(set(supports)) == shot
                assert not set(supports) & set(drawn.queries[episode.classes[0]].tolist())
                assert set(supports) <= set(IMAGES[episode.classes[0]].tolist())
    assert len({episode.support for run in drawn.runs(4) for episode in run}) == 15  # draws differ
    one, four = drawn.runs(1), drawn.runs(4)
    assert all(
        b.support[0][:1] == a.support[0] for r, s in zip(one, four, strict=True) for a, b in zip(r, s, strict=True)
    )


def test_a_class_is_drawn_alike_whatever_the_other_classes_are():
    every, alone = (draw_supports(images, images, 3, 10, 0) for images in (IMAGES, {2: IMAGES[2]}))
    np.testing.assert_array_equal(every.queries[2], alone.queries[2])
    np.testing.assert_array_equal(every.orders[2], alone.orders[2])


def test_images_with_weak_masks_are_supports_only():
    drawn = draw_supports(IMAGES, {c: found[:20] for c, found in IMAGES.items()}, 2, 15, 0)
    assert all(set(drawn.queries[c]) <= set(IMAGES[c][:20]) for c in IMAGES)
    assert all(set(drawn.orders[c][0]) | set(drawn.queries[c]) == set(IMAGES[c]) for c in IMAGES)


@pytest.mark.parametrize(("queries", "size"), [(1, 1), (7, 7), (10, 10), (11, 1), (20, 10), (21, 7), (26, 2)])
def test_episodes_have_equally_many_queries(queries, size):
    assert per_episode(queries) == size


def test_the_interval_covers_the_deviation_of_draws_and_queries():
    random = np.random.default_rng(0)
    draws, queries = 40, 60
    union = np.full((draws, 1, queries), 100.0)
    only_draws = Counts(np.broadcast_to(random.normal(50, 10, (draws, 1, 1)), union.shape), union, [])
    low, high = only_draws.interval
    assert (high - low) / 2 == pytest.approx(1.96 * only_draws.means.std() / np.sqrt(draws), rel=0.1)
    only_queries = Counts(np.broadcast_to(random.normal(50, 10, (1, 1, queries)), union.shape), union, [])
    low, high = only_queries.interval
    assert (high - low) / 2 == pytest.approx(1.96 * only_queries.intersection[0].std() / np.sqrt(queries), rel=0.1)


@pytest.fixture(scope="module")
def studied(trained, tmp_path_factory):
    from fsseg.cli import main

    out = tmp_path_factory.mktemp("supports") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FSSEG_RUN_FOLDER", raising=False)
        assert main(["supports", "--ckpt_path", str(trained), *SMALL, "--out", str(out)]) == 0
        patch.delenv("FSSEG_RUN_FOLDER", raising=False)
    return out


@pytest.mark.slow
def test_the_numbers_are_sums_over_the_rows(studied):
    study = read_study([read_result(studied / f"test-{shot}shot") for shot in (1, 3)])
    for shot in (1, 3):
        rows = [row for row in read_rows(studied / f"test-{shot}shot/rows.csv") if row.class_id]
        classes = sorted({row.class_id for row in rows})
        assert len(rows) == 4 * 6 * len(classes)
        for draw in range(4):
            for place, c in enumerate(classes):
                own = [row for row in rows if (row.run, row.class_id) == (draw, c)]
                iou = 100 * sum(row.intersection for row in own) / sum(row.union for row in own)
                assert study.counts[shot].per_draw[draw, place] == pytest.approx(iou)
                assert {row.support for row in own} == {study.counts[shot].supports[draw][place]}
        means = study.counts[shot].per_draw.mean(axis=1)
        np.testing.assert_allclose(study.counts[shot].means, means)
        low, high = study.counts[shot].interval
        assert low < means.mean() < high
    lines = list(csv.DictReader((studied / "supports.csv").read_text().splitlines()))
    assert len(lines) == 2 * 4 * len(study.classes)
    assert {len(line["supports"].split()) for line in lines if line["shot"] == "3"} == {3}
    found = json.loads((studied / "supports.json").read_text())
    assert [one["shot"] for one in found] == [1, 3]
    assert found[1]["mean_iou"] == pytest.approx(study.counts[3].means.mean())
    assert (studied / "supports.png").stat().st_size > 20_000
    assert not (studied / "maps").exists()


@pytest.mark.slow
def test_the_same_command_resumes_and_a_second_method_stands_beside(fsseg, trained, studied, tmp_path):
    before = (studied / "test-1shot/rows.csv").stat().st_mtime_ns
    again = fsseg("supports", "--ckpt_path", str(trained), *SMALL, "--out", str(studied))
    assert again.code == 0, again.err
    assert (studied / "test-1shot/rows.csv").stat().st_mtime_ns == before
    other = fsseg("supports", "--ckpt_path", str(trained), *SMALL, "--draws", "5", "--out", str(studied))
    assert other.code == 2
    assert "test-1shot holds a test with" in other.err
    config = str(trained.parent / "config.yaml")
    init = fsseg("supports", "--config", config, "--untrained", *SMALL, "--out", "init", "--beside", str(studied))
    assert init.code == 0, init.err
    assert init.out.count("PANet-init, ConvNet") == 2
    assert init.out.count("  PANet, ConvNet") == 2
    assert len((tmp_path / "init/supports.csv").read_text().splitlines()) == 1 + 2 * 2 * 4 * 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shots", "1", "900"), "needs 920 val images a class; too few show: 1 plain disc (15)"),
        (("--shots", "1", "900"), "Lower --shots or --queries, choose another fold."),
        (("--shots", "1", "1"), "supports: --shots: a number is given twice."),
        (("--shots", "0"), "supports: --shots 0: at least 1 is needed."),
        (("--draws", "1"), "supports: --draws 1: at least 2 is needed."),
        (("--queries", "none"), "supports: --queries none: a whole number is needed."),
        (("--data.way", "2"), "supports sets --data.way itself: leave it out."),
        (("--data.episodes.test_file", "a.json"), "supports sets --data.episodes.test_file itself"),
        (("--shot", "3"), "supports: no option --shot. Did you mean --shots?"),
        (("--beside", "nowhere"), "nowhere: no such folder."),
        (("--protocol.name", "panets"), "--protocol.name panets"),
    ],
)
def test_a_mistake_is_one_line(fsseg, trained, tmp_path, words, said):
    ran = fsseg("supports", "--ckpt_path", str(trained), "--out", "s", *words)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not (Path("s")).exists()


@pytest.mark.slow
def test_tests_that_are_no_study_are_refused(fsseg, trained, finished_test):
    ran = fsseg("supports", "--ckpt_path", str(trained), *SMALL, "--beside", str(finished_test), "--out", "s")
    assert ran.code == 2
    assert "is no test of `fsseg supports`: its runs have other queries." in ran.err.replace("--", "`").replace(
        "``", "`"
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["pmms", "hsnet", "panet"])
def test_protocols_with_one_query_keep_their_sizes_and_void(fsseg, trained, protocol):
    ran = fsseg("supports", "--ckpt_path", str(trained), *SMALL, "--protocol.name", protocol, "--out", "s")
    assert ran.code == 0, ran.err
