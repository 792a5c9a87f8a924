"""CANet against numbers of its official code; tolerances are those of golden/README.md."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg.encoders import ConvNet, ResNet
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.losses import upsample
from fsseg.methods import CANet, canet
from fsseg.metrics import ClassIoU, count
from fsseg.official_codes.pmms import canet_name
from tests.oracle_weights import close, load_named, one_way, recipe_state, record

Oracle = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def stored(oracle: Oracle) -> dict[str, np.ndarray]:
    return oracle("canet_full_129")


@pytest.fixture(scope="module")
def batch(stored: dict[str, np.ndarray]) -> Batch:
    return one_way(stored["images_u8"], stored["support_label"][None], stored["query_label"][None])


@pytest.fixture(scope="module")
def network(stored: dict[str, np.ndarray], oracle_folder: Path) -> CANet:
    """The whole network with three iterations; dropout drops nothing."""
    method = CANet(ResNet(weights="none", frozen=True), iterations=3, dropout=0.0)
    load_named(method, recipe_state(oracle_folder, "canet_full_129", canet_name))
    return method


@pytest.fixture(scope="module")
def evaluated(network: CANet, batch: Batch) -> dict[str, list[Tensor]]:
    """Outputs of the parts, and under ``logits`` the answer at pixels."""
    with torch.no_grad(), record(network.eval(), "reduce", "decoder") as outputs:
        logits = network(batch)
    return outputs | {"logits": [logits]}


@pytest.mark.slow
def test_features_and_pooled_support(
    network: CANet, evaluated: dict[str, list[Tensor]], stored: dict[str, np.ndarray], batch: Batch
) -> None:
    support, query = evaluated["reduce"]
    close(support[:, ::16], stored["feat_support_sub"], 3e-4)
    close(query[:, ::16], stored["feat_query_sub"], 3e-4)
    mask = batch.support_mask.flatten(0, 1).float()
    (vector,) = network.adapt_way((support.unsqueeze(1),), mask, 1 - mask)
    close(vector[0, 0], stored["z"], 5e-5)


def test_each_iteration(evaluated: dict[str, list[Tensor]], stored: dict[str, np.ndarray]) -> None:
    assert len(evaluated["decoder"]) == 4
    for iteration, logits in enumerate(evaluated["decoder"]):
        close(logits, stored[f"pred_iter{iteration}"], 3e-4)


def test_the_answer_is_the_last_iterations_with_aligned_corners(
    network: CANet, evaluated: dict[str, list[Tensor]], stored: dict[str, np.ndarray]
) -> None:
    large = upsample(evaluated["decoder"][0], (129, 129), network.align_corners)
    close(large[:, :, ::4, ::4], stored["upsampled_sub_iter0"], 3e-4)
    last = torch.from_numpy(stored["pred_iter3"])
    # 129 pixels on 17 cells: with aligned corners every eighth pixel is a cell's.
    close(evaluated["logits"][0][:, 0, :, ::8, ::8], last, 3e-4)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_training_supervises_one_answer_whose_history_is_zero_or_the_first_answer(
    network: CANet, batch: Batch, stored: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(canet, "HISTORY", share)
    network.train().encoder.eval()  # the oracle's BatchNorm is that of evaluation
    with torch.no_grad(), record(network, "decoder") as outputs:
        losses = network.loss(batch)
    close(outputs["decoder"][-1], stored[f"pred_iter{int(share)}"], 3e-4)
    if not share:
        close(losses["loss"], stored["loss_iter0"], 3e-4)


def test_the_encoder_is_frozen_and_the_head_is_not(network: CANet) -> None:
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in network.named_parameters() if network.learns_fast(name)}
    assert not any(name.startswith("encoder.") for name in trained)


def test_intersections_and_unions_are_the_official_ones(oracle: Oracle) -> None:
    stored = oracle("canet_iou")
    prediction, target = (torch.from_numpy(stored[name]).unsqueeze(1) for name in ("pred", "target"))
    number = torch.arange(1, len(target) + 1)  # each image a class of its own
    metric = ClassIoU(tuple(number.tolist()))
    metric.update(count(prediction, target, 1), number.unsqueeze(1), torch.zeros_like(number))
    assert metric.intersection[0, 1:].tolist() == stored["inter"].tolist()
    assert metric.union[0, 1:].tolist() == stored["union"].tolist()
    (per_class,) = metric.compute().per_class
    nothing = stored["union"] == 0  # 0 to the official code, nothing to count to us
    assert per_class.isnan().tolist() == nothing.tolist()
    close(per_class.nan_to_num(), stored["iou"], 0)


# What no official code tells


def tiny(**options: object) -> CANet:
    return CANet(ConvNet((8,), (2,), convolutions=1), channels=6, **options)


def compared(method: CANet, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """The comparison with each shot, and what entered the decoder."""
    entered: list[Tensor] = []
    hook = method.decoder.register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0]))
    with torch.no_grad(), record(method.eval(), "match") as outputs:
        method(batch)
    hook.remove()
    return outputs["match"][0], entered[0]


def test_shots_are_averaged_after_the_comparison(make_batch: Callable[..., Batch]) -> None:
    each, entered = compared(tiny(), make_batch(shot=3))
    torch.testing.assert_close(entered, (each[0] + each[1] + each[2]) / 3)


def test_attention_weights_shots_by_a_softmax_of_one_number_each(make_batch: Callable[..., Batch]) -> None:
    method = tiny(fusion="attention")
    batch = make_batch(shot=3)
    with record(method, "attention") as outputs:
        each, entered = compared(method, batch)
    scores = torch.stack(outputs["attention"])
    assert scores.shape == (3, 1)
    weight = scores.exp() / scores.exp().sum(0)
    assert weight.min() < 1 / 3 < weight.max()
    expected = sum(w * comparison for w, comparison in zip(weight, each, strict=True))
    torch.testing.assert_close(entered, expected)


def test_autocast_does_not_narrow_the_pooled_vectors() -> None:
    method, feature, mask = tiny(), torch.randn(2, 3, 6, 5, 5), (torch.rand(2, 3, 24, 24) < 0.5).float()
    (expected,) = method.adapt_way((feature,), mask, 1 - mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (vectors,) = method.adapt_way((feature,), mask, 1 - mask)
    assert torch.equal(vectors, expected)


def test_the_baseline_has_no_history_and_a_name_of_its_own() -> None:
    baseline, refining = tiny(iterations=0), tiny()
    assert (baseline.name, refining.name) == ("CANet baseline", "CANet")
    widths = [method.decoder.residual[0].layers[1].in_channels for method in (baseline, refining)]
    assert widths == [6, 8]


def test_about_three_tenths_of_the_training_runs_see_an_earlier_answer() -> None:
    method, runs = tiny().train(), 500
    seen: list[Tensor] = []
    method.decoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1]))
    (logits,) = method.stages((torch.randn(runs, 1, 6),), (torch.randn(runs, 6, 2, 2),))
    assert logits.shape == (runs, 2, 2, 2)
    first, history = seen
    assert not first.any()
    assert (logits.requires_grad, history.requires_grad) == (True, False)
    used = history.flatten(1).any(1)
    assert 0.25 < used.float().mean() < 0.35
    torch.testing.assert_close(history[used].sum(1), torch.ones(int(used.sum()), 2, 2))


def test_fewer_than_no_iterations_are_refused() -> None:
    with pytest.raises(FssegError, match="CANet: iterations -1; 0 or more are needed"):
        tiny(iterations=-1)


def test_the_baseline_has_no_aligned_corners_as_the_recipe_it_is_trained_by() -> None:
    assert not CANet(ConvNet((8,), (2,), convolutions=1), iterations=0, channels=8).align_corners
