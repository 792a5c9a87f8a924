import numpy as np
import pytest

from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from fsseg.results.compare import compare, comparison_text
from fsseg.results.intervals import METRICS, interval, replicates
from fsseg.results.results import find_results, read_result
from fsseg.results.tables import make_table
from tests.results.folders import made_up_rows, make_test


@pytest.mark.parametrize("absent", ["count", "drop"])
def test_sums_give_the_table_s_numbers(tmp_path, absent):
    protocol = Protocol(runs=2, episodes=12, absent=absent)
    result = read_result(make_test(tmp_path / "a", protocol=protocol))
    runs = result.sums
    assert [len(run.union) for run in runs] == [12, 12]
    for name, score in (("mean-IoU", result.table.mean_iou), ("binary-IoU", result.table.binary_iou)):
        values = [METRICS[name](run.intersection.sum(0), run.union.sum(0)) for run in runs]
        assert np.mean(values) == pytest.approx(score.mean)


@pytest.mark.parametrize("metric", METRICS)
def test_replicates_are_tables_of_episodes_drawn_anew(tmp_path, metric):
    """Each replicate, made by hand from rows that are copied as often as their episode was drawn."""
    result = read_result(make_test(tmp_path / "a"))
    found = replicates([result], metric, seed=3, number=5)
    generator = np.random.default_rng(3)
    drawn = [generator.multinomial(12, np.full(12, 1 / 12), size=5) for _ in range(2)]
    for number in range(5):
        rows = [row for row in result.rows for _ in range(drawn[row.run][number][row.episode])]
        table = make_table(result.tested, rows)
        score = table.mean_iou if metric == "mean-IoU" else table.binary_iou
        assert found[number] == pytest.approx(score.mean)


def test_the_interval_is_about_the_deviation_of_the_mean(tmp_path):
    """With one class whose unions are equal the IoU is a mean over episodes, whose deviation is known."""
    result = read_result(make_test(tmp_path / "a"))
    rows = [r._replace(class_id=1, intersection=r.intersection % 100, union=100) for r in result.rows if r.class_id]
    object.__setattr__(result, "rows", rows)
    shares = np.array([[r.intersection for r in rows if r.run == run] for run in (0, 1)], dtype=float)
    deviation = np.sqrt((shares.std(axis=1) ** 2 / 12).sum()) / 2
    low, high = interval(replicates([result], "mean-IoU", number=4000))
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert low < shares.mean() < high


def test_the_interval_of_several_seeds_is_of_their_mean(tmp_path):
    results = [read_result(make_test(tmp_path / str(n), number=n, seed=n)) for n in range(2)]
    each = [replicates([result], "mean-IoU", seed=1, number=50) for result in results]
    assert replicates(results, "mean-IoU", seed=1, number=50) == pytest.approx(np.mean(each, axis=0))


@pytest.fixture
def two(tmp_path):
    for number, name in enumerate("ab"):
        for fold in (0, 1):
            make_test(tmp_path / name / f"fold{fold}", fold=fold, number=number, method=f"PANet ({name})")
    return tmp_path


def test_differences_are_of_the_same_episodes(two):
    (found,) = compare(*(find_results([two / name]) for name in "ab"))
    assert len(found.pairs) == 2
    means = [np.mean([result.table.mean_iou.mean for result in find_results([two / name])]) for name in "ab"]
    difference = found.metrics["mean-IoU"]
    assert (difference.first, difference.second) == pytest.approx(tuple(means))
    assert difference.low < difference.value < difference.high
    assert len(found.episodes) == 48
    assert sum(found.counted) == 48
    for pair in found.episodes[:3]:
        for number, value in ((0, pair.first), (1, pair.second)):
            rows = made_up_rows(pair.fold, number)
            (row,) = [r for r in rows if (r.run, r.episode) == (pair.run, pair.episode) and r.class_id]
            assert value == pytest.approx(100 * row.intersection / row.union)
    differences = [abs(pair.second - pair.first) for pair in found.episodes]
    assert differences == sorted(differences, reverse=True)
    text = comparison_text(found, ("a", "b"), 2)
    assert f"{difference.value:+.1f}" in text
    assert text.count("run ") == 2


def test_pairing_takes_out_what_is_hard_for_both(tmp_path):
    """Against itself nothing differs, however wide the interval of each is."""
    folder = make_test(tmp_path / "a")
    found = compare(find_results([folder]), find_results([folder]))[0].metrics["mean-IoU"]
    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"fold": 1}, "of PASCAL-5i fold 0, 1-way 1-shot, .* of PASCAL-5i fold 1, 1-way 1-shot: they have no"),
        ({"shot": 5}, "they have no episode in common"),
        ({"episodes": 11}, "not tested on the same episodes"),
        ({"protocol": Protocol(runs=2, episodes=12, seed=1)}, "under protocol"),
    ],
)
def test_other_episodes_are_refused(tmp_path, other, said):
    folders = make_test(tmp_path / "a"), make_test(tmp_path / "b", **other)
    with pytest.raises(FssegError, match=said):
        compare(*(find_results([folder]) for folder in folders))


def test_tests_without_a_partner_are_left_out_and_counted(two):
    make_test(two / "a/fold2", fold=2)
    (found,) = compare(*(find_results([two / name]) for name in "ab"))
    assert (len(found.pairs), found.alone) == (2, 1)
    assert "left out: 1 tests that only one of them has" in comparison_text(found, ("a", "b"), 0)
    make_test(two / "c/fold0", seed=9)
    make_test(two / "c/fold1", seed=9, fold=1)
    with pytest.raises(FssegError, match="no test of the same fold, shots"):
        compare(*(find_results([two / name]) for name in "ac"))


def test_more_trainings_are_no_more_episodes(tmp_path):
    """The same pair of tests as eight seeds leaves the interval as it was."""
    for seed in range(8):
        for number, name in enumerate("ab"):
            make_test(tmp_path / name / str(seed), seed=seed, number=number)
    sides = [find_results([tmp_path / name]) for name in "ab"]
    (one,) = compare(sides[0][:1], sides[1][:1])
    (all_of_them,) = compare(*sides)
    assert one.metrics["mean-IoU"] == pytest.approx(all_of_them.metrics["mean-IoU"])
    assert "1 fold, seeds 0, 1, 2, 3, 4, 5, 6, 7, 24 episodes" in comparison_text(all_of_them, ("a", "b"), 0)


def test_shots_and_annotations_are_compared_apart(tmp_path):
    for number, name in enumerate("ab"):
        for shot in (1, 5):
            make_test(tmp_path / name / str(shot), shot=shot, number=10 * number + shot)
        make_test(tmp_path / name / "box", annotation="box", number=number)
    found = compare(*(find_results([tmp_path / name]) for name in "ab"))
    kinds = [comparison.pairs[0][0].tested.kind for comparison in found]
    assert kinds == ["1-way 1-shot, box supports", "1-way 1-shot", "1-way 5-shot"]
    assert all(len(comparison.episodes) == 24 for comparison in found)
