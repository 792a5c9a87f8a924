from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from fsseg.encoders import ResNet, without_pretrained_weights
from fsseg.errors import FssegError
from fsseg.official_codes.renaming import by_prefix
from tests.conftest import SHARED
from tests.oracle_weights import load_named, recipe_state

Oracle = Callable[[str], dict[str, np.ndarray]]
OF_TORCHVISION = {"stride_on": "3x3", "ceil_mode": False, "batch_norm": "running"}


def images(number: int = 1, size: int = 65) -> Tensor:
    return torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8)


def rgb(stored: dict[str, np.ndarray]) -> Tensor:
    """The oracle's images as ours: channels first."""
    return torch.from_numpy(stored["images_u8"]).permute(0, 3, 1, 2)


def close(actual: Tensor, expected: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=atol)


# Against the official code


@pytest.fixture(scope="module")
def pmms() -> ResNet:
    """The encoder of PMMs and CANet; by default everything is theirs."""
    return ResNet(weights="none")


@pytest.mark.slow
def test_layers_are_those_of_the_official_network(pmms: ResNet, oracle: Oracle, oracle_folder: Path) -> None:
    case = "pmms_full_resnet50_129"
    stored = oracle(case)
    load_named(pmms.eval(), recipe_state(oracle_folder, case, by_prefix({"model_res.": "network."})))
    feature, stages = pmms.normalise(rgb(stored)), {}
    with torch.no_grad():
        for name, layer in pmms.network.named_children():
            stages[name] = feature = layer(feature)
        assert all(map(torch.equal, pmms(rgb(stored)), (stages["layer2"], stages["layer3"])))
    for i in (1, 2, 3):
        stage = stages[f"layer{i}"]
        assert list(stage.shape) == stored[f"stage{i}_shape"].tolist()
        close(stage[:, :: stage.shape[1] // 16], stored[f"stage{i}_sub"], 1e-4)


@pytest.mark.slow
def test_canets_reduced_features(pmms: ResNet, oracle: Oracle, oracle_folder: Path) -> None:
    stored = oracle("canet_full_129")
    names = {name: f"encoder.network.{name}" for name in ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")}
    state = recipe_state(oracle_folder, "canet_full_129", by_prefix(names | {"layer5.0.": "reducer."}))
    weight, bias = state.pop("reducer.weight"), state.pop("reducer.bias")
    load_named(nn.ModuleDict({"encoder": pmms.eval()}), state)
    with torch.no_grad():
        reduced = F.relu(F.conv2d(torch.cat(pmms(rgb(stored)), dim=1), weight, bias, padding=2, dilation=2))
    close(reduced[:1, ::16], stored["feat_query_sub"], 3e-4)
    close(reduced[1:, ::16], stored["feat_support_sub"], 3e-4)


# Against torchvision


@cache
def theirs(architecture: str, dilated: bool = False) -> nn.Module:
    torch.manual_seed(0)
    dilation = {"replace_stride_with_dilation": [False, True, True]} if dilated else {}
    network = get_model(architecture, weights=None, **dilation)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that matter
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def ours(architecture: str, tmp_path: Path, *taps: str, stride: int) -> ResNet:
    torch.save(theirs(architecture).state_dict(), tmp_path / "weights.pth")
    return ResNet(architecture, taps, stride=stride, weights=str(tmp_path / "weights.pth"), **OF_TORCHVISION)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("tap", ["layer2", "layer3"])
@pytest.mark.slow
def test_undilated_it_is_torchvisions_network(architecture: str, tap: str, tmp_path: Path) -> None:
    encoder, image = ours(architecture, tmp_path, tap, stride=32), images(2, 64)
    reference = create_feature_extractor(theirs(architecture), [tap])
    with torch.no_grad():
        (feature,), expected = encoder(image), reference(encoder.normalise(image))[tap]
    assert torch.equal(feature, expected)
    assert feature.shape[1:] == (encoder.channels, 64 // encoder.stride, 64 // encoder.stride)


@pytest.mark.slow
def test_with_the_stride_on_3x3_it_is_torchvisions_dilated_network(tmp_path: Path) -> None:
    encoder, image = ours("resnet50", tmp_path, "layer2", "layer3", "layer4", stride=8), images()
    dilated = theirs("resnet50", dilated=True)
    dilated.load_state_dict(theirs("resnet50").state_dict())
    with torch.no_grad():
        expected = create_feature_extractor(dilated, ["layer2", "layer3", "layer4"])(encoder.normalise(image))
        assert all(map(torch.equal, encoder(image), expected.values()))


def dilations(layer: nn.Module) -> list[int]:
    return [m.dilation[0] for m in layer.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]


def test_a_bottlenecks_stride_stands_on_the_1x1_and_all_of_layer3_is_dilated(pmms: ResNet) -> None:
    first = pmms.network.layer2[0]
    assert (first.conv1.stride, first.conv2.stride, first.downsample[0].stride) == ((2, 2), (1, 1), (2, 2))
    assert dilations(pmms.network.layer3) == [2] * 6
    assert dilations(pmms.network.layer2) == [1] * 4
    assert dilations(ResNet(weights="none", stride_on="3x3").network.layer3) == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(("ceil_mode", "cells"), [(True, (33, 17)), (False, (32, 16))])
def test_even_images_give_one_cell_more_when_the_stem_rounds_up(ceil_mode: bool, cells: tuple[int, int]) -> None:
    for tap, side in zip(("layer1", "layer2"), cells, strict=True):
        encoder = ResNet("resnet18", (tap,), ceil_mode=ceil_mode, weights="none").eval()
        assert encoder(images(size=128))[0].shape[-2:] == (side, side)


@pytest.mark.parametrize(
    ("architecture", "taps", "stride", "name", "widths"),
    [
        ("resnet18", ("layer1", "layer3"), 8, "ResNet18", (64, 256)),
        ("resnet34", ("layer4",), 16, "ResNet34", (512,)),
        ("resnet50", ("layer2", "layer3"), 4, "ResNet50", (512, 1024)),
        ("resnet101", ("layer2", "layer3"), 8, "ResNet101", (512, 1024)),
    ],
)
@pytest.mark.slow
def test_name_widths_and_stride_are_those_of_its_features(
    architecture: str, taps: tuple[str, ...], stride: int, name: str, widths: tuple[int, ...]
) -> None:
    encoder = ResNet(architecture, taps, stride=stride, weights="none").eval()
    assert (encoder.name, encoder.widths, encoder.channels) == (name, widths, sum(widths))
    with torch.no_grad():
        maps = encoder(images(size=33))
    cells = (33 - 1) // encoder.stride + 1
    assert maps[0].shape == (1, widths[0], cells, cells)
    assert tuple(one.shape[1] for one in maps) == widths
    assert encoder.stride == (4 if "layer1" in taps else stride)


# Without the last ReLU


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.slow
def test_without_its_last_relu_the_last_tap_is_signed_and_all_else_is_the_same(architecture: str) -> None:
    """MLC's baseline matches signed features; a ReLU on them gives back those of the whole network."""
    with_relu = ResNet(architecture, weights="none").eval()
    signed = ResNet(architecture, last_relu=False, weights="none").eval()
    signed.load_state_dict(with_relu.state_dict())
    image = images()
    with torch.no_grad():
        (fine, coarse), (expected_fine, expected) = signed(image), with_relu(image)
    assert torch.equal(fine, expected_fine)
    assert (coarse < 0).any()
    assert torch.equal(coarse.relu(), expected)


# What is trained


def statistics(encoder: ResNet) -> list[Tensor]:
    return [buffer.clone() for name, buffer in encoder.named_buffers() if "running" in name]


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_training_follows_the_statistics_asked_for(batch_norm: str) -> None:
    encoder = ResNet("resnet18", ("layer1",), batch_norm=batch_norm, weights="none")
    encoder.eval().train()
    before, image = statistics(encoder), images(2, 33)
    (together,) = encoder(image)
    changed = [not torch.equal(a, b) for a, b in zip(before, statistics(encoder), strict=True)]
    assert len(changed) == 2 * 5
    assert set(changed) == {batch_norm == "batch"}
    assert torch.allclose(together[:1], encoder(image[:1])[0], atol=1e-5) == (batch_norm == "running")


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_affine_weights_are_frozen_and_convolutions_trained(batch_norm: str) -> None:
    encoder = ResNet("resnet18", batch_norm=batch_norm, weights="none").train()
    sum(one.square().sum() for one in encoder(images(2, 33))).backward()
    for module in encoder.network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Conv2d):
            trained = isinstance(module, nn.Conv2d)
            assert {weight.requires_grad for weight in module.parameters()} == {trained}
            assert (module.weight.grad is not None) == trained


def test_requires_grad_is_the_official_networks(pmms: ResNet, oracle: Oracle) -> None:
    stored = oracle("pmms_full_resnet50_129")
    official = dict(zip(stored["grad_names"].tolist(), stored["requires_grad"].tolist(), strict=True))
    expected = {n.removeprefix("model_res."): needed for n, needed in official.items() if n.startswith("model_res.")}
    assert {n: p.requires_grad for n, p in pmms.network.named_parameters()} == expected


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_a_frozen_encoder_has_nothing_to_train_and_keeps_its_batch_norm_policy(batch_norm: str) -> None:
    encoder = ResNet("resnet18", batch_norm=batch_norm, frozen=True, weights="none").train()
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    before = statistics(encoder)
    assert not any(one.requires_grad for one in encoder(images(2, 33)))
    assert torch.equal(before[0], statistics(encoder)[0]) == (batch_norm == "running")


# Weights and mistakes


@pytest.mark.slow
def test_layers_behind_the_last_tap_are_dropped_and_may_be_missing(tmp_path: Path) -> None:
    state = theirs("resnet18").state_dict()
    unused = ("layer3.", "layer4.", "fc.")
    few = {name: value for name, value in state.items() if not name.startswith(unused)}
    for content in (few, state):
        torch.save(content, tmp_path / "weights.pth")
        encoder = ResNet("resnet18", ("layer2",), weights=str(tmp_path / "weights.pth"))
        own = encoder.network.state_dict()
        assert own.keys() == few.keys()
        assert all(torch.equal(value, few[name]) for name, value in own.items())


@pytest.mark.slow
def test_weights_that_dont_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    path = str(tmp_path / "weights.pth")
    torch.save(theirs("resnet18").state_dict(), path)
    for weights, *words in ((path, path, "don't fit resnet34", "lacks"), (path + "x", "no such file", "pretrained")):
        with pytest.raises(FssegError) as error:
            ResNet("resnet34", weights=weights)
        assert "\n" not in str(error.value)
        assert all(word in str(error.value) for word in words)
    with without_pretrained_weights():
        ResNet("resnet18", weights="/nowhere.pth")


def test_real_weights_to_layer3_load() -> None:
    path = SHARED / "weights" / "resnet18_imagenet_to_layer3.pth"
    if not path.is_file():
        pytest.skip(f"no {path}")
    state = torch.load(path, weights_only=True)
    encoder = ResNet("resnet18", weights=str(path))
    assert torch.equal(encoder.network.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"architecture": "resnet152"}, ("resnet152", "resnet101")),
        ({"taps": ("layer5",)}, ("layer5", "layer1, layer2, layer3, layer4")),
        ({"taps": ("layer3", "layer2")}, ("['layer3', 'layer2']", "order")),
        ({"taps": ("layer2", "layer2")}, ("each once",)),
        ({"taps": ()}, ("taps []",)),
        ({"stride": 12}, ("stride 12", "power of two")),
        ({"stride": 0}, ("stride 0",)),
    ],
)
def test_what_it_cannot_be_is_said_in_one_line(arguments: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(FssegError) as error:
        ResNet(**{"weights": "none", **arguments})
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in ("ResNet", *words))
