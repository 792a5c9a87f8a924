"""Training-free methods against plain implementations of their formulas."""

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch.nn import functional as F

from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.methods import INSID3, KernelDensityRatio, MixtureClassifier
from fsseg.ops.support_threshold import best_threshold, trust


@pytest.fixture
def episode():
    """Maps of 3 supports, their masks, and the map of a query; a mask of the size of the map."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, 3, 6, 8)
    mask[:, :, 1:4, 2:6] = 1
    centres = torch.randn(2, 16, generator=generator)
    support = centres[mask.long()].movedim(-1, 2) + 0.8 * torch.randn(1, 3, 16, 6, 8, generator=generator)
    query = centres[mask[0, :1].long()].movedim(-1, 1) + 0.8 * torch.randn(1, 16, 6, 8, generator=generator)
    return support, mask, query


def encoder():
    return ConvNet(widths=(8, 16), strides=(2, 2))


def test_density_ratio_is_that_of_all_pairs_of_cells(episode):
    support, mask, query = episode
    method = KernelDensityRatio(encoder(), (10.0,), calibrate=False)
    (found,) = method.stages(method.adapt_way((support,), mask, 1 - mask), (query,))
    cells = F.normalize(support[0].double().permute(0, 2, 3, 1).reshape(-1, 16), dim=1).numpy()
    inside = mask[0].flatten().numpy() == 1
    kappa = 10 / np.sort((1 - cells @ cells.T).ravel())[len(cells) ** 2 // 2]
    for y in range(6):
        for x in range(8):
            one = F.normalize(query[0, :, y, x].double(), dim=0).numpy()
            density = np.exp(kappa * (cells @ one))
            expected = np.log(density[inside].mean() / density[~inside].mean())
            assert found[0, 1, y, x] == pytest.approx(expected, abs=1e-3)
    assert (found[:, 0] == 0).all()


def test_the_threshold_is_the_best_one_over_supports():
    score, weight = torch.randn(2, 3, 50), torch.rand(2, 3, 50, 2)
    threshold, iou = best_threshold(score, weight)
    for way in range(2):
        ious = {}
        for candidate in np.linspace(-3, 3, 61):
            each = []
            for shot in range(3):
                found = score[way, shot] > candidate
                inside, outside = weight[way, shot, found].sum(0)
                each.append(float(inside / (weight[way, shot, :, 0].sum() + outside)))
            ious[float(candidate)] = np.mean(each)
        assert float(iou[way]) == pytest.approx(max(ious.values()), abs=1e-5)
        assert ious[min(ious, key=lambda c: abs(c - float(threshold[way])))] == pytest.approx(max(ious.values()))


def test_supports_without_the_object_count_by_what_stays_background():
    score, weight = torch.randn(1, 5, 50), torch.rand(1, 5, 50, 2)
    weight[:, 3:, :, 0] = 0
    threshold, value = best_threshold(score, weight)
    values = {}
    for candidate in np.linspace(-3, 3, 61):
        ious, clean = [], []
        for shot in range(5):
            found = score[0, shot] > candidate
            inside, outside = weight[0, shot, found].sum(0)
            area, rest = weight[0, shot].sum(0)
            if shot < 3:
                ious.append(float(inside / (area + outside)))
            else:
                clean.append(float(1 - outside / rest))
        values[float(candidate)] = np.mean(ious) + 0.25 * np.mean(clean)
    assert float(value) == pytest.approx(max(values.values()), abs=1e-5)
    assert values[min(values, key=lambda c: abs(c - float(threshold)))] == pytest.approx(max(values.values()))


def test_equal_supports_count_once():
    sample = torch.randn(1, 4, 5, 3)
    assert trust(sample).item() == pytest.approx(3 / 4)
    sample[:, 1] = sample[:, 0]
    assert trust(sample).item() == pytest.approx(2 / 3)
    assert trust(sample[:, :2]).item() == 0


@pytest.mark.parametrize("calibrate", [False, True])
def test_densities_find_the_object(episode, calibrate):
    support, mask, query = episode
    for kind in (KernelDensityRatio, MixtureClassifier):
        method = kind(encoder(), calibrate=calibrate)
        state = method.adapt((method.neck((support[0],))[0][None, None],), mask.long().unsqueeze(1))
        found = method.predict(state, (method.neck((query,))[0][None],)).argmax(2)
        assert (found[0, 0] == mask[0, 0]).float().mean() > 0.9


def test_the_likelihood_is_the_mean_over_prototypes(episode):
    support, mask, query = episode
    method = MixtureClassifier(encoder(), components=3, kappa=7.0, calibrate=False)
    maps, cell = method.neck((support[0],))[0][None, None], method.neck((query,))[0]
    state = method.adapt((maps,), mask.long().unsqueeze(1))
    found = method.predict(state, (cell[None],))[0, 0]
    for label, means in ((1, state[0][0, 0]), (0, state[1][0, 0])):
        expected = torch.einsum("chw,pc->phw", cell[0], F.normalize(means, dim=1)).mul(7.0).exp().mean(0).log()
        torch.testing.assert_close(found[label], expected, atol=1e-4, rtol=1e-4)


def test_fssdinos_score_is_the_largest_times_the_mean(episode):
    support, mask, query = episode
    method = MixtureClassifier(encoder(), components=2, max_times_mean=True, gram=True, calibrate=False)
    maps, cell = method.neck((support[0],))[0][None, None], method.neck((query,))[0]
    state = method.adapt((maps,), mask.long().unsqueeze(1))
    cells = maps[0, 0].movedim(1, -1)[mask[0] == 1]
    gram = cells.T @ cells / len(cells)
    similar = torch.einsum("chw,cd,dhw->hw", cell[0], gram, cell[0])
    similar = (similar - similar.min()) / (similar.max() - similar.min())
    cosines = torch.einsum("chw,pc->phw", cell[0], F.normalize(state[0][0, 0], dim=1))
    every = torch.cat([cosines, similar[None]])
    found = method.predict(state, (cell[None],))[0, 0, 1]
    torch.testing.assert_close(found, 20 * every.amax(0) * every.mean(0), atol=1e-4, rtol=1e-4)


def test_insid3_is_its_description_step_by_step(episode):
    support, mask, query = episode
    method = INSID3(encoder(), tau=0.3, merge_threshold=0.1, positional_share=0.0)
    (found,) = method.stages(method.adapt_way((support,), mask, 1 - mask), (query,))
    unit = F.normalize(support[0].double().flatten(2).mT, dim=-1)
    inside = mask[0].flatten(1) == 1
    prototype = F.normalize(torch.stack([unit[s][inside[s]].mean(0) for s in range(3)]).mean(0), dim=0)
    cell = F.normalize(query[0].double().flatten(1).T, dim=-1)
    votes = sum(inside[s][(cell @ unit[s].T).argmax(1)].long() for s in range(3))
    candidate = (cell @ prototype > 0) & (votes >= 2)
    label = fcluster(linkage(cell.numpy(), "average", metric="cosine"), 0.7, "distance")
    means = {c: F.normalize(cell[label == c].mean(0), dim=0) for c in set(label)}
    seed = max((c for c in means if candidate[label == c].any()), key=lambda c: float(means[c] @ prototype))
    for c, mean in means.items():
        share = 1.0 if c == seed else float(candidate[label == c].double().mean())
        score = float((cell[label == c] @ prototype).mean() * (mean @ means[seed])) * share
        got = found[0, 1].flatten()[torch.from_numpy(label == c)] / 20 + 0.1
        torch.testing.assert_close(got, torch.full_like(got, score), atol=1e-4, rtol=1e-3)


def test_directions_of_positions_are_those_of_a_black_image():
    torch.manual_seed(0)
    method = INSID3(encoder(), positional_share=0.25).eval()
    black = method.encoder(torch.zeros(1, 3, 24, 32, dtype=torch.uint8))[0][0].flatten(1)
    black = F.normalize(black, dim=0)
    directions = torch.linalg.svd(black - black.mean(1, keepdim=True)).U[:, :4]
    with torch.no_grad():
        cells = method._without_positions(method.encoder(torch.randint(0, 256, (2, 3, 24, 32)))[0][None])
    assert (cells @ directions).abs().max() < 1e-5
    torch.testing.assert_close(cells.norm(dim=-1), torch.ones(cells.shape[:-1]))


def test_directions_follow_the_weights():
    method = INSID3(encoder()).eval()
    first = method._basis(6, 8)
    assert method._basis(6, 8) is first
    with torch.no_grad():
        next(method.encoder.parameters()).mul_(-2)
    assert method._basis(6, 8) is not first


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KernelDensityRatio(encoder(), ()), "multiples none"),
        (lambda: KernelDensityRatio(encoder(), (1.0, -1.0)), "multiples 1, -1"),
        (lambda: MixtureClassifier(encoder(), components=0), "components 0"),
        (lambda: MixtureClassifier(encoder(), gram=True), "gram is a map of max_times_mean"),
        (lambda: INSID3(encoder(), tau=2.0), "tau 2.0"),
        (lambda: INSID3(encoder(), positional_share=-0.1), "positional_share -0.1"),
    ],
)
def test_bad_options_are_one_line(make, words):
    with pytest.raises(FssegError, match=words) as error:
        make()
    assert "\n" not in str(error.value)
