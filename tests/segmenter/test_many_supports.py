"""One more support costs one, and many supports have a limit of time."""

import numpy as np
import pytest
import torch

import fsseg
from fsseg.encoders import ConvNet
from fsseg.methods import KernelDensityRatio, Method, MixtureClassifier, PANet, kernel_density
from fsseg.ops import support_threshold
from fsseg.segmenter.state import spread

SIZE = 32


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A red square on grey noise, and its mask."""
    random = np.random.default_rng(number)
    image = random.integers(70, 110, (SIZE, SIZE, 3), dtype=np.uint8)
    top, left = random.integers(2, 14, 2)
    image[top : top + 16, left : left + 16] = (220, 40, 40)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[top : top + 16, left : left + 16] = 1
    return image, mask


def learnt(kind: type[Method], count: int) -> tuple[fsseg.Segmenter, list[int]]:
    """A segmenter, and for each of its adaptations the number of supports."""
    torch.manual_seed(0)
    segmenter, shots = fsseg.Segmenter(kind(ConvNet(widths=(8, 8), strides=(2, 2))), SIZE, device="cpu"), []
    adapt = segmenter.method.adapt

    def counting(maps: tuple[torch.Tensor, ...], mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        shots.append(mask.shape[2])
        return adapt(maps, mask)

    segmenter.method.adapt = counting  # type: ignore[method-assign]
    for number in range(count):
        segmenter.learn(*scene(number), "square")
    return segmenter, shots


def test_a_support_is_adapted_to_once_where_the_state_is_per_support():
    segmenter, shots = learnt(PANet, 12)
    segmenter.segment(scene(50)[0])
    assert shots == [1] * 12
    segmenter.forget(3)
    segmenter.repaint(4, scene(4)[1])
    segmenter.segment(scene(50)[0])
    assert shots == [1] * 13


@pytest.mark.parametrize("kind", [KernelDensityRatio, MixtureClassifier])
def test_a_state_of_all_supports_waits_for_the_next_prediction(kind):
    segmenter, shots = learnt(kind, 12)
    assert shots == []
    query = scene(50)[0]
    before = segmenter.predict(query, score=False)
    segmenter.segment(scene(51)[0])
    assert shots == [12]
    fresh, _ = learnt(kind, 0)
    fresh.learn(*map(list, zip(*(scene(number) for number in range(12)), strict=True)), "square")
    np.testing.assert_allclose(fresh.predict(query, score=False).probability, before.probability, atol=1e-5)


def test_a_score_is_calibrated_on_ten_supports():
    segmenter, shots = learnt(PANet, 30)
    del shots[:]
    assert segmenter.predict(scene(50)[0]).score["square"] is not None
    assert shots == [9] * 10  # each of ten by the nine others


def test_many_supports_are_left_out_at_equal_steps():
    assert support_threshold.left_out(5) == [0, 1, 2, 3, 4]
    assert support_threshold.left_out(1000) == [50 * i for i in range(20)]
    assert spread([*range(7)], 10) == [*range(7)]
    assert spread([*range(1000)], 4) == [0, 250, 500, 750]


def test_fewer_cells_of_many_supports_give_nearly_the_same_masks(monkeypatch):
    """The densities are means over cells."""
    segmenter, _ = learnt(KernelDensityRatio, 25)
    queries = [scene(number)[0] for number in range(50, 56)]
    every = [segmenter.segment(query) for query in queries]
    monkeypatch.setattr(kernel_density, "_CELLS", 400)  # of 25 * 64
    fewer, _ = learnt(KernelDensityRatio, 25)
    assert len(fewer.known[0].states[0][0][0][0]) == 1
    assert fewer.known[0].states[0][0][0].shape[-2] == 400
    same = np.mean([(fewer.segment(query) == one).mean() for query, one in zip(queries, every, strict=True)])
    assert same > 0.9


@pytest.mark.parametrize("kind", [PANet, KernelDensityRatio])
def test_a_class_without_supports_is_refused_at_once(kind):
    segmenter, _ = learnt(kind, 2)
    image, mask = scene(5)
    for call in (lambda: segmenter.learn(image, mask, ["square", "disc"]), lambda: segmenter.repaint(1, 0 * mask)):
        with pytest.raises(fsseg.errors.FssegError):
            call()
    assert segmenter.classes == ("square",)
