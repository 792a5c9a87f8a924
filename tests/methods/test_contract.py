"""The contract of methods, of every method found in the package.

These are the checks of `fsseg check`, and tests of what it does not ask of a user's class: a loss may be no mean over
pixels, and the number of shots may count.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from fsseg.contracts.methods import CHECKS, check_shape
from fsseg.contracts.trials import Trial, changed, logits
from fsseg.episode import IGNORE, Batch
from fsseg.methods import AMCG, Method
from tests.conftest import SEED
from tests.methods.found import METHODS

# A bias that foreground and background share: its gradient is the rounding of float32.
SHARED = ("guided networks (shared)", "classify.bias")
# PL subtracts the mean of its prototypes, and with it what the last bias of their encoder adds.
CANCELLED = {"PL": {"support_encoder.network.4.bias"}}
MakeBatch = Callable[..., Batch]
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]()


@pytest.fixture(params=METHODS)
def trial(request: pytest.FixtureRequest, make_batch: MakeBatch) -> Trial:
    return Trial(METHODS[request.param], make_batch, partial(torch.allclose, rtol=1e-5, atol=1e-5))


@pytest.mark.parametrize("check", CHECKS)
def test_check_passes(trial: Trial, check: str) -> None:
    CHECKS[check](trial)


@pytest.mark.parametrize(("way", "shot", "query"), [(1, 5, 1), (2, 1, 1), (2, 2, 2)])
def test_logits_have_their_shape_for_other_sizes_of_episodes(trial: Trial, way: int, shot: int, query: int) -> None:
    check_shape(trial, way, shot, query)


def test_another_random_start_has_other_logits(trial: Trial, make_batch: MakeBatch) -> None:
    """So that the check of the state dict says something."""
    batch, method = make_batch(way=2), trial.make()
    torch.manual_seed(SEED + 1)
    assert not torch.equal(logits(trial.make(), batch), logits(method, batch))


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


def test_ignored_pixels_of_a_query_do_not_train(method: Method, make_batch: MakeBatch) -> None:
    """The loss is a mean over pixels that aren't ignored: what two parts give, weighted, is what both give together."""
    batch, method = make_batch(void=False), method.eval()

    def loss(*ignored: slice) -> float:
        mask = batch.query_mask.clone()
        for rows in ignored:
            mask[..., rows, :] = IGNORE
        found = method.loss(batch._replace(query_mask=mask))
        return found.get("segmentation", found["loss"]).item()  # PL's loss over whole images is no mean over pixels

    top, middle, bottom = slice(0, 6), slice(6, 14), slice(14, 24)
    both = (8 * loss(top, bottom) + 10 * loss(top, middle)) / 18
    assert loss(top) == pytest.approx(both, rel=1e-5)
    assert loss() == pytest.approx((6 * loss(middle, bottom) + 18 * loss(top)) / 24, rel=1e-5)


def test_gradients_are_finite_and_reach_all_that_is_trained(method: Method, make_batch: MakeBatch) -> None:
    method = made_smooth(method).double().train()
    method.loss(make_batch(episodes=2, way=2, shot=2))["loss"].backward()
    without_effect = {*biases_before_batch_norm(method), *CANCELLED.get(method.name, ())}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad and (method.name, name) != SHARED:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            largest = parameter.grad.abs().max()  # over 20 starts: 3e-4 and more, and 2e-15 and less without effect
            assert largest < 1e-10 if name in without_effect else largest > 1e-7, name


def test_equal_supports_count_as_one(method: Method, make_batch: MakeBatch) -> None:
    """Of two supports each: some methods predict in another way from one support than from several."""
    if isinstance(method, AMCG):
        pytest.skip("its LSTM counts its steps")
    batch = make_batch(way=2, shot=2)
    repeated = changed(batch, lambda t: t.repeat_interleave(2, dim=2), "support_image", "support_mask", "support_id")
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


def test_logits_in_bfloat16_are_near(method: Method, make_batch: MakeBatch) -> None:
    batch = make_batch(way=2)
    method.train().loss(batch)  # batch statistics
    assert_as_near_as_bfloat16_allows(method, batch)


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_and_bfloat16_is_as_near_then(method: Method, make_batch: MakeBatch) -> None:
    # Void as background, as the recipes of all methods but PANet have it.
    batch = changed(make_batch(way=2), lambda mask: mask.where(mask != IGNORE, 0), "support_mask", "query_mask")
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
