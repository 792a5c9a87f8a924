"""What every method promises; a new one joins by being listed."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fsseg.encoders import ConvNet
from fsseg.episode import IGNORE, Batch
from fsseg.methods import CANet, Method, PANet, PMMs, RPMMs, SGOne

MakeBatch = Callable[..., Batch]


def encoder() -> ConvNet:
    return ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)


METHODS: dict[str, Callable[[], Method]] = {
    "PANet": lambda: PANet(encoder()),
    "PANet w/o PAR": lambda: PANet(encoder(), align=False),
    "PMMs": lambda: PMMs(encoder(), channels=8),
    "PMMs+": lambda: PMMs(encoder(), p_conv=False, channels=8),
    "PMMs, as the paper's equations": lambda: PMMs(
        encoder(), em_gradient=True, normalise_samples=True, hard_selection=True, channels=8
    ),
    "PMMs, Gaussian": lambda: PMMs(encoder(), kernel="gaussian", channels=8),
    "RPMMs": lambda: RPMMs(encoder(), answer="last", channels=8),
    "RPMMs, mean of stages": lambda: RPMMs(encoder(), components=(1, 2), answer="mean", channels=8),
    "CANet baseline": lambda: CANet(encoder(), iterations=0, channels=8),
    "CANet": lambda: CANet(encoder(), iterations=2, channels=8),
    "CANet, attention": lambda: CANet(encoder(), iterations=1, fusion="attention", channels=8),
    "SG-One": lambda: SGOne(encoder(), guidance=8, channels=8),
    "SG-One, union": lambda: SGOne(encoder(), "union", guidance=8, channels=8),
}
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    torch.manual_seed(0)
    return METHODS[request.param]()


def logits(method: Method, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method.eval()(batch)


def each(batch: Batch, change: Callable[[Tensor], Tensor], *names: str) -> Batch:
    return batch._replace(**{name: change(getattr(batch, name)) for name in names})


@pytest.mark.parametrize(("way", "shot", "query"), [(1, 1, 1), (1, 5, 1), (2, 1, 1), (2, 2, 2)])
def test_same_type_and_shape_in_training_and_evaluation(
    method: Method, make_batch: MakeBatch, way: int, shot: int, query: int
) -> None:
    batch = make_batch(episodes=2, way=way, shot=shot, query=query)
    training, evaluating = method.train()(batch), method.eval()(batch)
    assert type(training) is type(evaluating) is Tensor
    assert training.shape == evaluating.shape == (2, query, 1 + way, 24, 24)
    assert training.dtype == evaluating.dtype == torch.float32
    assert method.train().loss(batch).keys() == method.eval().loss(batch).keys()


def test_the_batch_is_not_changed(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(episodes=2, way=2, shot=2)
    before = Batch(*(tensor.clone() for tensor in batch))
    method.train().loss(batch)["loss"].backward()
    logits(method, batch)
    assert all(torch.equal(a, b) for a, b in zip(batch, before, strict=True))


def test_the_order_of_shots_is_irrelevant(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=2, shot=3)
    turned = each(batch, lambda tensor: tensor.roll(1, dims=2), "support_image", "support_mask", "support_id")
    close(logits(method, turned), logits(method, batch))
    close(method.loss(turned)["loss"], method.loss(batch)["loss"])


def test_permuting_ways_permutes_logits(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=3, shot=2)
    order = torch.tensor([2, 0, 1])
    label = torch.arange(256, dtype=torch.uint8)
    label[1 + order] = torch.arange(1, 4, dtype=torch.uint8)
    swapped = each(batch, lambda tensor: tensor[:, order], "support_image", "support_mask", "classes", "support_id")
    swapped = each(swapped, lambda mask: label[mask.long()], "support_mask", "query_mask")
    close(logits(method, swapped), logits(method, batch)[:, :, [0, 3, 1, 2]])
    close(method.loss(swapped)["loss"], method.loss(batch)["loss"])


def test_the_order_of_queries_permutes_logits(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=2, query=2)
    close(logits(method, each(batch, lambda t: t.flip(1), "query_image", "query_mask")), logits(method, batch).flip(1))


def test_episodes_of_a_batch_are_independent(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(episodes=3, way=2, shot=2)
    alone = [Batch(*(tensor[b : b + 1] for tensor in batch)) for b in range(3)]
    close(logits(method, batch), torch.cat([logits(method, episode) for episode in alone]))


def test_ignored_pixels_of_a_query_do_not_train(method: Method, make_batch: MakeBatch) -> None:
    """The loss is a mean over pixels that aren't ignored: what two parts give, weighted, is what both give together."""
    batch, method = make_batch(void=False), method.eval()

    def loss(*ignored: slice) -> float:
        mask = batch.query_mask.clone()
        for rows in ignored:
            mask[..., rows, :] = IGNORE
        return method.loss(batch._replace(query_mask=mask))["loss"].item()

    top, middle, bottom = slice(0, 6), slice(6, 14), slice(14, 24)
    both = (8 * loss(top, bottom) + 10 * loss(top, middle)) / 18
    assert loss(top) == pytest.approx(both, rel=1e-5)
    assert loss() == pytest.approx((6 * loss(middle, bottom) + 18 * loss(top)) / 24, rel=1e-5)


def test_ignored_pixels_of_a_support_are_not_foreground(method: Method, make_batch: MakeBatch) -> None:
    """That they are no background either is tested where regions are made; not all methods look at the background."""
    batch = make_batch(void=False)
    mask = batch.support_mask.clone()
    mask[..., :8, :] = IGNORE
    without = logits(method, batch._replace(support_mask=mask))
    mask[..., :8, :] = 1
    assert not torch.equal(without, logits(method, batch._replace(support_mask=mask)))


def test_gradients_are_finite_and_reach_all_that_is_trained(method: Method, make_batch: MakeBatch) -> None:
    method.train().loss(make_batch(episodes=2, way=2, shot=2))["loss"].backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("empty", ["support_mask", "query_mask"])
def test_an_empty_or_ignored_mask_gives_finite_losses_and_gradients(
    method: Method, make_batch: MakeBatch, empty: str
) -> None:
    for label in (0, IGNORE):
        method.zero_grad()
        loss = method.train().loss(each(make_batch(), lambda t, v=label: torch.full_like(t, v), empty))["loss"]
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_equal_supports_count_as_one(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=2)
    repeated = each(batch, lambda t: t.repeat_interleave(4, dim=2), "support_image", "support_mask", "support_id")
    close(logits(method, repeated), logits(method, batch))


def test_runs_in_bfloat16_with_logits_of_full_precision(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow, losses = logits(method, batch), method.train().loss(batch)
    assert narrow.dtype == losses["loss"].dtype == torch.float32
    wide = logits(method, batch)
    assert (narrow - wide).abs().mean() < 0.05 * wide.abs().mean()
    losses["loss"].backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_the_state_dict_is_the_whole_state(request: pytest.FixtureRequest, method: Method, make_batch: Any) -> None:
    batch = make_batch(way=2)
    method.train().loss(batch)
    torch.manual_seed(1)
    other = METHODS[request.node.callspec.params["method"]]()
    assert not torch.equal(logits(other, batch), logits(method, batch))
    other.load_state_dict(method.state_dict())
    assert torch.equal(logits(other, batch), logits(method, batch))


def test_a_few_steps_lower_the_loss_and_bfloat16_predicts_as_float32_then(
    method: Method, make_batch: MakeBatch
) -> None:
    # Void as background, as the recipes of all methods but PANet have it.
    batch = each(make_batch(way=2), lambda mask: mask.where(mask != IGNORE, 0), "support_mask", "query_mask")
    optimizer = torch.optim.SGD(method.parameters(), lr=4e-2, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = method.train().loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # CANet starts with weights near 0, so at about the loss of the classes' shares: little is to be had there.
    assert losses[-1] < 0.97 * losses[0]
    wide = logits(method, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = logits(method, batch)
    differs = wide.argmax(2) != narrow.argmax(2)
    assert differs.float().mean() < 0.01
    best = wide.topk(2, dim=2).values
    assert (best[:, :, 0] - best[:, :, 1])[differs].lt(0.01 * wide.abs().mean()).all()  # only where two labels tie


def test_parts_of_the_loss_are_named_and_the_name_stands_in_tables(method: Method, make_batch: MakeBatch) -> None:
    losses = method.loss(make_batch())
    assert "loss" in losses
    assert all(value.shape == () for value in losses.values())
    assert method.name
    assert method.inference_options <= set(inspect.signature(type(method)).parameters)
