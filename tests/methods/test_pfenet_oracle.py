"""PFENet against the official code; tolerances are those of golden/pfenet_hsnet.md."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.losses import upsample
from fsseg.methods import PFENet
from fsseg.metrics import BinaryIoU, ClassIoU, count
from fsseg.official_codes.pfenet import head_name, renaming
from fsseg.optim import Poly
from tests.encoders.test_deep_stem import make as make_encoder
from tests.golden.recipe import fill
from tests.oracle_weights import (
    close,
    close_norms,
    close_prediction,
    episodes,
    load_named,
    numbered,
    recipe_state,
    record,
)

Oracle = Callable[[str], dict[str, np.ndarray]]
Stored = Mapping[str, np.ndarray]
pytestmark = pytest.mark.slow

BINS = 4


class Tolerance(NamedTuple):
    """Of priors and prototypes, other tensors in evaluation, losses, gradients (of their largest entry), and norms."""

    prior: float
    tensors: float
    losses: float
    gradients: float
    reductions: float
    norms: float


GIVEN = Tolerance(5e-6, 1e-5, 5e-5, 1e-4, 1e-4, 1e-3)
WHOLE = Tolerance(1e-4, 5e-5, 1e-4, 1e-3, 2e-2, 5e-3)


class Levels(Encoder):
    """Middle levels that are given, and a high level that is a convolution of the second one."""

    name = "given"
    stride = 8
    resumes = True

    def __init__(self, stored: Stored) -> None:
        super().__init__(mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
        seed, self.widths = 1000 * int(stored["recipe_seed"]), (*stored["feat_shapes"][:, 1].tolist(), 64)
        self.maps = [
            torch.cat([torch.from_numpy(fill(shape, "feat", seed + 500 + i + 2 * n)) for n in range(6)])
            for i, shape in enumerate(stored["feat_shapes"].tolist())
        ]
        self.weight = torch.from_numpy(fill((64, self.widths[1], 3, 3), "conv_w", seed + 600))
        self.bias = torch.from_numpy(fill((64,), "bias", seed + 601))

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        fine = tuple(one[images[:, 0, 0, 0].round().long()] for one in self.maps)
        return (*fine, self.last_map(fine[-1]))

    def last_map(self, before: Tensor) -> Tensor:
        return F.conv2d(before, self.weight, self.bias, padding=1).relu()


def batch_of(stored: Stored, shots: int, images: Tensor) -> Batch:
    """Images ``b n 3 H W`` and the labels, of which the first is the query's."""
    labels = torch.from_numpy(stored["labels"])
    end = 1 + shots
    return episodes(images[:, None, 1:end], labels[:, None, 1:end], images[:, :1], labels[:, :1])


class Case(NamedTuple):
    stored: Stored
    state: Mapping[str, Tensor]
    encoder: Callable[[], Encoder]
    images: Tensor
    allowed: Tolerance
    rename: Callable[[str], str | None]

    def method(self) -> PFENet:
        bins = tuple(map(float, self.stored["ppm_scales"]))
        encoder = self.encoder()
        encoder.freeze(True, batch_statistics=True)
        method = PFENet(encoder, bins, dropout=0.0, classifier_dropout=0.0)
        load_named(method, self.state)
        return method.eval()

    def batch(self, shots: int) -> Batch:
        return batch_of(self.stored, shots, self.images)


def scaled(state: dict[str, Tensor], stored: Stored) -> dict[str, Tensor]:
    for name in ("classify", *(f"classify_bins.{i}" for i in range(BINS))):
        state[f"{name}.3.weight"] *= float(stored["head_weight_scale"])
    return state


@pytest.fixture(scope="module", params=["head", "head_vgg", "full_resnet50_129", "full_vgg16_129"])
def case(request: pytest.FixtureRequest, oracle: Oracle, oracle_folder: Path) -> Case:
    name, stored = f"pfenet_{request.param}", oracle(f"pfenet_{request.param}")
    if "head" in name:
        state = scaled(recipe_state(oracle_folder, name, head_name), stored)
        number = torch.arange(12).view(6, 2).T.reshape(2, 6)  # image n of episode b is number 2 n + b
        images = numbered(0, torch.zeros(12, *stored["labels"].shape[-2:]))[number]
        return Case(stored, state, lambda: Levels(stored), images, GIVEN, head_name)
    network = request.param.split("_")[1]
    rename = renaming(network == "vgg16")
    state = scaled(recipe_state(oracle_folder, name, rename), stored)
    images = torch.from_numpy(stored["images_u8"]).movedim(-1, 2)
    return Case(stored, state, lambda: make_encoder(network), images, WHOLE, rename)


def thinned(feature: Tensor, channels: int) -> Tensor:
    """Every so-manieth channel, and of large maps every fourth cell, as stored."""
    feature = feature[:, ::channels]
    return feature[..., ::4, ::4] if feature.shape[-1] > 21 else feature


@pytest.mark.parametrize("shots", [1, 5])
def test_evaluation(case: Case, shots: int) -> None:
    method, stored, allowed, batch = case.method(), case.stored, case.allowed, case.batch(shots)
    start = f"s{shots}_eval_"
    names = ["down_query", "down_support", "enrich", "classify", "fuse", "refine"]
    names += [f"{part}.{i}" for part in ("enrich.merge", "classify_bins") for i in range(BINS)]
    with torch.no_grad(), record(method, *names) as outputs:
        support, query = method.features(batch)
        assert len(support) == 2  # the high level of supports is that of masked maps
        state = method.state(support, batch.support_mask)
        way = tuple(part.flatten(0, 1) for part in state), tuple(one.flatten(0, 1) for one in query)
        *inner, low = method.stages(*way)
        prior = method.prior(*way)
        assert torch.equal(method.prediction(*way), low)
        logits = method.segment_resized(state, query, batch.encoded_size, batch.query_size)
    grid = tuple(stored[f"{start}prior"].shape[-2:])
    assert prior.shape == (2, shots, *grid)
    close(prior.mean(1, keepdim=True), stored[f"{start}prior"], allowed.prior)
    if shots > 1:
        close(prior, stored[f"{start}prior_per_shot"], allowed.prior)
    close(way[0][0].mean(1), stored[f"{start}supp_vec"], allowed.prior)
    close(outputs["down_query"][0][:, ::16], stored[f"{start}query_feat_sub"], allowed.tensors)
    close(
        outputs["down_support"][0].unflatten(0, (2, shots))[:, :, ::32],
        stored[f"{start}supp_feat_sub"],
        allowed.tensors,
    )
    features, _ = outputs["enrich"][0]
    assert [one.shape[-1] for one in features] == stored[f"{start}bins"].tolist()
    for i, feature in enumerate(features):
        close(thinned(outputs[f"enrich.merge.{i}"][0], 32), stored[f"{start}merge{i}_sub"], allowed.tensors)
        close(thinned(feature, 32), stored[f"{start}fem{i}_sub"], allowed.tensors)
        close(thinned(inner[i], 1), stored[f"{start}inner{i}"], allowed.tensors)
    fused = outputs["fuse"][0] + outputs["refine"][0]
    close(fused[:, ::32], stored[f"{start}fused_sub"], allowed.tensors)
    close(low, stored[f"{start}out_low"], allowed.tensors)
    close(logits[:, 0, :, ::4, ::4], stored[f"{start}out_sub"], allowed.tensors)
    close_prediction(logits, stored[f"{start}pred"])
    with torch.no_grad():
        assert torch.equal(method(batch), logits)


@pytest.mark.parametrize("shots", [1, 5])
def test_a_training_step(case: Case, shots: int) -> None:
    """BatchNorm of the frozen encoder drifts: queries, then each shot, whose high level sees masked maps."""
    method, stored, allowed, batch = case.method().train(), case.stored, case.allowed, case.batch(shots)
    start = f"s{shots}_train_"
    losses = method.loss(batch)
    main, aux = losses["stage5"], torch.stack([losses[f"stage{i}"] for i in range(1, 5)]).mean()
    close(main, stored[f"{start}main_loss"], allowed.losses)
    close(aux, stored[f"{start}aux_loss"], allowed.losses)
    close(losses["loss"], (main + aux).detach().numpy(), 1e-6)
    losses["loss"].backward()
    names = stored[f"{start}grad_names"]
    assert {case.rename(str(name)) for name in names} == {n for n, p in method.named_parameters() if p.requires_grad}
    close_norms(method, case.rename, names, stored[f"{start}grad_norms"], allowed.norms)
    for ours, key, share in (
        (method.classify[3].weight, "cls_3_weight", allowed.gradients),
        (method.classify_bins[1][3].weight, "inner_cls_1_3_weight", allowed.gradients),
        (method.down_query[0].weight, "down_query_sub", allowed.reductions),
        (method.down_support[0].weight, "down_supp_sub", allowed.reductions),
    ):
        gradient = ours.grad[::16, ::32, 0, 0] if key.endswith("_sub") else ours.grad
        expected = stored[f"{start}grad_{key}"]
        close(gradient, expected, share * np.abs(expected).max())
    if f"{start}bn_names" in stored:
        close_statistics(method, case.rename, stored, start, 1e-5)


def close_statistics(
    method: PFENet, rename: Callable[[str], str | None], stored: Stored, start: str, rtol: float
) -> None:
    assert len(stored[f"{start}bn_names"]) in (13, 55)
    for kind in ("running_mean", "running_var"):
        ours = [method.get_buffer(f"{rename(f'{n}.{kind}')}").double().norm() for n in stored[f"{start}bn_names"]]
        close(torch.stack(ours), stored[f"{start}bn_{kind}_norm"], atol=0, rtol=rtol)


def test_three_steps(oracle: Oracle, oracle_folder: Path) -> None:
    """SGD with ten times the rate that the configuration prints."""
    stored, rename = oracle("pfenet_train_steps"), renaming(vgg=False)
    encoder = make_encoder("resnet50")
    encoder.freeze(True, batch_statistics=True)
    method = PFENet(encoder, tuple(map(float, stored["ppm_scales"])), dropout=0.0, classifier_dropout=0.0).train()
    load_named(method, scaled(recipe_state(oracle_folder, "pfenet_train_steps", rename), stored))
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimizer = SGD(trained, lr=10 * float(stored["base_lr"]), momentum=0.9, weight_decay=1e-4)
    schedule = Poly(optimizer, total_steps=int(stored["max_iter"]))
    for t in range(3):
        step = {name: stored[name][t] for name in ("images_u8", "labels")}
        batch = batch_of(step, 1, torch.from_numpy(step["images_u8"]).movedim(-1, 2))
        np.testing.assert_allclose(optimizer.param_groups[0]["lr"], stored["lr"][t], rtol=1e-6)
        losses = method.loss(batch)
        close(losses["stage5"], stored["main_loss"][t], 2e-4)
        close(losses["loss"] - losses["stage5"], stored["aux_loss"][t], 2e-4)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        schedule.step()
    norms = [method.get_parameter(str(rename(str(name)))).double().norm() for name in stored["param_names"]]
    close(torch.stack(norms), stored["param_norm"], atol=0, rtol=1e-5)
    close(method.classify[3].weight, stored["cls_3_weight"], 1e-5)
    close(method.classify[3].bias, stored["cls_3_bias"], 1e-5)
    close(method.down_support[0].weight[::16, ::32, 0, 0], stored["down_supp_sub"], 1e-5)
    close_statistics(method, rename, stored, "", 1e-4)
    with torch.no_grad():
        close(method.eval()(batch)[:, 0, :, ::4, ::4], stored["eval_out_after_sub"], 2e-4)


def test_parameters_are_those_of_the_paper() -> None:
    counts: dict[str, Any] = {"resnet50": 10_817_034, "vgg16": 10_423_818}
    for network, parameters in counts.items():
        method = PFENet(make_encoder(network))
        assert sum(p.numel() for n, p in method.named_parameters() if not n.startswith("encoder.")) == parameters
        assert method.name == "PFENet"


def test_the_metric(oracle: Oracle) -> None:
    """Logits resized to the padded label, counts of each class summed. The code's classes are shifted by one."""
    stored = oracle("pfenet_metric")
    label = torch.from_numpy(stored["padded_label"]).unsqueeze(1)
    logits = upsample(torch.from_numpy(stored["logits"]), (label.shape[-2], label.shape[-1]), align_corners=True)
    prediction = logits.argmax(1, keepdim=True)
    assert np.array_equal(prediction[:, 0].numpy(), stored["pred"])
    counts, run = count(prediction, label, way=1), torch.zeros(len(label), dtype=torch.long)
    close(counts.intersection[:, 0].double(), stored["intersection"], 0)
    close(counts.union[:, 0].double(), stored["union"], 0)
    close(counts.truth[:, 0].double(), stored["target"], 0)
    classes, binary = ClassIoU(tuple(range(1, 1 + int(stored["gap"])))), BinaryIoU()
    classes.update(counts, 1 + torch.from_numpy(stored["subcls"]).unsqueeze(1), run)
    binary.update(counts, run)
    close(classes.compute().per_class[0], np.roll(stored["class_iou"], 1), 1e-6)
    close(classes.compute().mean, stored["mean_iou"], 1e-6)
    close(binary.compute().mean, stored["fb_iou"], 1e-6)
