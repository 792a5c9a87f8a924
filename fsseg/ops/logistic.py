"""Logistic regression with soft labels: a convex problem, so that the solution does not depend on a start."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

_STEPS = 500  # of L-BFGS; about 50 are needed
_GRADIENT = 1e-6  # largest entry of the gradient at the solution
_MOST = 2**27  # numbers of all samples together, 1 GB of float64; more samples are thinned out at equal steps


@torch.no_grad()
def fit_logistic(
    sample: Float[Tensor, "n C"], weight: Float[Tensor, "n 2"], decay: float
) -> tuple[Float[Tensor, " C"], Float[Tensor, ""]]:
    """Coefficients and intercept of the logit ``sample @ coefficients + intercept``.

    The solution minimises the mean log loss, in which both sides have half of the weight, plus ``decay / 2`` times the
    squared norm of the coefficients. It is found by L-BFGS in float64.

    Args:
        sample: one row per sample.
        weight: weight of each sample on the positive and on the negative side; a soft label has both.
        decay: weight decay, above 0. The intercept has none.

    Returns:
        Zeros if a side has no weight, since then there is nothing to separate.
    """
    step = max(1, -(-sample.numel() // _MOST))
    labelled = weight.sum(1).nonzero()[::step, 0]
    x, sides = (one[labelled].cpu().double().numpy() for one in (sample, weight))
    total = sides.sum(0)
    if not (total > 0).all() or not np.isfinite(x).all():
        return sample.new_zeros(sample.shape[1]), sample.new_zeros(())
    positive, negative = (sides / (2 * total)).T
    centre = x.mean(0)  # the loss is better conditioned around the mean, and its minimum the same
    x -= centre

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:  # type: ignore[type-arg]
        logit = x @ values[:-1] + values[-1]
        terms = positive @ np.logaddexp(0, -logit) + negative @ np.logaddexp(0, logit)
        error = (positive + negative) * expit(logit) - positive
        gradient = np.append(error @ x + decay * values[:-1], error.sum())
        return float(terms + decay / 2 * values[:-1] @ values[:-1]), gradient

    options = {"maxiter": _STEPS, "gtol": _GRADIENT, "ftol": 0.0}
    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options=options).x
    intercept = found[-1] - centre @ found[:-1]
    return sample.new_tensor(found[:-1]), sample.new_tensor(float(intercept))
