"""Charts: what they show, as far as it is numbers."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.errors import FssegError
from fsseg.plots.charts import Curve, draw_class_iou, draw_curves, draw_size_iou, pooled_by_size, smoothed
from fsseg.plots.colours import LINES
from fsseg.results.rows import Row
from fsseg.results.tables import ClassScore, Score


def row(episode: int, truth: int, intersection: int, union: int, class_id: int = 3) -> Row:
    return Row(0, episode, class_id, 3, intersection, union, truth, 1000, "1", "2")


def size(path: Path) -> tuple[int, int]:
    with PIL.Image.open(path) as picture:
        return picture.size


def test_pooled_iou_is_sum_over_sum_from_small_objects_to_large_ones() -> None:
    random = np.random.default_rng(0)
    union = random.integers(1, 100, 80)
    counts = np.stack([random.permutation(80) + 1, random.integers(0, union + 1), union], 1).astype(float)
    shares, pooled = pooled_by_size(counts)
    assert shares.tolist() == [5.5 + 10 * i for i in range(8)]
    for i, found in enumerate(pooled):
        part = [c for c in counts.tolist() if 10 * i < c[0] <= 10 * i + 10]
        assert found == pytest.approx(sum(c[1] for c in part) / sum(c[2] for c in part))


def test_few_queries_make_fewer_groups() -> None:
    shares, pooled = pooled_by_size(np.array([[0.5, 1.0, 2.0], [0.1, 0.0, 4.0]]))
    assert shares.tolist() == [0.1, 0.5]
    assert pooled.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("truths", [range(1, 41), range(100, 140), [7]])
def test_sizes_are_drawn(tmp_path: Path, truths: list[int]) -> None:
    rows = [row(i, truth, truth // 2, truth + 1) for i, truth in enumerate(truths)]
    draw_size_iou({"": [*rows, row(99, 0, 0, 5), row(99, 900, 900, 1000, class_id=0)]}, tmp_path / "size.png")
    assert size(tmp_path / "size.png")[0] > 600
    with pytest.raises(FssegError, match="no query of these rows shows its class"):
        draw_size_iou({"": [row(99, 0, 0, 5)]}, tmp_path / "none.png")


SHARED = [Curve("a", [(0, 0.3), (9, 0.4)], [(0, 0.25), (9, 0.2501)]), Curve("b", [(9, 0.3)], [(9, 0.25)])]
OWN = [*SHARED, Curve("c", [(0, 0.1), (9, 0.2)], [(0, 0.1), (9, 0.15)]), Curve("d", [(9, 0.3)])]


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        (SHARED, [([0, 1], [0.25, 0.25], "#666666")]),
        (OWN, [([0, 1], [0.25] * 2, LINES[0]), ([0, 1], [0.25] * 2, LINES[1]), ([0, 9], [0.1, 0.15], LINES[2])]),
        ([OWN[-1]], []),
    ],
)
def test_a_baseline_is_a_dashed_line_and_horizontal_if_it_does_not_change(monkeypatch, tmp_path, curves, expected):
    drawn = []
    monkeypatch.setattr("fsseg.plots.charts.write", lambda figure, path: drawn.append(figure))
    draw_curves({"train/loss": [Curve("a", [(0, 1.0)])], "val/mean_iou": curves}, tmp_path / "curves.png")
    loss, iou = drawn[0].axes
    dashed = [line for line in iou.lines if line.get_linestyle() == "--"]
    found = [(list(line.get_xdata()), list(line.get_ydata()), line.get_color()) for line in dashed]
    assert found == expected + ([([], [], "#666666")] if expected else [])
    assert [line.get_linestyle() for line in loss.lines] == ["-"]
    (legend,) = drawn[0].legends
    assert ("untrained prototypes" in [text.get_text() for text in legend.get_texts()]) == bool(expected)


def test_classes_are_drawn_whatever_a_test_lacks(tmp_path: Path) -> None:
    nan = float("nan")
    one = [ClassScore(1, "bus", Score(80.0, 1.0), 9), ClassScore(2, "cat", Score(nan, nan), 0)]
    draw_class_iou({"PANet": one}, tmp_path / "one.png")
    draw_class_iou({"PANet": one, "PMMs": [ClassScore(3, "dog", Score(50.0, nan), 5)]}, tmp_path / "two.png")
    heights = [size(tmp_path / f"{name}.png")[1] for name in ("one", "two")]
    assert heights[0] < heights[1]
    with pytest.raises(FssegError, match="no class to draw"):
        draw_class_iou({}, tmp_path / "none.png")


def test_smoothing_begins_at_the_first_value_and_passes_over_what_diverged() -> None:
    assert smoothed(np.array([3.0, 3.0, 3.0])).tolist() == [3.0, 3.0, 3.0]
    values = np.array([4.0, *[1.0] * 200])
    found = smoothed(values)
    assert found[0] == pytest.approx(4)
    assert found[-1] == pytest.approx(1, abs=0.01)
    assert (np.diff(found) <= 0).all()
    assert np.isfinite(smoothed(np.array([1.0, np.nan, 2.0]))).all()


@pytest.mark.slow
def test_curves_are_drawn(tmp_path: Path) -> None:
    curve = Curve("a", [(i, 1 / (i + 1)) for i in range(30)])
    draw_curves({"train/loss": [curve, curve._replace(name="b")], "val/mean_iou": [curve]}, tmp_path / "curves.png")
    one = Curve("a", [(5, 0.3)])
    draw_curves({"train/loss": [one]}, tmp_path / "one.png")
    assert size(tmp_path / "curves.png")[0] == 2 * size(tmp_path / "one.png")[0]
