import json
from pathlib import Path

import numpy as np
import pytest

from fsseg.errors import FssegError
from fsseg.files.annotation_json import read_marks

IDS = {"cat": 1, "dog": 2}


def painted(tmp_path: Path, content: object, height: int = 50, width: int = 60) -> tuple[np.ndarray, bool]:
    path = tmp_path / "marks.json"
    path.write_text(json.dumps(content))
    marks = read_marks(path, IDS)
    return marks.paint(height, width), marks.weak


def shape(label: str, kind: str, *points: tuple[float, float]) -> dict[str, object]:
    return {"label": label, "shape_type": kind, "points": [list(point) for point in points]}


def test_what_labelme_writes_is_painted(tmp_path: Path) -> None:
    shapes = [
        shape("cat", "polygon", (10, 10), (29, 10), (29, 29), (10, 29)),
        shape("dog", "circle", (45, 20), (45, 25)),
        shape("__ignore__", "polygon", (0, 40), (59, 40), (59, 49), (0, 49)),
        shape("_background_", "polygon", (15, 15), (19, 15), (19, 19), (15, 19)),
    ]
    mask, weak = painted(tmp_path, {"version": "5.0", "shapes": shapes, "imageData": None})
    assert not weak
    assert (mask[20:30, 10:30] == 1).all()
    assert (mask[15:20, 15:20] == 0).all()
    assert mask[20, 45] == 2
    assert 70 <= (mask == 2).sum() <= 100  # pi * 25 and its edge
    assert (mask[40:] == 255).all()
    assert mask[5, 5] == 0


def test_small_boxes_lie_over_large_ones_and_points_over_both(tmp_path: Path) -> None:
    content = {
        "boxes": [{"class": "dog", "box": [12, 12, 20, 20]}, {"class": "cat", "box": [40, 40, 5, 5]}],
        "points": [{"class": "background", "point": [30, 30]}],
    }
    mask, weak = painted(tmp_path, content)
    assert weak
    assert (mask[12:20, 12:20] == 2).all()
    assert (mask == 2).sum() == 64
    assert (mask[5:12, 5:40] == 1).all(), "corners may come in any order"
    assert (mask[5:40, 5] == 1).all()
    assert mask[40, 20] == mask[20, 40] == 0
    assert mask[30, 30] == 0
    assert (mask[28:33, 28:33] == 0).sum() < 20


def test_lines_and_points_leave_the_rest_open(tmp_path: Path) -> None:
    shapes = [shape("cat", "linestrip", (10, 10), (40, 10), (40, 40)), shape("background", "points", (3, 45), (55, 3))]
    mask, weak = painted(tmp_path, {"shapes": shapes})
    assert weak
    assert (mask[10, 10:41] == 1).all()
    assert (mask[10:41, 40] == 1).all()
    assert mask[45, 3] == mask[3, 55] == 0
    assert (mask == 255).mean() > 0.85


def test_marks_outside_the_image_are_cut_off(tmp_path: Path) -> None:
    mask, _ = painted(tmp_path, {"boxes": [{"class": "cat", "box": [-100, -100, 1e6, 10]}]})
    assert (mask[:10] == 1).all()
    assert (mask[10:] == 0).all()


def test_brushes_grow_with_the_image(tmp_path: Path) -> None:
    content = {"shapes": [shape("cat", "line", (100, 10), (100, 900))]}
    mask, _ = painted(tmp_path, content, 1000, 1000)
    assert 10 <= (mask[500] == 1).sum() <= 14


def test_a_rectangle_of_four_corners_is_the_one_of_two(tmp_path: Path) -> None:
    corners = [(10, 8), (30, 8), (30, 24), (10, 24)]
    two, _ = painted(tmp_path, {"shapes": [shape("cat", "rectangle", (10, 8), (30, 24))]})
    assert (two == 1).sum() == 320
    for turn in range(4):
        for order in (corners, corners[::-1]):
            four, weak = painted(tmp_path, {"shapes": [shape("cat", "rectangle", *order[turn:], *order[:turn])]})
            assert np.array_equal(four, two)
            assert weak


@pytest.mark.parametrize("points", [
    [(20, 5), (30, 15), (20, 25), (10, 15)],  # turned
    [(10, 8), (30, 8), (30, 24)],
    [(10, 8), (30, 8), (30, 24), (10, 24), (10, 8)],
    [(10, 8), (30, 8), (10, 8), (30, 8)],
])  # fmt: skip
def test_other_points_of_a_rectangle_are_refused(tmp_path: Path, points: list[tuple[float, float]]) -> None:
    if len({*points}) == 2:  # flat, but upright
        assert (painted(tmp_path, {"shapes": [shape("cat", "rectangle", *points)]})[0] == 1).sum() == 20
        return
    with pytest.raises(FssegError, match=r"corners of an upright rectangle. Give two opposite corners, or use a"):
        painted(tmp_path, {"shapes": [shape("cat", "rectangle", *points)]})


@pytest.mark.parametrize("content", [
    {"boxes": [{"class": "cat", "box": [0.1, 0.2, 0.6, 0.8]}]},
    {"boxes": [{"class": "cat", "box": [0, 0, 1, 1]}]},
    {"boxes": [{"class": "cat", "box": [10.1, 10.2, 10.6, 10.8]}]},
    {"points": [{"class": "cat", "point": [0.4, 0.5]}]},
    {"shapes": [shape("cat", "polygon", (0.1, 0.1), (0.9, 0.1), (0.5, 0.9))]},
    {"shapes": [shape("cat", "linestrip", (0.1, 0.1), (0.9, 0.1), (0.5, 0.9))]},
    {"shapes": [shape("cat", "circle", (0.5, 0.5), (0.5, 0.8))]},
])  # fmt: skip
def test_coordinates_in_fractions_are_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(FssegError, match=r"smaller than a pixel; .* Pixels are needed: multiply x by 60 and y by 50"):
        painted(tmp_path, content)


def test_class_ids_may_have_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    shapes = [shape("cat", "polygon", (5, 5), (24, 5), (24, 24), (5, 24)),
              shape("void", "polygon", (30, 30), (39, 30), (39, 39), (30, 39)),
              shape("ignore", "polygon", (50, 40), (59, 40), (59, 49), (50, 49))]  # fmt: skip
    path.write_text(json.dumps({"shapes": shapes}))
    mask = read_marks(path, {"cat": 1000, "void": 255}).paint(50, 60)
    assert mask.dtype == np.uint16
    assert np.unique(mask, return_counts=True)[1].tolist() == [3000 - 600, 100, 400, 100]
    assert (mask[5, 5], mask[30, 30], mask[45, 55], mask[0, 0]) == (1000, 255, 65535, 0)


def test_a_file_of_labelme_without_shapes_is_background(tmp_path: Path) -> None:
    mask, weak = painted(tmp_path, {"version": "5.0", "shapes": [], "imageHeight": 50, "imageWidth": 60})
    assert not weak
    assert (mask == 0).all()
