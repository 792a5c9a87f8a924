"""Learning rates of the papers: factors per parameter and the polynomial schedule."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fsseg.errors import FssegError


class Poly(LRScheduler):
    """``lr = base * (1 - count / total_steps) ** power``; the first step has count 1 (PMMs' my_optim.py).

    The code runs steps 1 to 200,001 with ``total_steps=200_001``. The last step has rate 0, so that 200,000 steps train
    (section 4.1: 200,000 iterations).

    PFENet's code has the same schedule (util/util.py), with ``total_steps`` epochs times batches, and an optional
    warm-up. It multiplies the rates of all groups by 10, which the paper does not print.

    Args:
        optimizer: optimiser; the ratios of its groups' rates stay.
        total_steps: count at which the rate is 0.
        power: power of the decay (0.9 in the code).
        warmup_steps: count from which on the decay holds; below it, the rate rises linearly from ``0.1 * base``.
        last_epoch: see torch's `LRScheduler`; -1 starts at the first step.

    Raises:
        FssegError: total_steps are below 2, power is not positive, or warmup_steps are negative.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int = 200_001,
        power: float = 0.9,
        warmup_steps: int = 0,
        last_epoch: int = -1,
    ) -> None:
        if total_steps < 2 or not power > 0 or warmup_steps < 0:
            raise FssegError(
                f"Poly: total_steps {total_steps}, power {power:g} and warmup_steps {warmup_steps}; give at least 2 "
                "steps, a power above 0 and a warm-up of 0 steps or more."
            )
        self.total_steps, self.power, self.warmup_steps = total_steps, power, warmup_steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Rate of each group."""
        count = self.last_epoch + 1
        factor = max(1 - count / self.total_steps, 0.0) ** self.power
        if count < self.warmup_steps:
            factor = 0.1 + 0.9 * count / self.warmup_steps
        return [base * factor for base in self.base_lrs]


# Trainable parameters in groups, and the factor of each group's learning rate.
Groups = tuple[list[list[nn.Parameter]], list[float]]


def grouped(
    parameters: Iterable[tuple[str, nn.Parameter]], learns_fast: Callable[[str], bool], head: float, bias: float
) -> Groups:
    """Trainable parameters, grouped by the factor of their learning rate.

    Args:
        parameters: names and parameters.
        learns_fast: whether a name belongs to a layer that starts at random.
        head: factor of such layers.
        bias: additional factor of biases.

    Returns:
        Groups without empty ones, in the order encoder weights, encoder biases, head weights, head biases, and the
        factor of each group. Groups with equal factors are merged.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for factor in (1.0, bias, head, head * bias):
        groups.setdefault(factor, [])
    for name, parameter in parameters:
        if parameter.requires_grad:
            factor = (head if learns_fast(name) else 1.0) * (bias if name.endswith("bias") else 1.0)
            groups[factor].append(parameter)
    filled = {factor: group for factor, group in groups.items() if group}
    return list(filled.values()), list(filled)


def made(
    parameters: Groups,
    optimizer: Callable[[Iterable[Any]], Optimizer],
    lr: float | None = None,
) -> Optimizer:
    """An optimiser of the groups of `grouped`, whose rates have the groups' factors.

    Args:
        parameters: groups and factors.
        optimizer: makes the optimiser of groups.
        lr: rate of factor 1; None for the optimiser's own.

    Raises:
        FssegError: an option of the optimiser is invalid.
    """
    groups, factors = parameters
    try:
        found = optimizer([{"params": group} for group in groups])
    except (TypeError, ValueError) as error:
        raise FssegError(f"`model.optimizer`: {error}") from error
    for group, factor in zip(found.param_groups, factors, strict=True):
        group["lr"] = factor * (group["lr"] if lr is None else lr)
    return found


def scheduled(
    optimizer: Optimizer, factors: Sequence[float], schedule: Callable[[Optimizer], LRScheduler]
) -> LRScheduler:
    """The schedule of an optimiser from `made`.

    Raises:
        FssegError: an option is invalid, or the schedule gives all groups one rate, against their factors.
    """
    try:
        found = schedule(optimizer)
    except (TypeError, ValueError) as error:
        raise FssegError(f"`model.lr_scheduler`: {error}") from error
    rates = [group["lr"] / factor for group, factor in zip(optimizer.param_groups, factors, strict=True)]
    if max(rates) - min(rates) > 1e-6 * max(rates):
        raise FssegError(
            f"`model.lr_scheduler` {type(found).__name__} gives all parameters one rate, against the factors "
            f"{', '.join(f'{factor:g}' for factor in factors)} of `model.head_lr` and bias_lr. Set them to 1, or take "
            "another schedule."
        )
    return found
