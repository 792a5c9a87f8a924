"""Regions around clicks, corrections of results, thresholds and the next image to label."""

import base64
import io
from collections import deque

import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.demo.click import connected, otsu, region_around, similarities
from fsseg.demo.painting import BACK, read_layer
from fsseg.demo.results import uncertainty
from fsseg.errors import FssegError
from tests.demo.test_attacks import photo
from tests.demo.test_session import begun, paint, picture, session  # noqa: F401 - a fixture


def flooded(region: np.ndarray, row: int, column: int) -> np.ndarray:
    """The connected part of a region, pixel by pixel."""
    found, waiting = np.zeros(region.shape, np.uint8), deque([(row, column)])
    while waiting:
        y, x = waiting.popleft()
        inside = 0 <= y < region.shape[0] and 0 <= x < region.shape[1]
        if inside and region[y, x] and not found[y, x]:
            found[y, x] = 1
            waiting += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_region_is_what_a_flood_from_the_click_reaches(seed):
    random = np.random.default_rng(seed)
    region, (row, column), radius = random.random((40, 50)) < 0.6, random.integers(0, 40, 2), 3.5
    rows, columns = np.indices(region.shape)
    disc = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    np.testing.assert_array_equal(connected(region, row, column, radius), flooded(region | disc, row, column))


def test_the_threshold_is_otsu_s():
    from skimage.filters import threshold_otsu

    random = np.random.default_rng(0)
    for apart in (0.5, 1.0, 1.4):
        values = np.concatenate([random.normal(-apart / 2, 0.1, 700), random.normal(apart / 2, 0.1, 300)])
        values = values.clip(-1, 1).astype(np.float32)
        counts = np.histogram(values, 64, (-1, 1))[0]
        centre = np.linspace(-1, 1, 65)[:-1] + 1 / 64
        assert abs(otsu(values) - 1 / 64 - threshold_otsu(hist=(counts, centre))) < 1e-6


def test_similarities_are_cosines_of_centred_cells():
    feature = torch.randn(6, 4, 5, dtype=torch.float64)
    found = similarities(feature, 0.6, 0.9)
    centred = torch.nn.functional.normalize(feature - feature.mean((1, 2), keepdim=True), dim=0)
    clicked = sum(centred[:, row, column] for row in (1, 2, 3) for column in (3, 4))  # at the right border
    for row in range(4):
        for column in range(5):
            wanted = torch.cosine_similarity(centred[:, row, column], clicked, dim=0)
            assert abs(found[row, column] - wanted) < 1e-9


def test_a_click_takes_the_part_of_the_image_that_looks_alike_and_more_with_more_reach(segmenter):
    image = np.full((90, 200, 3), 250, np.uint8)
    image[20:70, 30:60], image[20:70, 150:180] = (200, 30, 30), (200, 30, 30)
    areas = []
    for reach in (0.0, 0.25, 0.5, 1.0):
        region = region_around(segmenter, image, 45, 45, reach)
        assert region[45, 45] == 1
        assert set(np.unique(region)) <= {0, 1}
        areas.append(int(region.sum()))
    assert areas == sorted(areas)
    region = region_around(segmenter, image, 45, 45, 0.5)
    assert not region[:, 120:].any(), "another object"
    inside = region[25:65, 35:55].mean()
    assert inside > 0.8
    assert region.sum() < 3 * 50 * 30


def test_a_click_on_the_page_answers_a_layer_and_teaches_nothing_yet(visitor):
    number = visitor.drop("supports", "a.png", photo())["painter"]["selected"]
    answer = visitor.cause("click", {"number": number, "x": 30.5, "y": 95, "reach": 0.5})
    region = read_layer(answer["region"], (96, 96))
    assert region[95, 30] == 1
    assert visitor.cause("rest")["supports"][0]["state"] == "empty"
    for wrong in ({}, {"x": -1}, {"x": 96}, {"y": "a"}, {"y": float("nan")}, {"reach": 2}, {"reach": None}, {"x": [1]}):
        sent = {"number": number, "x": 30, "y": 30, "reach": 0.5, **wrong} if wrong else {"number": number}
        answer = visitor.post("/events/click", str(sent).replace("'", '"').replace("nan", "NaN").encode())
        assert "not on the image" in answer.body.decode() or '"region"' not in answer.body.decode()


def test_the_uncertainty_is_one_minus_the_margin():
    random = np.random.default_rng(0)
    probability = random.dirichlet(np.ones(4), (5, 6)).transpose(2, 0, 1).astype(np.float32)
    wanted = np.mean([1 - (s := sorted(p))[-1] + s[-2] for p in probability.reshape(4, -1).T])
    assert abs(uncertainty(probability) - wanted) < 1e-6
    assert uncertainty(np.eye(3, dtype=np.float32)[:, :, None]) == 0


def test_tiles_have_the_uncertainty_of_queries_that_are_no_supports(visitor):
    number = visitor.drop("supports", "a.png", photo())["painter"]["selected"]
    queries = [visitor.drop("queries", f"{i}.png", photo(number=i))["queries"]["selected"] for i in (20, 40)]
    tile = visitor.cause("tile", {"number": queries[0]})["tile"]
    assert tile["uncertainty"] is None
    layer = np.zeros((96, 96), np.uint8)
    layer[20:60, 20:60], layer[:10] = 1, BACK
    from fsseg.demo import drawing

    visitor.cause("stroke", {"number": number, "way": "scribble", "layer": drawing.layer(layer)})
    tile = visitor.cause("tile", {"number": queries[0]})["tile"]
    assert 0 <= tile["uncertainty"] <= 1
    data = base64.b64decode(tile["picture"].partition(",")[2])
    assert PIL.Image.open(io.BytesIO(data)).size == (96, 96)
    visitor.cause("correct", {"number": queries[0]})
    assert visitor.cause("tile", {"number": queries[0]})["tile"]["uncertainty"] is None
    assert visitor.cause("tile", {"number": 99}) == {"message": ""}


def test_a_correction_becomes_a_support_and_changes_the_result(session):  # noqa: F811
    layer = picture(0)[1].copy()
    layer[:4] = BACK
    paint(session, 1, layer, "scribble")
    before = session.result().mask
    session.correct(3)
    assert session.support == 4
    np.testing.assert_array_equal(session.guide(), before)
    assert session.hint().startswith("Paint what is wrong")
    np.testing.assert_array_equal(session.result().mask, before)  # nothing is painted yet
    wrong = np.zeros_like(before)
    wrong[before == 1] = BACK
    paint(session, 4, wrong, "scribble")
    after = session.result().mask
    assert (after[before == 1] == 0).mean() > 0.5, "what is painted as background is background"
    assert session.hint().startswith("Background only")
    session.correct(3)  # again: the same support
    assert (session.support, len(session.supports)) == (4, 3)
    session.remove_support(4)
    np.testing.assert_array_equal(session.result().mask, before)


def test_background_alone_waits_for_a_class(session):  # noqa: F811
    only = np.full((96, 96), BACK, np.uint8)
    paint(session, 2, only, "scribble")
    assert session.supports[2].number is None
    layer = picture(0)[1].copy()
    layer[:4] = BACK
    paint(session, 1, layer, "scribble")
    assert session.supports[2].number is not None
    paint(session, 1, layer * 0, "scribble")
    assert session.known_labels == []


def test_the_threshold_leaves_out_classes_of_a_lower_score(session):  # noqa: F811
    for number, of in ((1, 0), (2, 20)):
        paint(session, number, picture(of)[1])
    score = session.result().scores[1]
    session.set_threshold(min(1.0, score + 0.01))
    assert not session.result().mask.any()
    session.set_threshold(max(0.0, score - 0.01))
    assert session.result().mask.any()
    for wrong in (None, "1", 2, -0.1, float("nan")):
        with pytest.raises(FssegError, match=r"a threshold of 0\.\.1"):
            session.set_threshold(wrong)


def test_the_first_tool_leaves_unpainted_pixels_open(segmenter):
    made = begun(segmenter)
    made.add_support(picture(0)[0])
    assert made.supports[1].way == "scribble"
    layer = np.zeros((96, 96), np.uint8)
    layer[40:60, 40:60], layer[:9] = 1, BACK
    paint(made, 1, layer, "scribble")
    mask = made.segmenter.known[0].supports[1].mask
    assert (mask == 255).float().mean() > 0.5
