"""RPMMs against numbers of their official code; tolerances are those of golden/README.md."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.methods import RPMMs
from fsseg.official_codes.pmms import head_name
from fsseg.ops.em import Mixture
from tests.oracle_weights import (
    close,
    close_norms,
    close_prediction,
    first_shot,
    given_case,
    load_named,
    low_resolution,
    recipe_state,
    record,
)

Oracle = Callable[[str], dict[str, np.ndarray]]
CASE = "rpmms_head_small_b"
LOGITS = (1e-4, 3e-4, 3e-4)  # tolerance of each stage


class Head:
    """The narrow head on given features: 5 shots, of which 1-shot takes the first."""

    def __init__(self, stored: dict[str, np.ndarray], folder: Path, **options: Any) -> None:
        self.stored = stored
        self.encoder, self.five = given_case(stored)
        self.one = first_shot(self.five)
        self.method = RPMMs(self.encoder, channels=16, dropout=0.0, **options)
        state = recipe_state(folder, CASE, head_name)
        for stage, components in enumerate(stored["num_pro"]):
            state[f"mixtures.{stage}.start"] = torch.from_numpy(stored[f"mu0_k{components}"])[0].T
        load_named(self.method, state)


@pytest.fixture(scope="module")
def tested(oracle: Oracle, oracle_folder: Path) -> Head:
    head = Head(oracle(CASE), oracle_folder)
    head.method.eval().requires_grad_(False)
    head.encoder.maps.requires_grad_(False)
    return head


def test_logits_of_all_stages_and_loss(tested: Head) -> None:
    with record(tested.method, "decoder") as outputs:
        loss = tested.method.loss(tested.one)["loss"]
    for stage, (logits, atol) in enumerate(zip(outputs["decoder"], LOGITS, strict=True)):
        close(logits, tested.stored[f"eval_out{stage}"], atol)
    close(loss, tested.stored["eval_loss"], 5e-4)


def test_one_shot_is_answered_by_the_last_stage(tested: Head) -> None:
    logits = low_resolution(tested.method, tested.one)
    close(logits[:, 0], tested.stored["eval_out2"], 3e-4)


@pytest.mark.parametrize(("size", "key"), [((193, 193), "eval_pred"), ((101, 77), "eval_pred_101x77")])
def test_predictions_at_any_size(tested: Head, size: tuple[int, int], key: str) -> None:
    sizes = torch.tensor(size).expand(2, 1, 2)
    batch = tested.one._replace(query_mask=torch.zeros(2, 1, *size, dtype=torch.uint8), query_size=sizes)
    close_prediction(tested.method(batch), tested.stored[key])


def test_five_shots_are_answered_by_the_mean_of_the_stages(tested: Head) -> None:
    mean = low_resolution(tested.method, tested.five)
    close(mean[:, 0] * 3 / 5, tested.stored["eval_5shot_out"], 1e-4)  # the official sum of three is divided by 5
    close_prediction(tested.method(tested.five), tested.stored["eval_5shot_pred"])


def test_the_answer_can_be_chosen_whatever_the_shots(tested: Head, oracle_folder: Path) -> None:
    stages = [torch.from_numpy(tested.stored[f"eval_out{stage}"]) for stage in range(3)]
    expected = {"last": stages[-1], "mean": sum(stage.softmax(1) for stage in stages) / 3}
    for answer, logits in expected.items():
        method = Head(tested.stored, oracle_folder, answer=answer).method.eval()
        close(low_resolution(method, tested.one)[:, 0], logits, 3e-4)
    last = Head(tested.stored, oracle_folder, answer="last")
    with record(last.method.eval(), "decoder") as outputs:
        logits = low_resolution(last.method, last.five)
    assert torch.equal(logits[:, 0], outputs["decoder"][-1])


@pytest.fixture(scope="module")
def trained(oracle: Oracle, oracle_folder: Path) -> Head:
    """After one loss and its gradient; ``logits`` are those of the stages."""
    head = Head(oracle(CASE), oracle_folder)
    with record(head.method.train(), "decoder") as outputs:
        head.losses = head.method.loss(head.one)
    head.logits = outputs["decoder"]
    head.losses["loss"].backward()
    return head


def test_training_logits_of_all_stages(trained: Head) -> None:
    for stage, (logits, atol) in enumerate(zip(trained.logits, LOGITS, strict=True)):
        close(logits, trained.stored[f"train_out{stage}"], atol)


def test_training_loss_is_the_sum_over_the_stages(trained: Head) -> None:
    close(trained.losses["loss"], trained.stored["train_loss"], 5e-4)
    close(trained.losses["stage2"], trained.stored["train_loss_mid"], 5e-4)
    close(trained.losses["stage3"], trained.stored["train_loss_last"], 5e-4)


def test_gradients_of_all_parameters(trained: Head) -> None:
    close_norms(trained.method, head_name, trained.stored["grad_names"], trained.stored["grad_norms"], 1e-4)
    close(trained.method.decoder.classify.weight.grad, trained.stored["grad_layer9_weight"], 1e-5)
    close(trained.method.reduce[0].weight.grad, trained.stored["grad_layer5_weight"], 1e-5)


def test_gradients_reach_the_queries_features_but_not_the_supports(trained: Head) -> None:
    assert trained.stored["grad_support_is_none"].all()
    support, query = trained.encoder.maps.grad.split([10, 2])
    assert (support == 0).all()
    for stage, gradient in zip((2, 3), query.split([32, 64], dim=1), strict=True):
        close(gradient.norm(), trained.stored[f"grad_query_stage{stage}_norm"], atol=0, rtol=1e-4)


def test_running_statistics_move_once_per_pass(trained: Head) -> None:
    close(trained.method.reduce[1].running_mean, trained.stored["bn_running_mean_layer5"], 1e-5)
    close(trained.method.reduce[1].running_var, trained.stored["bn_running_var_layer5"], 1e-5)


def test_redrawn_starts_are_for_training_alone(tested: Head, oracle_folder: Path) -> None:
    redrawn = Head(tested.stored, oracle_folder, mixture=Mixture(redraw=True))
    losses = [redrawn.method.train().loss(redrawn.one)["loss"].item() for _ in range(2)]
    assert losses[0] != losses[1]
    fresh = Head(tested.stored, oracle_folder, mixture=Mixture(redraw=True))
    close(fresh.method.eval().loss(fresh.one)["loss"], tested.stored["eval_loss"], 5e-4)


def test_starts_of_the_stages_are_seeded_and_unrelated() -> None:
    first, again, other = (
        RPMMs(ConvNet(), components=(1, 2, 2), mixture=Mixture(seed=seed)).mixtures for seed in (3, 3, 5)
    )
    assert all(torch.equal(a.start, b.start) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a.start, b.start) for a, b in zip(first, other, strict=True))
    rows = torch.cat([mixture.start for mixture in first])
    assert len(rows.unique(dim=0)) == 5


def test_no_stage_is_refused() -> None:
    with pytest.raises(FssegError, match=r"RPMMs: components is empty.*\[1, 3, 6\]"):
        RPMMs(ConvNet(), components=())
