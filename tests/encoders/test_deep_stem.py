"""PFENet's encoders: against the official layers, timm's network and torchvision's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model

from fsseg.encoders import VGG16BN, ConvNet, Encoder, ResNet, Timm
from fsseg.errors import FssegError
from fsseg.official_codes.pfenet import resnet_encoder_name, vgg_encoder_name
from tests.oracle_weights import close, load_named, recipe_state

Oracle = Callable[[str], dict[str, np.ndarray]]
LEVELS = ("layer2", "layer3", "layer4")
OF_PFENET: dict[str, Any] = {"taps": LEVELS, "stride_on": "3x3", "ceil_mode": False, "deep_stem": True,
                             "dilate_first": True, "weights": "none"}  # fmt: skip
# timm's names of the stem and those of the authors' file, by their places.
AUTHORS = {"conv1.0.": "conv1.", "conv1.1.": "bn1.", "conv1.3.": "conv2.", "conv1.4.": "bn2.", "conv1.6.": "conv3.",
           "bn1.": "bn3."}  # fmt: skip


def make(network: str) -> Encoder:
    return ResNet(**OF_PFENET) if network == "resnet50" else VGG16BN(weights="none")


@pytest.mark.slow
@pytest.mark.parametrize(("network", "rename"), [("resnet50", resnet_encoder_name), ("vgg16", vgg_encoder_name)])
def test_levels_are_those_of_the_official_network(
    network: str, rename: Callable[[str], str | None], oracle: Oracle, oracle_folder: Path
) -> None:
    case = f"pfenet_full_{network}_129"
    stored, encoder = oracle(case), make(network).eval()
    load_named(encoder, recipe_state(oracle_folder, case, rename))
    query, support = (torch.from_numpy(stored["images_u8"][:, n]).movedim(-1, 1) for n in (0, 1))
    with torch.no_grad():
        levels = encoder(query)
        before = encoder.before_last(support)
        mask = torch.from_numpy(stored["labels"][:, 1] == 1).float().unsqueeze(1)
        small = F.interpolate(mask, before[-1].shape[-2:], mode="bilinear", align_corners=True)
        masked = encoder.last_map(before[-1] * small)
        assert torch.equal(encoder.last_map(levels[-2]), levels[-1])
    for i, level in enumerate(levels, 2):
        assert list(level.shape) == stored[f"layer{i}_shape"].tolist()
        close(level[:, :: level.shape[1] // 8], stored[f"layer{i}_query_sub"], 1e-4)
    close(masked[:, :: masked.shape[1] // 8], stored["layer4_support_masked_sub"], 1e-4)


def test_every_3x3_convolution_of_the_last_layers_is_dilated() -> None:
    network = make("resnet50").network
    found = {
        name: [m.dilation[0] for m in network.get_submodule(name).modules() if getattr(m, "kernel_size", 0) == (3, 3)]
        for name in LEVELS
    }
    assert found == {"layer2": [1] * 4, "layer3": [2] * 6, "layer4": [4] * 3}
    small = ResNet("resnet18", ("layer3",), dilate_first=True, weights="none").network.layer3
    assert [m.dilation[0] for m in small.modules() if getattr(m, "kernel_size", 0) == (3, 3)] == [2] * 4


@pytest.mark.parametrize(("size", "cells"), [(473, (60, 60, 60)), (129, (17, 17, 17))])
def test_sizes_are_those_of_the_code(size: int, cells: tuple[int, ...]) -> None:
    image = torch.empty(1, 3, size, size, device="meta")
    assert tuple(one.shape[-1] for one in make("resnet50").to("meta")(image)) == cells
    of_vgg16 = tuple(one.shape[-1] for one in make("vgg16").to("meta")(image))
    assert of_vgg16 == (cells[0], -(-cells[0] // 2), -(-cells[0] // 2))


# Weights


@pytest.fixture(scope="module")
def timms() -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model("resnet50s").eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def authors_name(name: str) -> str:
    start = next((each for each in AUTHORS if name.startswith(each)), "")
    return AUTHORS[start] + name.removeprefix(start) if start else name


@pytest.mark.slow
@pytest.mark.parametrize("rename", [str, authors_name, lambda name: f"module.{authors_name(name)}"])
def test_files_of_timm_and_of_the_authors_load(timms: nn.Module, rename: Callable[[str], str], tmp_path: Path) -> None:
    state = {rename(name): value for name, value in timms.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "resnet50_v2.pth")
    options = OF_PFENET | {"stride": 32, "weights": str(tmp_path / "resnet50_v2.pth")}
    encoder = ResNet(**options).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        expected = timms.forward_intermediates(encoder.normalise(image), indices=(2, 3, 4), intermediates_only=True)
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(encoder(image), expected, strict=True))


@pytest.mark.slow
def test_torchvisions_weights_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "resnet50.pth")
    torch.save(get_model("resnet50", weights=None).state_dict(), path)
    with pytest.raises(FssegError, match="a stem of one 7x7 convolution, as torchvision's; with deep_stem"):
        ResNet(**OF_PFENET | {"weights": path})


def test_pretrained_ones_are_timms_and_said_to_be_others(
    timms: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def create(name: str, pretrained: bool) -> nn.Module:
        asked.append((name, pretrained))
        if "50" not in name:
            raise OSError("no network")
        return timms

    monkeypatch.setattr(timm, "create_model", create)
    encoder = ResNet(**OF_PFENET | {"weights": "pretrained"})
    assert asked == [("resnet50s.gluon_in1k", True)]
    assert torch.equal(encoder.network.layer4[2].conv3.weight, timms.layer4[2].conv3.weight)
    assert "not from those of PFENet's authors" in caplog.text
    with pytest.raises(FssegError, match="cannot download timm's weights of resnet101s"):
        ResNet("resnet101", **OF_PFENET | {"weights": "pretrained"})


def test_a_deep_stem_needs_bottlenecks() -> None:
    with pytest.raises(FssegError, match="ResNet: deep_stem with resnet18; give resnet50 or resnet101"):
        ResNet("resnet18", deep_stem=True, weights="none")


@pytest.mark.slow
def test_vgg_is_torchvisions_network_without_the_last_pool(tmp_path: Path) -> None:
    theirs = get_model("vgg16_bn", weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "vgg16_bn.pth")
    encoder = VGG16BN(weights=str(tmp_path / "vgg16_bn.pth")).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        found = encoder(image)
        for end, level in zip((24, 34, 43), found, strict=True):
            assert torch.equal(theirs.features[:end](encoder.normalise(image)), level)


# Statistics, and the last map


def buffers(encoder: Encoder) -> list[Tensor]:
    return [buffer.clone() for name, buffer in encoder.named_buffers() if "running" in name]


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
@pytest.mark.parametrize("network", ["resnet50", "vgg16"])
def test_a_frozen_encoder_drifts_with_batch_statistics_only(network: str, batch_norm: Any) -> None:
    options = OF_PFENET if network == "resnet50" else {"weights": "none"}
    encoder = (ResNet if network == "resnet50" else VGG16BN)(**options, batch_norm=batch_norm, frozen=True).train()
    before = buffers(encoder)
    encoder(torch.randint(0, 256, (2, 3, 33, 33), dtype=torch.uint8))
    changed = {not torch.equal(*pair) for pair in zip(before, buffers(encoder), strict=True)}
    assert changed == {batch_norm == "batch"}
    assert encoder.fixed == (batch_norm == "running")
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "taps", "resumes"),
    [
        ("tf_efficientnet_lite0", (2, 3, 4), True),
        ("resnet50s", (2, 3, 4), True),
        ("convnext_tiny", (2, 3), True),
        ("vit_tiny_patch16_224", (5, 11), False),
        ("swin_tiny_patch4_window7_224", (2, 3), False),
        ("resnet18", (3,), False),
    ],
)
def test_timms_convolutional_networks_resume(architecture: str, taps: tuple[int, ...], resumes: bool) -> None:
    encoder = Timm(architecture, taps, weights="none").eval()
    assert encoder.resumes == resumes
    if resumes:
        with torch.no_grad():
            *fine, last = encoder(torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8))
            assert torch.allclose(encoder.last_map(fine[-1]), last, atol=1e-5)
    else:
        with pytest.raises(NotImplementedError, match="cannot start at the map before the last one"):
            encoder.last_map(torch.zeros(1, 1, 1, 1))


def test_maps_before_the_last() -> None:
    encoder, image = ConvNet(), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    assert encoder.before_last(image) == ()
    assert not encoder.resumes
