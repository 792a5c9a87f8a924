"""IoU from counts, for arrays and tensors, against sets of pixels."""

import numpy as np
import torch

from fsseg.iou import iou, percent


def test_counts_give_the_iou_of_the_pixels_they_were_counted_on() -> None:
    random = np.random.default_rng(3)
    masks = random.random((20, 2, 30)) < 0.3
    sets = [[set(np.flatnonzero(side)) for side in pair] for pair in masks]
    counts = np.array([(len(true & predicted), len(true | predicted)) for true, predicted in sets])
    wanted = [len(true & predicted) / len(true | predicted) for true, predicted in sets]
    assert iou(*counts.T).tolist() == wanted
    assert iou(*torch.from_numpy(counts.T).double()).tolist() == wanted


def test_a_union_of_nothing_is_nan_without_a_warning() -> None:
    empty = np.zeros(2, dtype=np.int64)
    assert np.isnan(iou(empty, empty)).all()
    assert iou(torch.zeros(2), torch.zeros(2)).isnan().all()
    assert np.isnan(percent(empty, empty)).all()


def test_percent_rounds_once() -> None:
    assert percent(np.array([1, 2]), np.array([3, 7])).tolist() == [100 * 1 / 3, 100 * 2 / 7]
