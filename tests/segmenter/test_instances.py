"""Objects of a mask: connected parts, cut at necks, against scikit-image and counted by hand."""

import numpy as np
import pytest
from skimage import measure

from fsseg.segmenter import Prediction
from fsseg.segmenter.instances import cut, instances_of


def discs(*circles: tuple[int, int, int], size: tuple[int, int] = (80, 120)) -> np.ndarray:
    """Discs ``(row, column, radius)``."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.any([(rows - r) ** 2 + (columns - c) ** 2 <= radius**2 for r, c, radius in circles], axis=0)


def test_without_cuts_objects_are_connected_parts_as_in_scikit_image():
    random = np.random.default_rng(0)
    mask = random.integers(0, 3, (40, 50)).astype(np.uint8)
    mask[:5, :5] = 255
    found = instances_of(mask, neck=0.0)
    wanted = [measure.label(mask == value, connectivity=2) for value in (1, 2)]
    assert (found == np.where(mask == 2, wanted[1] + wanted[0].max(), wanted[0]) * (mask != 255)).all()


@pytest.mark.parametrize(
    ("circles", "count"),
    [
        ([(40, 30, 20), (40, 66, 20)], 2),  # touching discs
        ([(40, 30, 20), (40, 66, 20), (40, 99, 16)], 3),
        ([(40, 30, 20), (40, 45, 20)], 1),  # one disc covers most of the other
        ([(40, 30, 20), (40, 90, 20)], 2),  # apart
    ],
)
def test_touching_objects_are_cut_at_their_neck(circles, count):
    mask = discs(*circles)
    found = instances_of(mask.astype(np.uint8))
    assert ((found > 0) == mask).all()
    assert found.max() == count
    if count > 1:
        centres = [found[row, column] for row, column, _ in circles]
        assert sorted(centres) == list(range(1, count + 1))
        for (row, column, radius), number in zip(circles, centres, strict=True):
            own = discs((row, column, radius))
            assert (own & (found == number)).sum() / (own | (found == number)).sum() > 0.9


@pytest.mark.slow
def test_every_pixel_has_an_object_also_those_joined_by_a_corner():
    mask = discs((40, 30, 20), (40, 66, 20))
    mask[19, 31] = mask[18, 32] = True  # a diagonal from the top of the first disc
    assert ((instances_of(mask.astype(np.uint8)) > 0) == mask).all()
    random = np.random.default_rng(1)
    for _ in range(20):
        noisy = (random.random((60, 90)) < 0.6).astype(np.uint8) * random.integers(1, 3, (60, 90)).astype(np.uint8)
        found = instances_of(noisy)
        assert ((found > 0) == (noisy > 0)).all()
        assert all(len(np.unique(noisy[found == number])) == 1 for number in range(1, found.max() + 1))


def test_a_large_part_is_cut_at_the_same_place():
    """Cuts are searched on fewer pixels."""
    small = discs((40, 30, 20), (40, 66, 20))
    large = np.kron(small, np.ones((16, 16), bool))
    found = cut(large, 0.5)
    assert set(np.unique(found)) == {0, 1, 2}
    assert ((found > 0) == large).all()
    sides = cut(small, 0.5)
    assert (found[8::16, 8::16] == sides).mean() > 0.99


def test_an_elongated_object_and_a_bar_stay_whole():
    mask = np.zeros((60, 200), np.uint8)
    mask[20:40, 5:195] = 1
    assert instances_of(mask).max() == 1
    mask[20:40, 5:100] = 2
    assert instances_of(mask).max() == 2  # two classes are two objects


def test_a_prediction_numbers_its_objects():
    mask = discs((40, 30, 20), (40, 90, 20)).astype(np.uint8) * 2
    found = Prediction(mask, None, {"cat": None, "dog": None}).instances
    assert [(found == number).sum() for number in (1, 2)] == [1257, 1257]
    assert (mask[found > 0] == 2).all()
    assert not Prediction(mask * 0, None, {"cat": None}).instances.any()
