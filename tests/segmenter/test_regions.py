"""Classes of regions and presence scores, against the formulas written as loops."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import fsseg
from fsseg.encoders import ConvNet
from fsseg.methods import KernelDensityRatio, PANet
from fsseg.segmenter.object_cells import joined_cells, object_cells
from fsseg.segmenter.presence_score import Calibration, calibrated, nearness
from fsseg.segmenter.regions import Appearance, appearances, by_region
from fsseg.segmenter.support_state import Support

SIDE = 64


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def unit(*shape: int, random: torch.Generator) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=random), dim=-1)


def test_densities_and_biases_are_those_of_plain_loops(random):
    counts = [[7, 4], [5, 6, 3], [8, 2]]  # cells of each support of three classes
    supports = [[(unit(n, 6, random=random),) for n in each] for each in counts]
    look = appearances(supports)[0]
    every = torch.cat([cells for each in supports for (cells,) in each]).double()
    distances = sorted(float(1 - a @ b) for a in every for b in every)
    concentration = 40 / distances[len(distances) // 2]
    assert look.concentration == pytest.approx(concentration, rel=1e-4)

    def density(cell: torch.Tensor, number: int, without: torch.Tensor | None = None) -> float:
        values = [
            math.exp(concentration * (float(cell.double() @ other.double()) - 1))
            for (cells,) in supports[number]
            if cells is not without
            for other in cells
        ]
        return math.log(sum(values) / len(values))

    query = unit(9, 6, random=random)
    found = look.log_density(query)
    for cell, row in zip(query, found, strict=True):
        expected = [density(cell, number) for number in range(3)]
        np.testing.assert_allclose((row - row[0]).numpy(), np.array(expected) - expected[0], atol=2e-3)

    for number in range(3):
        own = [density(c, number, cells) for (cells,) in supports[number] for c in cells]
        # `log_density` is up to a constant for each cell: the nearest cell of other supports
        nearest = {
            id(cells): [
                max(float(c @ o) for s in supports for (rest,) in s if rest is not cells for o in rest) for c in cells
            ]
            for s in supports
            for (cells,) in s
        }
        shift = [concentration * (v - 1) for (cells,) in supports[number] for v in nearest[id(cells)]]
        inside = np.mean(np.array(own) - shift)
        others = [(c, v) for n in range(3) if n != number for (s,) in supports[n]
                  for c, v in zip(s, nearest[id(s)], strict=True)]  # fmt: skip
        outside = np.mean([density(c, number) - concentration * (v - 1) for c, v in others])
        assert float(look.bias[number]) == pytest.approx(-(inside + outside) / 2, abs=5e-3)


def test_one_support_of_a_class_leaves_no_bias(random):
    supports = [[(unit(4, 6, random=random),)], [(unit(4, 6, random=random),), (unit(3, 6, random=random),)]]
    assert not appearances(supports)[0].bias.any()


def test_a_region_gets_the_class_of_its_surroundings_and_the_background_stays():
    cells = torch.eye(2)
    look = Appearance(cells, torch.tensor([0, 1]), 3.0, torch.zeros(2))
    feature = torch.zeros(2, 16, 16)
    feature[0] = 1  # everywhere class 1 ...
    feature[:, 6, 6] = torch.tensor([0.0, 1.0])  # ... but one cell
    logits = torch.zeros(4, SIDE, SIDE)
    logits[3] = -9  # a rejected image
    logits[1:3] = -1
    logits[1, 8:56, 8:56] = 2
    logits[2, 24:28, 24:28] = 5
    found = by_region(logits, [1, 2], (feature,), [look])
    assert ((found.argmax(0) == 0) == (logits.argmax(0) == 0)).all()
    assert (found.argmax(0)[8:56, 8:56] == 1).all()
    best = logits[1:3].amax(0)
    torch.testing.assert_close(found[1:3].amax(0), best)
    torch.testing.assert_close(found[[0, 3]], logits[[0, 3]])


def test_the_surroundings_are_a_gaussian_mean_over_predicted_cells(random):
    looks = [Appearance(unit(12, 5, random=random), torch.arange(12) % 3, 4.0, torch.tensor([0.1, 0.0, -0.2]))]
    feature = (torch.randn(5, 9, 9, generator=random),)
    logits = torch.randn(4, 9, 9, generator=random)  # as large as the map, so that nothing is resized
    logits[0] += 1
    found = by_region(logits, [1, 2, 3], feature, looks)
    density = looks[0].log_density(F.normalize(feature[0].flatten(1).T, dim=1)) + looks[0].bias
    density = density.double().numpy().reshape(9, 9, 3)
    predicted = (logits[1:].amax(0) > logits[0]).numpy()
    deviation = 0.13 * 9
    for y in range(9):
        for x in range(9):
            total, mean = 0.0, np.zeros(3)
            for v in range(9):
                for u in range(9):
                    weight = math.exp(-((y - v) ** 2 + (x - u) ** 2) / 2 / deviation**2) * predicted[v, u]
                    # scipy ends its kernel at four deviations
                    weight *= max(abs(y - v), abs(x - u)) <= int(4 * deviation + 0.5)
                    total, mean = total + weight, mean + weight * density[v, u]
            if predicted[y, x]:
                mean /= total
                expected = float(logits[1:, y, x].max()) + mean - mean.max()
                np.testing.assert_allclose(found[1:, y, x].numpy(), expected, atol=2e-4)


def test_object_cells_are_those_that_the_mask_covers(random):
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    mask[0, :40, :24] = 1
    feature = torch.randn(1, 3, 4, 4, generator=random)  # cells of 16 pixels
    one = object_cells([Support((feature,), mask, (SIDE, SIDE))], 1)
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]  # (2, 1) is covered by a quarter
    expected = torch.stack([feature[0, :, y, x] / feature[0, :, y, x].norm() for y, x in rows])
    torch.testing.assert_close(one[0][0], expected)
    mask[:] = 0
    mask[0, 20:24, 20:24] = 1  # no cell is covered by half
    small = object_cells([Support((feature,), mask, (SIDE, SIDE))], 1)
    torch.testing.assert_close(small[0][0], F.normalize(feature[:, :, 1, 1], dim=1))
    assert len(joined_cells([one[0], small[0]])[0]) == 6


def test_nearness_is_the_mean_of_the_nearest_cells(random):
    feature, cells = torch.randn(3, 4, 4, generator=random), (unit(7, 3, random=random),)
    region = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    region[:16, :24] = True  # one cell and half of the next
    cosine = [max(float(feature[:, 0, x] @ c / feature[:, 0, x].norm()) for c in cells[0]) for x in (0, 1)]
    assert nearness((feature,), region, cells) == pytest.approx((cosine[0] + cosine[1] / 2) / 1.5, abs=1e-6)


@pytest.mark.parametrize("supports", [2, 3, 5, 9])
def test_no_score_is_certain(supports):
    scale = Calibration((0.8, 0.5), (0.3, 0.1), supports, torch.zeros(1), ())
    weight = min(supports - 1, 4) / 4
    assert scale.score((0.8, 0.5)) == pytest.approx(1 / (1 + math.exp(-0.15)))
    assert scale.score((0.95, 0.5)) == pytest.approx(1 / (1 + math.exp(-weight * 0.55 - 0.15)))
    assert scale.score((9.0, 9.0)) == pytest.approx(1 / (1 + math.exp(-weight * 3.0 - 0.15)))
    assert scale.score((-9.0, -9.0)) == pytest.approx(1 / (1 + math.exp(weight * 4.5 - 0.15)))


def scene(colour: tuple[int, int, int], top: int) -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), 90, dtype=np.uint8)
    image[top : top + 24, 20:44] = colour
    return image


def mask_of(top: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[top : top + 24, 20:44] = 1
    return mask


@pytest.mark.parametrize("method", [PANet, KernelDensityRatio])
def test_several_classes_are_told_apart_region_by_region(method):
    torch.manual_seed(0)
    segmenter = fsseg.Segmenter(method(ConvNet()), SIDE, device="cpu", refine=True)
    tops = (4, 20, 36)
    segmenter.learn([scene((220, 40, 40), top) for top in tops], [mask_of(top) for top in tops], "red")
    segmenter.learn([scene((40, 60, 220), top) for top in tops], [mask_of(top) for top in tops], "blue")
    segmenter.reject(scene((40, 220, 40), 10), mask_of(10))
    for label, colour in ((1, (215, 45, 42)), (2, (44, 62, 214))):
        found = segmenter.predict(scene(colour, 28))
        marked = np.unique(found.mask[found.mask > 0])
        assert marked.tolist() == [label]
        np.testing.assert_allclose(found.probability.sum(0), 1, atol=1e-5)


def test_the_threshold_of_the_supports_admits_each_of_them_and_leaves_nothing_to_other_classes():
    torch.manual_seed(0)
    segmenter = fsseg.Segmenter(PANet(ConvNet()), SIDE, device="cpu")
    tops = (4, 20, 36)
    segmenter.learn([scene((220, 40, 40), top) for top in tops], [mask_of(top) for top in tops], "red")
    state = segmenter.known[0]
    scale = state.calibration(segmenter.method, 1)
    assert scale is not None
    assert 0 < scale.least < scale.score(scale.mean) + 1e-6
    assert (segmenter.segment(scene((222, 38, 40), 12), "auto") == 1).any()
    # A score below the threshold: nothing of the region goes to another class.
    segmenter.learn([scene((40, 60, 220), top) for top in tops], [mask_of(top) for top in tops], "blue")
    other = scene((120, 120, 60), 12)
    assert not segmenter.segment(other, 1.0).any()


def test_fewer_than_two_supports_have_no_scale(random):
    support = Support((torch.randn(1, 3, 4, 4, generator=random),), torch.ones(1, SIDE, SIDE), (SIDE, SIDE))
    assert calibrated([support], 1, lambda *_: torch.zeros(2, SIDE, SIDE)) is None
