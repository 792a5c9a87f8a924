"""Learning rates: groups and the polynomial schedule; tests/methods compares both with the official code's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import OneCycleLR, PolynomialLR

from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.methods import PMMs, SGOne
from fsseg.optim import Poly
from fsseg.task import Task


def encoder() -> ConvNet:
    return ConvNet((8, 8), (2, 2), convolutions=1)


def task(**arguments: object) -> Task:
    return Task(PMMs(encoder(), channels=8), **arguments)  # type: ignore[arg-type]


def rates(task: Task) -> dict[str, float]:
    """Rate of each parameter by its name."""
    names = {id(p): name for name, p in task.method.named_parameters()}
    groups = task.configure_optimizers()["optimizer"].param_groups
    return {names[id(p)]: group["lr"] for group in groups for p in group["params"]}


def test_without_factors_all_parameters_learn_at_one_rate() -> None:
    made = task().configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in made] == [1e-3]
    assert len(made[0]["params"]) == len(list(task().method.parameters()))


def test_factors_reach_new_layers_and_biases() -> None:
    found = rates(task(head_lr=10.0, bias_lr=2.0))
    assert found.keys() == dict(task().method.named_parameters()).keys()
    for name, rate in found.items():
        factor = (1 if name.startswith("encoder.") else 10) * (2 if name.endswith("bias") else 1)
        assert rate == pytest.approx(1e-3 * factor), name


def test_sg_one_speeds_up_its_guidance_layer_alone() -> None:
    found = rates(Task(SGOne(encoder(), guidance=8, channels=8), head_lr=10.0))
    assert {name for name, rate in found.items() if rate > 5e-3} == {"guidance.weight", "guidance.bias"}


def test_frozen_parameters_are_left_out() -> None:
    frozen = task()
    frozen.method.encoder.requires_grad_(False)
    assert not any(name.startswith("encoder.") for name in rates(frozen))


def test_a_method_with_nothing_to_train_is_refused() -> None:
    frozen = task()
    frozen.method.requires_grad_(False)
    with pytest.raises(FssegError, match="nothing to train"):
        frozen.configure_optimizers()


@pytest.mark.parametrize("factors", [{"head_lr": 0.0}, {"bias_lr": -1.0}, {"head_lr": float("nan")}])
def test_a_factor_that_is_not_positive_is_refused(factors: dict[str, float]) -> None:
    with pytest.raises(FssegError, match="factors above 0"):
        task(**factors)


def test_a_schedule_that_would_drop_the_factors_is_refused() -> None:
    one_cycle: Callable = lambda o: OneCycleLR(o, max_lr=1e-3, total_steps=10)  # noqa: E731
    task(lr_scheduler=one_cycle, optimizer=AdamW).configure_optimizers()
    with pytest.raises(FssegError, match="OneCycleLR gives all parameters one rate"):
        task(lr_scheduler=one_cycle, optimizer=AdamW, head_lr=10.0).configure_optimizers()


def test_poly_is_torchs_polynomial_one_step_ahead() -> None:
    made = []
    for schedule in (lambda o: Poly(o, total_steps=9), lambda o: PolynomialLR(o, total_iters=9, power=0.9)):
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        scheduler = schedule(optimizer)
        followed = []
        for _ in range(9):
            followed.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        made.append([*followed, optimizer.param_groups[0]["lr"]])
    assert made[0][:-1] == pytest.approx(made[1][1:], abs=1e-12)
    assert made[0][-1] == 0


def test_poly_resumes_where_it_was() -> None:
    def start() -> tuple[SGD, Poly]:
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        return optimizer, Poly(optimizer, total_steps=9)

    optimizer, schedule = start()
    for _ in range(4):
        optimizer.step()
        schedule.step()
    again, resumed = start()
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    again.step()
    resumed.step()
    optimizer.step()
    schedule.step()
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_the_schedule_equals_pfenets_code(oracle_folder: Path) -> None:
    """With ten times the base rate, with and without warm-up."""
    rows = json.loads((oracle_folder / "pfenet_lr_lists.json").read_text())["lr"]
    for base, steps, warm, warmup, count, expected in rows:
        optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=10 * base)
        schedule = Poly(optimizer, total_steps=steps, warmup_steps=warmup if warm else 0)
        schedule.last_epoch = count - 1
        assert schedule.get_lr() == pytest.approx([expected], rel=1e-12)


def test_a_negative_warm_up_is_refused() -> None:
    with pytest.raises(FssegError, match="warmup_steps -1; give at least 2 steps"):
        Poly(SGD([torch.zeros(1, requires_grad=True)], lr=1.0), warmup_steps=-1)
