import numpy as np
import pytest
import torch

from fsseg.ops.refine import refined, without_specks


def logits_of(label, classes=2):
    made = torch.zeros(1 + classes, *label.shape)
    for value in range(1 + classes):
        made[value][torch.from_numpy(label == value)] = 2.0
    return made


@pytest.fixture
def label():
    made = np.zeros((40, 60), dtype=np.uint8)
    made[5:25, 5:25], made[10:13, 10:13] = 1, 0  # an object with a hole
    made[30:32, 40:42] = 2  # a speck
    made[30:38, 2:30], made[33:35, 10:12] = 2, 1  # an object with a speck of the other class
    return made


def test_specks_become_background_and_holes_are_filled(label):
    expected = label.copy()
    expected[10:13, 10:13], expected[30:32, 40:42], expected[33:35, 10:12] = 1, 0, 0
    found = without_specks(logits_of(label), 10.0)
    assert (found.argmax(0).numpy() == expected).all()


def test_large_regions_stay(label):
    assert (without_specks(logits_of(label), 4.0).argmax(0).numpy() == label).all()


def test_a_hole_between_two_classes_stays():
    label = np.ones((20, 20), dtype=np.uint8)
    label[:, 10:], label[9:11, 9:11] = 2, 0
    assert (without_specks(logits_of(label), 10.0).argmax(0).numpy() == label).all()


def test_a_probability_of_two_classes_is_kept_in_even_regions():
    logits, grey = torch.tensor([0.3, -1.1])[:, None, None].expand(2, 30, 40), np.full((30, 40, 3), 128, np.uint8)
    found = refined(logits, grey, (3, 4)).softmax(0)
    torch.testing.assert_close(found, logits.softmax(0), atol=1e-4, rtol=0)
