"""Several ways: the rule that merges runs, and the methods that tell one class from background under it."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fsseg.encoders import ConvNet
from fsseg.episode import IGNORE, Batch
from fsseg.losses import upsample
from fsseg.methods import BinaryMethod, CANet, PMMs, RPMMs, SGOne
from fsseg.ops.ways import merge_ways
from tests.oracle_weights import record

MakeBatch = Callable[..., Batch]
METHODS: dict[str, Callable[[ConvNet], BinaryMethod]] = {
    "PMMs": lambda encoder: PMMs(encoder, channels=6),
    "RPMMs": lambda encoder: RPMMs(encoder, components=(1, 2), answer="last", channels=6),
    "CANet": lambda encoder: CANet(encoder, iterations=1, channels=6),
    "SG-One": lambda encoder: SGOne(encoder, guidance=6, channels=6),
}
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


# The rule


def test_one_way_is_left_as_it_is() -> None:
    logits = 30 * torch.randn(2, 3, 1, 2, 4, 5)
    assert torch.equal(merge_ways(logits), logits.squeeze(2))


@pytest.mark.parametrize("way", [1, 2, 3, 5])
def test_probabilities_are_those_of_independent_runs_given_that_at_most_one_is_positive(way: int) -> None:
    logits = 3 * torch.randn(way, 2, 2, 3)
    single = logits.double().softmax(1).numpy()  # of each run alone
    merged = merge_ways(logits).double().softmax(0).numpy()
    assert merged.shape == (1 + way, 2, 3)
    for y, x in np.ndindex(2, 3):
        joint = np.zeros(1 + way)
        for positive in product((0, 1), repeat=way):
            if sum(positive) <= 1:
                label = 1 + positive.index(1) if any(positive) else 0
                joint[label] = np.prod([single[n, p, y, x] for n, p in enumerate(positive)])
        np.testing.assert_allclose(merged[:, y, x], joint / joint.sum(), rtol=1e-5)


@pytest.mark.parametrize("way", [1, 2, 3, 5])
def test_a_pixel_goes_to_the_largest_positive_margin_else_to_background(way: int) -> None:
    logits = torch.randn(2, way, 2, 6, 7)
    prediction = merge_ways(logits).argmax(1)
    for b, y, x in np.ndindex(2, 6, 7):
        margins = [(logits[b, n, 1, y, x] - logits[b, n, 0, y, x]).item() for n in range(way)]
        best = int(np.argmax(margins))
        assert prediction[b, y, x] == (1 + best if margins[best] > 0 else 0)


def test_merging_and_upsampling_commute() -> None:
    logits = torch.randn(2, 3, 2, 4, 5)
    torch.testing.assert_close(merge_ways(upsample(logits, (11, 17))), upsample(merge_ways(logits), (11, 17)))


def test_a_common_shift_of_a_runs_logits_changes_no_probability() -> None:
    logits, shift = torch.randn(3, 2, 4, 5), torch.randn(3, 1, 4, 5)
    torch.testing.assert_close(merge_ways(logits + shift).softmax(0), merge_ways(logits).softmax(0))


# Methods


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> BinaryMethod:
    return METHODS[request.param](ConvNet(widths=(8, 8), strides=(2, 2), convolutions=1)).eval().requires_grad_(False)


def low_resolution(method: BinaryMethod, batch: Batch) -> Tensor:
    support, query = method.features(batch)
    return method.predict(method.adapt(support, batch.support_mask), query)


def one_way(batch: Batch, way: int) -> Batch:
    """An episode of this way alone: pixels of the others are background."""

    def alone(mask: Tensor) -> Tensor:
        label = torch.where(mask == way + 1, 1, 0).to(torch.uint8)
        return label.masked_fill(mask == IGNORE, IGNORE)

    names = ("support_image", "support_id", "support_mask")
    support = {name: getattr(batch, name)[:, way : way + 1] for name in names}
    support["support_mask"] = alone(support["support_mask"])
    classes = batch.classes[:, way : way + 1]
    return batch._replace(**support, query_mask=alone(batch.query_mask), classes=classes)


def test_a_way_of_several_is_segmented_as_if_alone_then_merged(method: BinaryMethod, make_batch: MakeBatch) -> None:
    batch = make_batch(episodes=2, way=3, shot=2, query=2)
    alone = [low_resolution(method, one_way(batch, way)) for way in range(3)]  # B Q 2 h w
    close(low_resolution(method, batch), merge_ways(torch.stack(alone, dim=2)))


def test_runs_are_ordered_by_episode_way_and_query(method: BinaryMethod, make_batch: MakeBatch) -> None:
    batch = make_batch(episodes=2, way=3, query=2)
    last = "classify" if isinstance(method, SGOne) else "decoder"  # what gives logits
    with record(method, last) as outputs:
        low_resolution(method, batch)
    runs = outputs[last][-1].unflatten(0, (2, 3, 2))
    for way in range(3):
        close(runs[:, way], low_resolution(method, one_way(batch, way)))


def test_the_loss_of_several_ways_is_that_of_one_binary_problem_each(
    method: BinaryMethod, make_batch: MakeBatch
) -> None:
    batch = make_batch(episodes=2, way=3, query=2)
    alone = [method.loss(one_way(batch, way)) for way in range(3)]
    together = method.loss(batch)
    for name, value in together.items():  # equally many pixels in each
        close(value, torch.stack([losses[name] for losses in alone]).mean())
    parts = [value for name, value in together.items() if name != "loss"]
    assert not parts or together["loss"].item() == pytest.approx(sum(parts).item(), rel=1e-6)


def test_queries_of_an_episode_do_not_meet(method: BinaryMethod, make_batch: MakeBatch) -> None:
    batch = make_batch(episodes=2, way=2, query=3)
    names = ("query_image", "query_mask", "query_size", "query_id")
    alone = [batch._replace(**{name: getattr(batch, name)[:, q : q + 1] for name in names}) for q in range(3)]
    close(method(batch), torch.cat([method(single) for single in alone], dim=1))


def test_episodes_of_a_batch_do_not_meet(method: BinaryMethod, make_batch: MakeBatch) -> None:
    batch = make_batch(episodes=3, way=2, shot=2, query=2)
    alone = [Batch(*(tensor[b : b + 1] for tensor in batch)) for b in range(3)]
    close(method(batch), torch.cat([method(episode) for episode in alone]))


def test_void_of_the_query_is_left_out_of_the_loss(method: BinaryMethod, make_batch: MakeBatch) -> None:
    batch = make_batch(episodes=2, query=2)
    target = batch.query_mask.flatten(0, 1).long()
    expected = F.cross_entropy(method(batch).flatten(0, 1), target, ignore_index=IGNORE)
    losses = method.loss(batch)
    close(losses.get("stage2", losses["loss"]), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_whole_network_may_have_another_precision(
    method: BinaryMethod, make_batch: MakeBatch, dtype: torch.dtype
) -> None:
    batch = make_batch(way=2, shot=2)
    logits, loss = method(batch), method.loss(batch)["loss"]
    method.to(dtype)
    narrow, tolerance = method(batch), 0.1 if dtype == torch.bfloat16 else 1e-4
    assert narrow.dtype == torch.float32
    assert (narrow - logits).abs().mean() < tolerance * logits.abs().mean()
    assert method.loss(batch)["loss"].item() == pytest.approx(loss.item(), rel=tolerance)


def test_void_of_the_support_is_neither_foreground_nor_background(method: BinaryMethod, make_batch: MakeBatch) -> None:
    batch = make_batch()
    masks: list[Tensor] = []
    adapt = method.adapt_way
    method.adapt_way = lambda support, *pair: masks.extend(pair) or adapt(support, *pair)
    method(batch)
    label = batch.support_mask[0]
    assert torch.equal(masks[0], (label == 1).float())
    assert torch.equal(masks[1], (label == 0).float())


def test_supports_and_queries_pass_the_encoder_separately_supports_first(
    method: BinaryMethod, make_batch: MakeBatch
) -> None:
    batch = make_batch(way=2, shot=2, query=3)
    with record(method, "encoder") as outputs:
        method(batch)
    assert [len(feature) for (feature,) in outputs["encoder"]] == [4, 3]
