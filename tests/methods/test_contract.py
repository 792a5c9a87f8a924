"""The contract of methods, of every method found in the package."""

import copy
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsseg.episode import IGNORE, Batch
from fsseg.methods import Method
from tests.conftest import SEED
from tests.methods.found import METHODS

MakeBatch = Callable[..., Batch]


close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]()


def made_smooth(method: Method) -> Method:
    """The method with no ReLU that a random start may kill, no channel dropped, and weights of He's size.

    What is asked of it holds for every start and on every processor: all gradients are far from rounding's size.
    """
    for parent in list(method.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.ReLU):
                setattr(parent, name, nn.Softplus())
            elif isinstance(module, nn.Dropout2d):
                setattr(parent, name, nn.Identity())
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    return method


def biases_before_batch_norm(method: Method) -> Iterator[str]:
    """Names of biases that the norm's mean takes away again: in training their gradient is zero but for rounding."""
    for name, module in method.named_modules():
        for (child, layer), (_, following) in pairwise(module.named_children()):
            first = following[0] if isinstance(following, nn.Sequential) else following
            if isinstance(layer, nn.Conv2d) and layer.bias is not None and isinstance(first, nn.BatchNorm2d):
                yield f"{name}.{child}.bias"


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
    method = made_smooth(method).double().train()
    method.loss(make_batch(episodes=2, way=2, shot=2))["loss"].backward()
    without_effect = set(biases_before_batch_norm(method))
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            largest = parameter.grad.abs().max()  # over 20 starts: 3e-4 and more, and 2e-15 and less without effect
            assert largest < 1e-10 if name in without_effect else largest > 1e-7, name


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
    """Of two supports each: some methods predict in another way from one support than from several."""
    batch = make_batch(way=2, shot=2)
    repeated = each(batch, lambda t: t.repeat_interleave(2, dim=2), "support_image", "support_mask", "support_id")
    close(logits(method, repeated), logits(method, batch))


def assert_as_near_as_bfloat16_allows(method: Method, batch: Batch) -> None:
    """Logits under autocast are about as near to float32's as logits of weights that were rounded to bfloat16.

    A random network may amplify rounding, one more than another. So the bound comes from the same network: in float32,
    with its weights rounded once, and moved at random by at most bfloat16's spacing three times.
    """
    wide, moved = logits(method, batch), []
    for i in range(4):
        other = copy.deepcopy(method)
        with torch.no_grad():
            for p in other.parameters():
                p.copy_(p * (1 + 2**-8 * (2 * torch.rand_like(p) - 1)) if i else p.bfloat16().float())
        moved.append((logits(other, batch) - wide).abs().mean())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        error = logits(method, batch) - wide
    assert error.abs().mean() < 4 * torch.stack(moved).max()  # at most 1.8 in 300 networks


def test_runs_in_bfloat16_with_logits_of_full_precision(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow, losses = logits(method, batch), method.train().loss(batch)
    assert narrow.dtype == losses["loss"].dtype == torch.float32
    losses["loss"].backward()
    assert_as_near_as_bfloat16_allows(method, batch)
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_the_state_dict_is_the_whole_state(request: pytest.FixtureRequest, method: Method, make_batch: Any) -> None:
    batch = make_batch(way=2)
    method.train().loss(batch)
    torch.manual_seed(SEED + 1)
    other = METHODS[request.node.callspec.params["method"]]()
    assert not torch.equal(logits(other, batch), logits(method, batch))
    other.load_state_dict(method.state_dict())
    assert torch.equal(logits(other, batch), logits(method, batch))


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_and_bfloat16_is_as_near_then(method: Method, make_batch: MakeBatch) -> None:
    # Void as background, as the recipes of all methods but PANet have it.
    batch = each(make_batch(way=2), lambda mask: mask.where(mask != IGNORE, 0), "support_mask", "query_mask")
    optimizer = torch.optim.SGD(made_smooth(method).parameters(), lr=1e-2, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = method.train().loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # A start that happens to be at about the loss of the classes' shares has little to gain: 0.88 in one of 50.
    assert losses[-1] < 0.97 * losses[0]
    assert_as_near_as_bfloat16_allows(method, batch)


def test_parts_of_the_loss_are_named_and_the_name_stands_in_tables(method: Method, make_batch: MakeBatch) -> None:
    losses = method.loss(make_batch())
    assert "loss" in losses
    assert all(value.shape == () for value in losses.values())
    assert method.name
    parameters = set(inspect.signature(type(method)).parameters)
    assert {option.partition(".")[0] for option in method.inference_options} <= parameters


def test_the_state_has_the_parts_that_it_promises(method: Method, make_batch: MakeBatch) -> None:
    """A part of a support, or of a way, is the same whatever the others are."""
    batch = make_batch(way=2, shot=2, void=False)
    with torch.no_grad():
        support, _ = method.eval().features(batch)
        state = method.state(support, batch.support_mask)
        if method.state_per == "episode":
            return
        change = torch.zeros(1, 2, 2, 1, 1, 1)
        change[0, 1] = 1  # the supports of the second way
        other = method.state(tuple(one + change for one in support), batch.support_mask)
        for part, now in zip(state, other, strict=True):
            assert part.shape[:2] == (1, 2)
            close(part[:, 0], now[:, 0])
        if method.state_per == "shot":
            change[0, 1, 0] = 0
            other = method.state(tuple(one + change for one in support), batch.support_mask)
            for part, now in zip(state, other, strict=True):
                assert part.shape[:3] == (1, 2, 2)
                close(part[:, 1, 0], now[:, 1, 0])


def test_the_segmentation_of_a_query_has_its_own_size(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(query=2)
    sizes = torch.tensor([[[24, 24], [10, 17]]])
    with torch.no_grad():
        support, query = method.eval().features(batch)
        state = method.state(support, batch.support_mask)
        both = method.segment(state, query, sizes)
        small = method.segment(state, query, (10, 17))
    assert both.shape[-2:] == (24, 24)
    close(both[:, 1, :, :10, :17], small[:, 1])
    assert (both[:, 1, :, 10:] == 0).all()


def test_an_explanation_has_probabilities_and_regions(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=2, shot=2, query=3)
    with torch.no_grad():
        support, query = method.eval().features(batch)
        found = method.explain(support, batch.support_mask, query)
    if found is None:
        return
    assert found.probability.shape[:3] == (1, 2, 3)
    assert 0 < found.foreground < found.probability.shape[3]
    assert found.probability.min() >= 0
    assert found.probability.max() <= 1 + 1e-5
    assert found.region.shape[:3] == (1, 2, 2)
    assert found.region.min() >= -1
    assert found.region.max() < found.probability.shape[3]
