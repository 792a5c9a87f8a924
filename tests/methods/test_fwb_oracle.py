"""FWB against its author's code; tolerances are those of golden/README.md."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg.encoders import VGG16, ResNet
from fsseg.episode import Batch
from fsseg.losses import cross_entropy_per_image
from fsseg.methods import FWB
from fsseg.methods.binary import sides
from fsseg.methods.fwb import Shot
from tests.oracle_weights import close, close_norms, episodes, load_named, recipe_state, record

Oracle = Callable[[str], dict[str, np.ndarray]]
Stored = Mapping[str, np.ndarray]
THRESHOLD = 0.8
pytestmark = pytest.mark.slow


class Tolerance(NamedTuple):
    """Of a network's prototypes, similarities in training, logits in training, losses and norms of gradients."""

    prototype: float
    similarity: float
    logits: float
    loss: float
    norms: float


TOLERANCES = {"vgg16": Tolerance(1e-5, 2e-5, 5e-5, 2e-5, 1e-4), "resnet101": Tolerance(2e-3, 5e-4, 1e-3, 5e-5, 5e-2)}
PARAMETERS = {"vgg16": 14_870_978, "resnet101": 42_795_458}


def encoder(network: str) -> VGG16 | ResNet:
    if network == "vgg16":
        return VGG16("none", taps=("pool2", "pool5"), dilations=(2, 4), batch_norm=True)
    return ResNet(
        "resnet101", ("layer1", "layer4"), stride_on="3x3", ceil_mode=False, batch_norm="trained", last_relu=False,
        weights="none",
    )  # fmt: skip


def rename(official: str) -> str:
    if official.startswith("exit_layer."):
        return official.replace("exit_layer", "classify")
    return f"encoder.network.{official}"


class Case(NamedTuple):
    network: str
    stored: Stored
    state: Mapping[str, Tensor]

    def method(self, **options: Any) -> FWB:
        method = FWB(encoder(self.network), **options)
        load_named(method, self.state)
        return method.eval()


@pytest.fixture(scope="module", params=["vgg16", "resnet101"])
def case(request: pytest.FixtureRequest, oracle: Oracle, oracle_folder: Path) -> Case:
    return case_of(request.param, oracle, oracle_folder)


def case_of(network: str, oracle: Oracle, folder: Path) -> Case:
    stored = oracle(f"fwb_{network}")
    state = recipe_state(folder, f"fwb_{network}", rename)
    state["classify.2.bias"] = torch.from_numpy(stored["exit_bias"])
    return Case(network, stored, state)


def image(stored: Stored, name: str) -> Tensor:
    return torch.from_numpy(stored[f"{name}_u8"]).movedim(-1, -3)


def mask(stored: Stored, name: str) -> Tensor:
    return torch.from_numpy(stored[f"{name}_label"])


def training_batch(stored: Stored) -> Batch:
    support = image(stored, "train_support")[:, None, None], mask(stored, "train_support")[:, None, None]
    return episodes(*support, image(stored, "train_query")[:, None], mask(stored, "train_query")[:, None])


def one_episode(stored: Stored) -> Batch:
    """The query and support 0, where void is background."""
    support, query = ((mask(stored, name) == 1).byte() for name in ("support0", "query"))
    images = image(stored, "support0"), image(stored, "query")
    return episodes(images[0][None, None, None], support[None, None, None], images[1][None, None], query[None, None])


def similarity(method: FWB, state: tuple[Tensor, ...], query: tuple[Tensor, ...]) -> Tensor:
    low, high = query
    return method.similarity(high, state[1], state[0], (low.shape[-2], low.shape[-1]))[:, 0]


@pytest.mark.parametrize("mode", [0, 2])
def test_a_training_step(case: Case, mode: int) -> None:
    """BatchNorm: statistics of the queries, then running ones for the supports, which have no gradient.

    In float64: in float32 rounding closes some ReLUs, and norms of gradients are off by up to 2e-3.
    """
    method, stored, allowed = case.method(weighting=mode == 2).double().train(), case.stored, TOLERANCES[case.network]
    assert sum(parameter.numel() for parameter in method.parameters()) == PARAMETERS[case.network]
    batch, start = training_batch(stored), f"train_m{mode}_"
    features = method.features(batch)
    assert not any(one.requires_grad for one in features.support)
    assert method.encoder.training
    means = [value for name, value in method.named_buffers() if name.endswith("running_mean")]
    close(means[0], stored[f"{start}bn_first_mean"], 1e-5)
    close(means[-1], stored[f"{start}bn_last_mean"], 1e-5)
    support, query = (tuple(one.flatten(0, 1) for one in maps) for maps in features)
    state = method.adapt_way(support, *sides(batch.support_mask))
    relevance = stored[f"{start}relevance"] if mode == 2 else 1
    close(state[1], relevance, 1e-5)
    close(state[0][:, 0], stored[f"{start}prototype"] * relevance, allowed.prototype)
    close(similarity(method, state, query), stored[f"{start}similarity"], allowed.similarity)
    (logits,) = method.stages(state, query)
    close(method.to_pixels(logits, (65, 65)), stored[f"{start}logits"], allowed.logits)
    loss = method.losses(features, batch)["loss"]
    close(loss, stored[f"{start}loss"], allowed.loss)
    loss.backward()
    close_norms(method, rename, stored["grad_names"], stored[f"{start}grad_norms"], allowed.norms)


@pytest.mark.parametrize("mode", [0, 2])
def test_one_shot(case: Case, mode: int) -> None:
    method, stored, start = case.method(weighting=mode == 2, experts=0), case.stored, f"eval_m{mode}_"
    batch = one_episode(stored)
    with torch.no_grad():
        support, query = method.features(batch)
        state = method.state(support, batch.support_mask)
        prototype = stored[f"{start}prototype"]
        close(state[0].flatten(), prototype * state[1].flatten().numpy(), TOLERANCES[case.network].prototype)
        close(similarity(method, first(state), first(query))[0], stored[f"{start}similarity"], 2e-5)
        close(method(batch)[0, 0], stored[f"{start}logits"], 5e-5)
        close(method.loss(batch)["loss"], stored[f"{start}loss"], 2e-5)


def first(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The parts of the only way, or of the only query."""
    return tuple(part[:, 0] for part in parts)


class Supports(NamedTuple):
    """State and shots of supports that have several sizes."""

    feature: Tensor
    relevance: Tensor
    shots: list[Shot]
    foreground: Tensor


def supports(method: FWB, stored: Stored, count: int) -> Supports:
    sums, shots = [], []
    plain = copy.copy(method)
    plain.weighting = False
    for number in range(count):
        label = (mask(stored, f"support{number}") == 1).long()[None]
        maps = method.encode(image(stored, f"support{number}")[None])
        ways, true = tuple(one[None] for one in maps), label[None].float()
        # Without weighting the feature is the mean of the foreground; so the background's mean is that of 1 - mask.
        sums.append(torch.stack([plain.adapt_way(ways, side, 1 - side)[0][:, 0] for side in (true, 1 - true)]))
        shots.append(Shot(maps[0], maps[-1], label))
    foreground, background = torch.stack(sums).sum(0)
    return Supports(*method.weighted(foreground, background), shots, foreground)


def test_five_shots(case: Case) -> None:
    method, stored = case.method(experts=0), case.stored
    batch = one_episode(stored)
    with torch.no_grad():
        found = supports(method, stored, 5)
        close(found.foreground[0], stored["eval_m8_prototype_sum"], 5 * TOLERANCES[case.network].prototype)
        state = found.feature[:, None], found.relevance, torch.ones(1, 1)
        query = method.features(batch).query
        close(similarity(method, state, first(query))[0], stored["eval_m8_similarity"], 2e-5)
        whole = tuple(part[None] for part in state)
        close(method.segment(whole, query, batch.query_size)[0, 0], stored["eval_m8_logits"], 5e-5)


# Shots, feature weighting, name of the vote: with five shots that of the code without its overwritten name.
BOOSTED = {
    "m3": (1, False, "boost_m3_vote"),
    "m5": (1, True, "boost_m5_vote"),
    "m9": (5, True, "boost_m9_repaired_vote"),
}


@pytest.mark.parametrize("mode", BOOSTED)
def test_boosting(case: Case, mode: str) -> None:
    """The honest vote, of IoUs on the supports, and the one of IoUs with the query's ground truth."""
    count, weighting, vote = BOOSTED[mode]
    method, stored = case.method(weighting=weighting), case.stored
    batch = one_episode(stored)
    with torch.no_grad():
        found = supports(method, stored, count)
        query = method.features(batch).query
    with record(method, "classify") as outputs:
        experts, votes = method.boosted(found.feature, found.relevance, found.shots)
    each = [
        cross_entropy_per_image(method.to_pixels(logits, tuple(shot.label.shape[-2:])), shot.label)
        for logits, shot in zip(outputs["classify"], found.shots * method.experts, strict=True)
    ]
    losses = torch.stack(each).view(method.experts, count).sum(1)
    close(losses, stored[f"boost_{mode}_losses"], 5e-4)
    close(experts[0, [0, 1, 10]], stored[f"boost_{mode}_features"], 5e-2 if case.network == "vgg16" else 0.2)
    state = experts[None], found.relevance[None], votes[None]
    with torch.no_grad():
        threshold, sum_of_votes = method.segment(state, query, batch.query_size)[0, 0]
    assert (threshold == torch.tensor(THRESHOLD)).all()
    assert ((sum_of_votes - torch.from_numpy(stored[vote])).abs() > 2e-2).float().mean() <= 0.01
    by_truth = case.method(weighting=weighting, vote="truth")
    with torch.no_grad():
        sum_of_truth = by_truth.segment_batch(state, query, batch)[0, 0, 1]
    assert ((sum_of_truth - torch.from_numpy(stored[f"{vote}_by_query_truth"])).abs() > 2e-2).float().mean() <= 0.01
    if count == 1:  # the same by the contract's functions, where autograd is off
        with torch.inference_mode():
            assert ((method(batch)[0, 0, 1] - sum_of_votes).abs() > 2e-2).float().mean() <= 0.01
