"""The optimum is where the gradient, computed by autograd in float64, is zero, and where Newton's method ends."""

import pytest
import torch
from torch.nn import functional as F

from fsseg.ops import logistic
from fsseg.ops.logistic import fit_logistic


def problem(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    sample = 3 * torch.randn(60, 5, generator=random, dtype=torch.float64) + 7
    weight = torch.rand(60, 2, generator=random, dtype=torch.float64)
    weight[:20, 0], weight[20:40, 1] = 0, 0
    return sample, weight


def loss(values: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor, decay: float) -> torch.Tensor:
    """Written out from the docstring."""
    logit = sample @ values[:-1] + values[-1]
    shares = weight / weight.sum(0) / 2
    sides = (shares[:, 0] * F.softplus(-logit)).sum(), (shares[:, 1] * F.softplus(logit)).sum()
    return sum(sides) + decay / 2 * values[:-1].square().sum()


@pytest.mark.parametrize("decay", [1e-3, 0.1, 10.0])
def test_the_gradient_is_zero_at_the_solution(decay):
    sample, weight = problem()
    values = torch.cat([part.reshape(-1) for part in fit_logistic(sample, weight, decay)]).requires_grad_()
    loss(values, sample, weight, decay).backward()
    assert values.grad.abs().max() < 1e-5


def test_it_is_the_solution_of_newtons_method():
    sample, weight = problem(1)
    values = torch.zeros(6, dtype=torch.float64)
    for _ in range(30):
        gradient, hessian = (
            f(lambda v: loss(v, sample, weight, 0.1), values)
            for f in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian)
        )
        values = values - torch.linalg.solve(hessian, gradient)
    coefficients, intercept = fit_logistic(sample, weight, 0.1)
    torch.testing.assert_close(torch.cat([coefficients, intercept[None]]), values, atol=1e-4, rtol=1e-4)


def test_both_sides_weigh_the_same():
    sample, weight = problem()
    more = weight * torch.tensor([1.0, 50.0], dtype=torch.float64)
    for one, other in zip(fit_logistic(sample, weight, 0.1), fit_logistic(sample, more, 0.1), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_nothing_to_separate_gives_zeros():
    sample, weight = problem()
    weight[:, 1] = 0
    assert not any(part.any() for part in fit_logistic(sample, weight, 0.1))
    assert not any(part.any() for part in fit_logistic(sample * torch.nan, 1 + weight, 0.1))


def test_many_samples_are_thinned_out(monkeypatch):
    sample, weight = problem()
    weight += 0.1
    monkeypatch.setattr(logistic, "_MOST", sample.numel() // 2)
    for one, other in zip(fit_logistic(sample, weight, 0.1), fit_logistic(sample[::2], weight[::2], 0.1), strict=True):
        assert torch.equal(one, other)
