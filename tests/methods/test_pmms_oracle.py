"""PMMs against numbers of its official code; tolerances are those of golden/README.md."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from fsseg.encoders import ConvNet, DeepLabVGG16, ResNet
from fsseg.methods import PMMs
from fsseg.metrics import ClassIoU, count
from fsseg.official_codes.pmms import head_name, resnet_name, vgg_name
from fsseg.ops.em import Mixture
from fsseg.optim import Poly
from fsseg.task import Task
from tests.oracle_weights import (
    close,
    close_norms,
    close_prediction,
    first_shot,
    given_case,
    load_named,
    one_way,
    recipe_state,
    record,
)

Oracle = Callable[[str], dict[str, np.ndarray]]
PARTS = ("reduce", "mixture", "decoder")


def start(stored: dict[str, np.ndarray]) -> Tensor:
    """The official start of the mixture, components first."""
    return torch.from_numpy(stored["mu0_k3"])[0].T


# The head, on given features


class Head:
    """The narrow head on given features: 5 shots, of which 1-shot takes the first."""

    def __init__(self, stored: dict[str, np.ndarray], folder: Path, **options: Any) -> None:
        self.stored = stored
        self.encoder, self.five = given_case(stored)
        self.one = first_shot(self.five)
        self.method = PMMs(self.encoder, channels=16, dropout=0.0, **options)
        state = recipe_state(folder, "pmms_head_small", head_name)
        load_named(self.method, state | {"mixture.start": start(stored)})


@pytest.fixture(scope="module")
def tested(oracle: Oracle, oracle_folder: Path) -> Head:
    head = Head(oracle("pmms_head_small"), oracle_folder)
    head.method.eval().requires_grad_(False)
    head.encoder.maps.requires_grad_(False)
    return head


def test_features_prototypes_and_logits(tested: Head) -> None:
    with record(tested.method, *PARTS) as outputs:
        tested.method(tested.one)
    support, query = outputs["reduce"]
    close(support, tested.stored["eval_support_feature"], 1e-5)
    close(query, tested.stored["eval_query_feature"], 1e-5)
    close(outputs["mixture"][0][0], tested.stored["eval_prototypes"], 1e-5)
    close(outputs["decoder"][0], tested.stored["eval_out"], 1e-4)


def test_loss(tested: Head) -> None:
    close(tested.method.loss(tested.one)["loss"], tested.stored["eval_loss"], 5e-4)


@pytest.mark.parametrize(("size", "key"), [((193, 193), "eval_pred"), ((101, 77), "eval_pred_101x77")])
def test_predictions_at_any_size(tested: Head, size: tuple[int, int], key: str) -> None:
    sizes = torch.tensor(size).expand(2, 1, 2)
    batch = tested.one._replace(query_mask=torch.zeros(2, 1, *size, dtype=torch.uint8), query_size=sizes)
    close_prediction(tested.method(batch), tested.stored[key])


def test_five_shots_are_one_mixture(tested: Head) -> None:
    with record(tested.method, "decoder") as outputs:
        logits = tested.method(tested.five)
    close(outputs["decoder"][0], tested.stored["eval_5shot_out"], 1e-4)
    close_prediction(logits, tested.stored["eval_5shot_pred"])


@pytest.fixture(scope="module")
def trained(oracle: Oracle, oracle_folder: Path) -> Head:
    """After one loss and its gradient; ``outputs`` are those of the parts."""
    head = Head(oracle("pmms_head_small"), oracle_folder)
    with record(head.method.train(), *PARTS) as head.outputs:
        head.loss = head.method.loss(head.one)["loss"]
    head.loss.backward()
    return head


def test_training_supports_pass_before_queries(trained: Head) -> None:
    support, query = trained.outputs["reduce"]
    close(support, trained.stored["train_support_feature"], 1e-5)
    close(query, trained.stored["train_query_feature"], 1e-5)
    close(trained.outputs["mixture"][0][0], trained.stored["train_prototypes"], 1e-5)


def test_training_logits_and_loss(trained: Head) -> None:
    close(trained.outputs["decoder"][0], trained.stored["train_out"], 1e-4)
    close(trained.loss, trained.stored["train_loss"], 5e-4)


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


def test_running_statistics_move_once_per_pass_and_per_prototype(trained: Head) -> None:
    for name, layer in (("layer5", trained.method.reduce[1]), ("layer55", trained.method.match.ending[0])):
        close(layer.running_mean, trained.stored[f"bn_running_mean_{name}"], 1e-5)
        close(layer.running_var, trained.stored[f"bn_running_var_{name}"], 1e-5)


def test_nothing_is_recorded_in_the_supports_pass(oracle: Oracle, oracle_folder: Path) -> None:
    head = Head(oracle("pmms_head_small"), oracle_folder)
    (support,), (query,) = head.method.features(head.one)
    assert (support.requires_grad, query.requires_grad) == (False, True)


def test_with_a_gradient_through_the_mixture_supports_learn_too(oracle: Oracle, oracle_folder: Path) -> None:
    head = Head(oracle("pmms_head_small"), oracle_folder, mixture=Mixture(gradient=True))
    assert all(one.requires_grad for maps in head.method.eval().features(head.one) for one in maps)
    loss = head.method.train().loss(head.one)["loss"]
    loss.backward()
    close(loss, head.stored["train_loss"], 5e-4)
    first, others = head.encoder.maps.grad[:10].unflatten(0, (2, 5)).split([1, 4], dim=1)
    assert first.abs().amax((1, 2, 3, 4)).min() > 0
    assert (others == 0).all()


def test_without_p_conv_it_is_pmms_plus_whose_decoder_has_no_history() -> None:
    both, match_alone = (
        PMMs(ConvNet((8,), (1,), convolutions=1), p_conv=p_conv, channels=8) for p_conv in (True, False)
    )
    assert (both.name, match_alone.name) == ("PMMs", "PMMs+")
    widths = [method.decoder.residual[0].layers[1].in_channels for method in (both, match_alone)]
    assert widths == [10, 8]


# Whole networks


def whole(folder: Path, case: str, stored: dict[str, np.ndarray]) -> PMMs:
    vgg = "vgg16" in case
    method = PMMs(DeepLabVGG16(weights="none") if vgg else ResNet(weights="none"), dropout=0.0)
    state = recipe_state(folder, case, vgg_name if vgg else resnet_name)
    load_named(method, state | {"mixture.start": start(stored)})
    return method


class Network:
    """A whole network after one evaluation, and then one training loss and its gradient."""

    def __init__(self, case: str, stored: dict[str, np.ndarray], folder: Path) -> None:
        self.stored, self.rename = stored, vgg_name if "vgg16" in case else resnet_name
        self.method = whole(folder, case, stored)
        self.batch = one_way(stored["images_u8"], stored["support_label"][None], stored["query_label"][None])
        with torch.no_grad(), record(self.method.eval(), "encoder", "decoder") as self.evaluated:
            self.eval_loss = self.method.loss(self.batch)["loss"]
        with record(self.method.train(), "decoder") as self.trained:
            self.train_loss = self.method.loss(self.batch)["loss"]
        self.train_loss.backward()


@pytest.fixture(scope="module", params=["pmms_full_resnet50_129", "pmms_full_vgg16_129"])
def network(request: pytest.FixtureRequest, oracle: Oracle, oracle_folder: Path) -> Network:
    return Network(request.param, oracle(request.param), oracle_folder)


@pytest.mark.slow
def test_whole_network_evaluates_as_the_official_one(network: Network) -> None:
    close(network.evaluated["decoder"][0], network.stored["eval_out"], 5e-4)
    close(network.eval_loss, network.stored["eval_loss"], 5e-4)


@pytest.mark.slow
def test_whole_network_trains_as_the_official_one(network: Network) -> None:
    close(network.trained["decoder"][0], network.stored["train_out"], 2e-3)
    close(network.train_loss, network.stored["train_loss"], 1e-3)
    close_norms(network.method, network.rename, network.stored["grad_names"], network.stored["grad_norms"], 5e-3)


@pytest.mark.slow
def test_the_same_parameters_are_frozen(network: Network) -> None:
    ours = {name: parameter.requires_grad for name, parameter in network.method.named_parameters()}
    names = [str(network.rename(str(name))) for name in network.stored["grad_names"]]
    assert ours == dict(zip(names, network.stored["requires_grad"].tolist(), strict=True))


# Optimisation


def task(method: PMMs, total_steps: int = 200_001) -> Task:
    """Training as in train.py and my_optim.py of the official code."""
    return Task(
        method,
        optimizer=lambda p: SGD(p, lr=3.5e-4, momentum=0.9, weight_decay=5e-4),
        lr_scheduler=lambda o: Poly(o, total_steps),
        head_lr=10,
        bias_lr=2,
    )


def rates(method: PMMs, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Learning rate of each trained parameter."""
    name = {id(parameter): name for name, parameter in method.named_parameters()}
    return {name[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.slow
def test_rates_of_all_parameters_over_the_whole_training(oracle_folder: Path) -> None:
    stored = json.loads((oracle_folder / "pmms_optim.json").read_text())
    method = PMMs(ResNet(weights="none"))
    trained = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    groups = [trained & {str(resnet_name(official)) for official in group} for group in stored["groups"]]
    assert set().union(*groups) == trained
    optimizer = task(method).configure_optimizers()["optimizer"]
    for name in ("momentum", "weight_decay"):
        assert {group[name] for group in optimizer.param_groups} == set(stored[name])
    for iteration, *expected in stored["schedule"]:
        Poly(optimizer, last_epoch=iteration - 2)  # torch's way of going on with a schedule
        ours = rates(method, optimizer)
        for group, rate in zip(groups, expected, strict=True):
            assert [ours[name] for name in sorted(group)] == pytest.approx([rate] * len(group), rel=1e-12, abs=1e-12)


@pytest.mark.slow
def test_training_steps(oracle: Oracle, oracle_folder: Path) -> None:
    stored = oracle("pmms_train_steps")
    method = whole(oracle_folder, "pmms_train_steps", stored).train()
    with torch.no_grad():
        method.decoder.classify.weight.mul_(float(stored["layer9_weight_scale"]))
    configured = task(method, int(stored["max_steps"])).configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    for t, (images, labels) in enumerate(zip(stored["images_u8"], stored["labels"], strict=True)):
        loss = method.loss(one_way(images, labels[2:], labels[:2]))["loss"]
        close(loss, stored["loss"][t], 1e-4)
        assert sorted(set(rates(method, optimizer).values())) == pytest.approx(stored["lr"][t][[0, 2, 3]], rel=1e-12)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    state = method.state_dict()
    tensors = [state[str(resnet_name(str(name)))].double() for name in stored["param_names"]]
    close(np.array([t.norm() for t in tensors]), stored["param_norm"], atol=0, rtol=1e-4)
    sums = np.array([t.sum() for t in tensors])  # cancel: the oracle grants 1e-3 of the norm
    assert (np.abs(sums - stored["param_sum"]) < 1e-3 * stored["param_norm"]).all()
    close(method.decoder.classify.weight, stored["layer9_weight"], 1e-5)


# Metric


def test_mean_iou_is_the_official_one_but_for_classes_never_seen(oracle: Oracle) -> None:
    """To the official code a class without an episode has IoU 0; ours leaves it out of the mean."""
    stored = oracle("pmms_metric_voc")
    classes = 1 + torch.from_numpy(stored["class_index"]).unsqueeze(1)  # ours count from 1
    prediction, target = (torch.from_numpy(stored[name]).unsqueeze(1) for name in ("pred", "target"))
    metric = ClassIoU(tuple(1 + int(index) for index in stored["class_indexes"]), absent="count")
    metric.update(count(prediction, target, 1), classes, torch.zeros(len(classes), dtype=torch.long))
    group = stored["class_indexes"]
    assert metric.intersection[0, 1 + group].tolist() == stored["tp"][group].tolist()
    assert metric.union[0, 1 + group].tolist() == stored["total"][group].tolist()
    (per_class,) = metric.compute().per_class
    seen = torch.from_numpy(stored["total"][group] > 0)
    assert torch.equal(per_class.isnan(), ~seen)
    close(per_class.nan_to_num(), stored["iou"][group], 1e-12)
    close(per_class.nan_to_num().mean(), stored["group_mean_iou"], 1e-12)
    close(metric.compute().mean, stored["iou"][group][seen.numpy()].mean(), 1e-12)
