from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg.errors import FssegError
from fsseg.ops.em import Mixture, PrototypeMixture, Prototypes
from fsseg.ops.pooling import mask_at_cells

Oracle = Callable[[str], dict[str, np.ndarray]]
EPS = 1e-6


def close(actual: Tensor, expected: np.ndarray, atol: float, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=rtol, atol=atol)


# Against the official code


@pytest.fixture(scope="module", params=["pmms_em_k1", "pmms_em_k3", "pmms_em_k3_slow", "pmms_em_k5"])
def case(request: pytest.FixtureRequest, oracle: Oracle) -> dict[str, Any]:
    """Inputs, expected values and, under ``ours``, mixture and prototypes."""
    stored = oracle(request.param)
    settings = Mixture(int(stored["stage_num"]), float(stored["kappa"]))
    mixture = PrototypeMixture(stored["mu0"].shape[1], int(stored["K"]), settings)
    mixture.load_state_dict({"start": torch.from_numpy(stored["mu0"])[0].T})
    mask = torch.from_numpy(stored["support_mask"]).float()
    prototypes = mixture(torch.from_numpy(stored["support_feature"]).unsqueeze(1), mask, 1 - mask)
    atol = 3e-5 if request.param.startswith("pmms_em_k3") else 1e-5
    return stored | {"ours": mixture, "prototypes": prototypes, "atol": atol}


def test_the_mask_at_feature_resolution_is_the_official_one(case: dict[str, Any]) -> None:
    mask = torch.from_numpy(case["support_mask"]).float()
    close(mask_at_cells(mask, (13, 13)), case["mask_lowres"], 1e-6)


def test_prototypes_are_the_official_ones(case: dict[str, Any]) -> None:
    close(case["prototypes"].foreground, case["mu_f"], case["atol"])
    close(case["prototypes"].background, case["mu_b"], case["atol"])


def test_probabilities_are_the_official_ones(case: dict[str, Any]) -> None:
    query = torch.from_numpy(case["query_feature"])
    close(case["ours"].component_probability(query, case["prototypes"]), case["P"], 3e-5)
    close(case["ours"].probability(query, case["prototypes"]), case["prob_map"], 1e-5)


def with_rounds(stored: dict[str, np.ndarray], rounds: int) -> Prototypes:
    """Prototypes of an official case, after so many rounds."""
    mixture = PrototypeMixture(stored["mu0"].shape[1], int(stored["K"]), Mixture(rounds))
    mixture.load_state_dict({"start": torch.from_numpy(stored["mu0"])[0].T})
    mask = torch.from_numpy(stored["support_mask"]).float()
    prototypes: Prototypes = mixture(torch.from_numpy(stored["support_feature"]).unsqueeze(1), mask, 1 - mask)
    return prototypes


def test_a_dead_prototype_is_the_zero_vector_and_stays(oracle: Oracle) -> None:
    stored = oracle("pmms_em_k5")
    for means, expected in zip(with_rounds(stored, 20), (stored["mu_f"], stored["mu_b"]), strict=True):
        dead = torch.from_numpy(expected == 0).all(-1)
        assert dead.any()
        assert torch.equal((means == 0).all(-1), dead)


@pytest.mark.parametrize("rounds", [9, 11])
def test_one_round_fewer_or_more_is_another_result(oracle: Oracle, rounds: int) -> None:
    stored = oracle("pmms_em_k3_slow")  # has not converged after the official 10
    assert np.abs(with_rounds(stored, rounds).foreground.numpy() - stored["mu_f"]).max() > 1e-4


# Against loops in double precision


def inputs(episodes: int = 2, shot: int = 2, channels: int = 5) -> tuple[Tensor, Tensor]:
    """Features, and a soft mask at their resolution: resizing it is a matter of pooling."""
    return torch.randn(episodes, shot, channels, 4, 3), torch.rand(episodes, shot, 4, 3)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / (EPS + np.linalg.norm(vector))


def softmax(values: np.ndarray) -> np.ndarray:
    exponential = np.exp(values - values.max())
    return exponential / exponential.sum()


def by_loops(mixture: PrototypeMixture, feature: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Means of one mixture for one episode, in double."""
    shots, _, height, width = feature.shape
    cells = [(k, y, x) for k in range(shots) for y in range(height) for x in range(width)]
    means = list(mixture.start.double().numpy())
    for _ in range(mixture.settings.rounds):
        total, mass = [np.zeros_like(mean) for mean in means], [0.0] * len(means)
        for k, y, x in cells:
            sample, weight = feature[k, :, y, x], mask[k, y, x]
            if mixture.settings.hard_selection:
                weight = float(weight >= 0.5)
            if mixture.settings.normalise_samples:
                sample = unit(sample)
            if mixture.settings.kernel == "vmf":
                sample = weight * sample
                share = softmax(np.array([mixture.settings.kappa * sample @ mean for mean in means]))
            else:
                share = weight * softmax(np.array([-((sample - mean) ** 2).sum() for mean in means]))
            for p in range(len(means)):
                total[p] = total[p] + share[p] * sample
                mass[p] += share[p]
        means = [t / (EPS + m) for t, m in zip(total, mass, strict=True)]
        if mixture.settings.kernel == "vmf":
            means = [unit(mean) for mean in means]
    return np.stack(means)


OPTIONS: dict[str, dict[str, Any]] = {
    "vmf": {},
    "gaussian": {"kernel": "gaussian"},
    "cosine": {"normalise_samples": True},
    "hard": {"hard_selection": True},
    "as in the paper": {"normalise_samples": True, "hard_selection": True},
    "gaussian, hard": {"kernel": "gaussian", "hard_selection": True},
}


def small(**options: Any) -> PrototypeMixture:
    components = options.pop("components", 3)
    return PrototypeMixture(5, components, Mixture(**{"rounds": 3, "kappa": 4.0, "seed": 1, **options}))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_means_are_those_of_loops_over_cells_and_components(options: dict[str, Any]) -> None:
    (feature, mask), mixture = inputs(), small(**options)
    prototypes = mixture(feature, mask, 1 - mask)
    for means, weight in ((prototypes.foreground, mask), (prototypes.background, 1 - mask)):
        pairs = zip(feature.double().numpy(), weight.double().numpy(), strict=True)
        close(means, np.stack([by_loops(mixture, *pair) for pair in pairs]), 1e-5)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_episodes_of_a_batch_do_not_meet(options: dict[str, Any]) -> None:
    (feature, mask), mixture = inputs(episodes=3), small(**options)
    together = torch.cat(mixture(feature, mask, 1 - mask), dim=1)
    alone = [torch.cat(mixture(f[None], m[None], 1 - m[None]), dim=1) for f, m in zip(feature, mask, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_probability_is_a_softmax_over_all_components_background_first() -> None:
    (feature, mask), mixture, query = inputs(), small(), 3 * torch.randn(2, 5, 2, 3)
    prototypes = mixture(feature, mask, 1 - mask)
    means = torch.cat(prototypes, dim=1).double().numpy()
    for b, y, x in np.ndindex(2, 2, 3):
        expected = softmax(means[b] @ query[b, :, y, x].double().numpy())
        close(mixture.component_probability(query, prototypes)[b, :, y, x], expected, 1e-6)
        both = [expected[3:].sum(), expected[:3].sum()]
        close(mixture.probability(query, prototypes)[b, :, y, x], np.array(both), 1e-6)


@pytest.mark.parametrize("kernel", ["vmf", "gaussian"])
def test_empty_masks_give_zero_prototypes(kernel: str) -> None:
    (feature, mask), mixture = inputs(), small(kernel=kernel)
    prototypes = mixture(feature, torch.zeros_like(mask), torch.zeros_like(mask))
    assert all((means == 0).all() for means in prototypes)
    assert (mixture.probability(feature[:, 0], prototypes) == 0.5).all()
    only = mixture(feature, mask, torch.zeros_like(mask))
    assert torch.equal(only.foreground, mixture(feature, mask, 1 - mask).foreground)
    assert (only.background == 0).all()


# Gradient


def directional(value: Callable[[np.ndarray], float], at: np.ndarray, direction: np.ndarray) -> float:
    """Central difference, in double."""
    step = 1e-5
    return (value(at + step * direction) - value(at - step * direction)) / (2 * step)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_the_gradient_is_that_of_loops_by_finite_differences(options: dict[str, Any]) -> None:
    (feature, mask), mixture = inputs(episodes=1), small(gradient=True, **options)
    feature.requires_grad_()
    weights = torch.randn(1, 3, 5)
    (mixture(feature, mask, 1 - mask).foreground * weights).sum().backward()

    def value(moved: np.ndarray) -> float:
        return float((by_loops(mixture, moved[0], mask[0].double().numpy()) * weights[0].double().numpy()).sum())

    for _ in range(3):
        direction = torch.randn_like(feature)
        expected = directional(value, feature.detach().double().numpy(), direction.double().numpy())
        assert (feature.grad * direction).sum().item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_gradient_passes_the_probability_too() -> None:
    (feature, mask), mixture = inputs(episodes=1), small(gradient=True)
    prototypes = Prototypes(*(means.clone().requires_grad_() for means in mixture(feature, mask, 1 - mask)))
    query = feature[:, 0].clone().requires_grad_()
    mixture.probability(query, prototypes)[0, 1, 2, 1].backward()
    direction = torch.randn(5)

    def value(moved: np.ndarray) -> float:
        return float(softmax(np.concatenate([m[0].detach().double() for m in prototypes]) @ moved)[:3].sum())

    expected = directional(value, query[0, :, 2, 1].detach().double().numpy(), direction.double().numpy())
    assert (query.grad[0, :, 2, 1] * direction).sum().item() == pytest.approx(expected, rel=1e-4)
    assert all(means.grad.abs().max() > 0 for means in prototypes)


def test_without_gradient_nothing_is_recorded() -> None:
    (feature, mask), mixture = inputs(), small()
    feature.requires_grad_()
    prototypes = mixture(feature, mask, 1 - mask)
    assert not any(means.requires_grad for means in prototypes)
    assert not mixture.probability(feature[:, 0], prototypes).requires_grad
    assert torch.is_grad_enabled()


def test_no_grad_around_a_mixture_that_has_a_gradient_holds() -> None:
    (feature, mask), mixture = inputs(), small(gradient=True)
    with torch.no_grad():
        prototypes = mixture(feature.requires_grad_(), mask, 1 - mask)
    assert not any(means.requires_grad for means in prototypes)


# Precision


@pytest.mark.parametrize("kernel", ["vmf", "gaussian"])
def test_autocast_around_it_changes_nothing(kernel: str) -> None:
    (feature, mask), mixture, query = inputs(), small(kernel=kernel), torch.randn(2, 5, 3, 3)
    wide = mixture(feature, mask, 1 - mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = mixture(feature, mask, 1 - mask)
        probability = mixture.probability(query, narrow)
    assert all(torch.equal(a, b) for a, b in zip(narrow, wide, strict=True))
    assert torch.equal(probability, mixture.probability(query, wide))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_narrow_features_are_widened_first(options: dict[str, Any]) -> None:
    (feature, mask), mixture = inputs(), small(**options)
    narrow = feature.bfloat16()
    prototypes, expected = (mixture(f, mask, 1 - mask) for f in (narrow, narrow.float()))
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in zip(prototypes, expected, strict=True))


# The start


def test_the_start_is_seeded_and_not_of_torchs_generator() -> None:
    first = small(seed=3)
    torch.rand(7)
    assert torch.equal(first.start, small(seed=3).start)
    assert not torch.equal(first.start, small(seed=4).start)
    close(first.start.norm(dim=-1), np.ones(3), 1e-5)


def test_the_start_is_part_of_the_state() -> None:
    (feature, mask), first, second = inputs(), small(seed=3), small(seed=4)
    assert list(first.state_dict()) == ["start"]
    assert not list(first.parameters())
    second.load_state_dict(first.state_dict())
    expected = first(feature, mask, 1 - mask)
    assert all(torch.equal(a, b) for a, b in zip(second(feature, mask, 1 - mask), expected, strict=True))


def test_redrawing_starts_anew_in_training_and_keeps_the_stored_start_for_testing() -> None:
    (feature, mask), mixture, stored = inputs(), small(redraw=True), small()

    def means(module: PrototypeMixture) -> Tensor:
        return torch.cat(module(feature, mask, 1 - mask))

    mixture.train()
    assert not torch.equal(means(mixture), means(mixture))
    torch.manual_seed(5)
    drawn = means(mixture)
    torch.manual_seed(5)
    assert torch.equal(means(mixture), drawn)
    assert torch.equal(mixture.start, stored.start)
    assert torch.equal(means(mixture.eval()), means(stored.eval()))
    assert torch.equal(means(stored.train()), means(stored.eval()))


@pytest.mark.parametrize(
    "mistake", [{"components": 0}, {"rounds": 0}, {"kappa": 0.0}, {"kappa": -1.0}, {"kappa": float("nan")}]
)
def test_what_cannot_be_is_said_in_one_line(mistake: dict[str, float]) -> None:
    with pytest.raises(FssegError) as error:
        small(**mistake)
    ((name, value),) = mistake.items()
    assert f"{name} {value:g}" in str(error.value)
    assert "\n" not in str(error.value)
