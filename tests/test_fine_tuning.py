"""Fine-tuning in a test. Golden values are of our loop around the official FG-BG network (golden/compared.md)."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import SGD

from fsseg import fine_tuning
from fsseg.contracts.trials import awake
from fsseg.encoders import ConvNet
from fsseg.episode import Batch
from fsseg.errors import DivergedError, FssegError
from fsseg.fine_tuning import FineTuning
from fsseg.methods import FGBG, CANet, Method, PANet
from fsseg.task import Task
from tests.conftest import make_batch
from tests.methods.test_fcn_oracle import Oracle, batch, case_of
from tests.oracle_weights import close
from tests.test_task import episodes, trainer


def small(kind: type[Method] = PANet) -> Method:
    torch.manual_seed(0)
    return awake(kind(ConvNet((8, 8), (2, 2), convolutions=1))).eval()


def sgd(method: Method, lr: float = 0.1, **options: float) -> SGD:
    return SGD([p for p in method.parameters() if p.requires_grad], lr=lr, **options)


@pytest.fixture(scope="module")
def fgbg(oracle: Oracle, oracle_folder: Path) -> Any:
    return case_of(FGBG, "fgbg", fc7=True)(oracle, oracle_folder)


@pytest.mark.slow
@pytest.mark.parametrize("shots", [1, 5])
def test_steps_on_supports_in_turn(fgbg: Any, monkeypatch: pytest.MonkeyPatch, shots: int) -> None:
    stored, method = fgbg
    given, losses = batch(stored), []
    compute = method.loss

    def support_as_query(one: Batch, shot: int) -> Batch:  # supports of five sizes fit no batch
        picture = torch.from_numpy(stored[f"support{shot}_u8"]).permute(2, 0, 1).flip(0)[None, None]
        return one._replace(
            query_image=picture, query_mask=torch.from_numpy(stored[f"support{shot}_label"])[None, None]
        )

    def loss(one: Batch) -> Any:
        losses.append(compute(one))
        return losses[-1]

    monkeypatch.setattr(fine_tuning, "_support_as_query", support_as_query)
    monkeypatch.setattr(method, "loss", loss)
    five = [torch.cat([part] * shots, dim=2) for part in (given.support_image, given.support_mask, given.support_id)]
    given = given._replace(support_image=five[0], support_mask=five[1], support_id=five[2])
    lr = float(stored[f"finetune_{shots}shot_lr"])
    tuned = FineTuning(method, 5, lambda: sgd(method, lr, momentum=0.99, weight_decay=5e-4))
    with torch.inference_mode():
        found = tuned.logits(given)[0, 0]
    close(torch.stack([one["loss"] for one in losses]), stored[f"finetune_{shots}shot_losses"], 2e-5)
    close(found, stored[f"finetune_{shots}shot_logits"], 5e-5)


def test_each_episode_starts_afresh() -> None:
    method, given = small(), make_batch(episodes=2, shot=2, size=24)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    tuned = FineTuning(method, 3, lambda: sgd(method))
    with torch.inference_mode():
        both, plain = tuned.logits(given), method(given)
        alone = [tuned.logits(Batch(*(part[b : b + 1] for part in given))) for b in (1, 0)]
    torch.testing.assert_close(both, torch.cat(alone[::-1]))
    assert (both - plain).abs().max() > 1e-3
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


def test_steps_are_those_of_a_training_on_the_supports() -> None:
    """Brute force: the supports of two ways are the queries, shot by shot."""
    given = make_batch(way=2, shot=2, size=24)
    found = FineTuning(small(), 0, lambda: None).logits(given)  # type: ignore[arg-type, return-value]
    torch.testing.assert_close(found, small()(given))
    method, trained = small(), small()
    with torch.inference_mode():
        found = FineTuning(method, 3, lambda: sgd(method)).logits(given)
    optimizer = sgd(trained)
    for shot in (0, 1, 0):
        queries = given._replace(
            query_image=given.support_image[:, :, shot],
            query_mask=given.support_mask[:, :, shot],
            query_size=torch.full((1, 2, 2), 24),
        )
        optimizer.zero_grad()
        trained.loss(queries)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        torch.testing.assert_close(found, trained(given))


@pytest.mark.slow
def test_a_test_tunes_and_encodes_every_image_itself() -> None:
    """Rates are the optimiser's, or the given one; a tuned test has other numbers."""
    means = []
    for options in ({}, {"adapt_steps": 2}, {"adapt_steps": 2, "adapt_lr": 1e-12}):
        task = Task(small(FGBG), lambda p: SGD(p, lr=0.5), **options)
        (logged,) = trainer().test(task, episodes(), verbose=False)
        means.append(logged["test/binary_iou"])
    assert means[0] == pytest.approx(means[2], abs=1e-6)
    assert abs(means[0] - means[1]) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FGBG, CANet])
def test_a_frozen_encoder_sees_an_episode_once(kind: type[Method], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same logits as from steps that encode their images, to rounding."""
    found, images, given = [], [], make_batch(episodes=2, way=2, shot=2, size=24)
    for encoded_once in (True, False):
        method = small(kind)
        method.encoder.freeze(True)
        passes: list[int] = []
        method.encoder.register_forward_hook(lambda _, arguments, __, seen=passes: seen.append(len(arguments[0])))
        if not encoded_once:
            monkeypatch.setattr(fine_tuning.training, "cacheable", lambda method: False)
        with torch.inference_mode():
            found.append(FineTuning(method, 3, partial(sgd, method, 0.5)).logits(given))
        images.append(sum(passes))
    torch.testing.assert_close(*found)
    assert images == [2 * (4 + given.query_image.shape[1]), 2 * (3 * (4 + 2) + 4 + given.query_image.shape[1])]


def test_what_cannot_be_tuned_is_refused() -> None:
    method = small()
    with pytest.raises(DivergedError, match=r"step 1 of fine-tuning. Lower"):
        FineTuning(method, 9, lambda: sgd(method, np.inf)).logits(make_batch(size=24))
    with pytest.raises(FssegError, match=r"`model.adapt_steps` -1"):
        Task(small(), adapt_steps=-1)
    with pytest.raises(FssegError, match=r"`model.adapt_lr` 0: a rate above 0"):
        Task(small(), adapt_lr=0.0)
    frozen = PANet(ConvNet((8, 8), (2, 2), convolutions=1, frozen=True))
    with pytest.raises(FssegError, match="PANet has nothing to train"):
        trainer().test(Task(frozen, adapt_steps=1), episodes(), verbose=False)
