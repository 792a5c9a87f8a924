from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.resnet import BasicBlock

from fsseg.encoders import Torchvision
from fsseg.errors import FssegError


def encoder(architecture: str, *taps: str, stride: int = 8, weights: str = "none", frozen: bool = True) -> Torchvision:
    return Torchvision(architecture, taps, stride, weights, frozen_batch_norm=frozen)


def images(number: int = 1, size: int = 128) -> Tensor:
    return torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("architecture", "tap", "stride", "channels", "cells"),
    [
        ("resnet18", "layer3", 8, 256, 16),
        ("resnet18", "layer4", 16, 512, 8),
        ("squeezenet1_0", "features.12", 8, 512, 15),  # its first convolution has no padding
        ("mobilenet_v2", "features.17", 8, 320, 16),
        ("mobilenet_v2", "features.17", 16, 320, 8),
    ],
)
@pytest.mark.slow
def test_stride_and_channels_are_those_of_the_features(
    architecture: str, tap: str, stride: int, channels: int, cells: int
) -> None:
    made = encoder(architecture, tap, stride=stride)
    assert (made.stride, made.channels) == (stride, channels)
    with torch.no_grad():
        assert made.eval()(images())[0].shape == (1, channels, cells, cells)


@cache
def random_resnet18() -> nn.Module:
    torch.manual_seed(0)
    network = get_model("resnet18", weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that matter
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture
def resnet18_file(tmp_path: Path) -> str:
    torch.save(random_resnet18().state_dict(), tmp_path / "resnet18.pth")
    return str(tmp_path / "resnet18.pth")


@pytest.mark.parametrize(("tap", "stride", "every"), [("layer3", 8, 2), ("layer3", 4, 4), ("layer4", 8, 4)])
@pytest.mark.slow
def test_dilation_keeps_the_features_where_the_strided_network_has_them(
    tap: str, stride: int, every: int, resnet18_file: str
) -> None:
    made = encoder("resnet18", tap, stride=stride, weights=resnet18_file).eval()
    image = images()
    reference = create_feature_extractor(random_resnet18(), [tap])
    with torch.no_grad():
        (dense,), strided = made(image), reference(made.normalise(image))[tap]
    assert dense.shape[-1] == every * strided.shape[-1]
    torch.testing.assert_close(dense[..., ::every, ::every], strided, rtol=1e-4, atol=1e-4 * strided.abs().max().item())


@pytest.mark.slow
def test_two_taps_are_two_maps_from_fine_to_coarse() -> None:
    made = encoder("resnet18", "layer1", "layer3", stride=8).eval()
    image = images(size=64)
    with torch.no_grad():
        fine, coarse = made(image)
        layer1 = create_feature_extractor(made.network, ["layer1"])(made.normalise(image))["layer1"]
    assert made.widths == (64, 256)
    assert fine.shape == (1, 64, 64 // made.stride, 64 // made.stride) == (1, 64, 16, 16)
    assert coarse.shape == (1, 256, 8, 8)
    torch.testing.assert_close(fine, layer1)


@pytest.mark.slow
def test_taps_before_a_relu_in_place_keep_their_sign() -> None:
    """Against a network whose ReLUs write elsewhere: in torchvision's, they write into the convolution's result."""
    made = encoder("vgg16", "features.17", "features.28", "features.30", stride=32).eval()
    network = get_model("vgg16", weights=None).features.eval()
    network.load_state_dict({name.removeprefix("network.features."): v for name, v in made.state_dict().items()})
    image = images(size=96)
    x, expected = made.normalise(image), []
    with torch.no_grad():
        for number, layer in enumerate(network):
            x = x.relu() if isinstance(layer, nn.ReLU) else layer(x)
            expected += [x] if number in (17, 28, 30) else []
        for one, other in zip(made(image), expected, strict=True):
            torch.testing.assert_close(one, other)
    assert made.strides == (8, 16, 32)
    assert [bool(one.min() < 0) for one in expected] == [True, True, False]


@pytest.mark.slow
def test_sums_of_blocks_are_maps_before_their_last_relu() -> None:
    made = encoder("resnet18", "layer2.0.add", "layer2", stride=32).eval()
    image = images(size=64)
    with torch.no_grad():
        summed, last = made(image)
        block = BasicBlock(128, 128).eval()
        block.load_state_dict(made.network.get_submodule("layer2.1").state_dict())
        assert summed.min() < 0
        torch.testing.assert_close(block(summed.relu()), last)


def batch_norm_state(made: Torchvision) -> list[Tensor]:
    return [b.clone() for name, b in made.named_buffers() if "running" in name]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.slow
def test_frozen_batch_norm_stays_frozen_under_train(frozen: bool) -> None:
    made = encoder("resnet18", "layer1", stride=4, frozen=frozen)
    made.train()
    before = batch_norm_state(made)
    (feature,) = made(images(2, 32))
    feature.sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, batch_norm_state(made), strict=True)) == frozen
    affine = [p for m in made.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    assert all(p.requires_grad != frozen for p in affine)
    assert all((p.grad is None) == frozen for p in affine)
    convolutions = [m.weight for m in made.modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.grad is not None for weight in convolutions)


@pytest.mark.slow
def test_only_what_the_taps_need_is_kept_and_needed(tmp_path: Path) -> None:
    state = random_resnet18().state_dict()
    torch.save({n: v for n, v in state.items() if not n.startswith(("layer3", "layer4", "fc"))}, tmp_path / "few.pth")
    made = encoder("resnet18", "layer2", weights=str(tmp_path / "few.pth"))
    assert not any(name.startswith(("network.layer3", "network.fc")) for name in made.state_dict())
    assert torch.equal(made.network.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet19", "layer3"), ("no network resnet19. Did you mean resnet18?", "torchvision.models")),
        (("resnet18", "layer9"), ("no node layer9. Did you mean layer4?", "conv1", "layer1, layer2, layer3")),
        (("mobilenet_v2", "layer3"), ("no node layer3", "features.17, features.18")),
    ],
)
def test_unknown_names_are_refused(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(FssegError) as error:
        encoder(*arguments)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("taps", [("layer2", "layer1"), ("layer1", "layer1"), ()])
@pytest.mark.slow
def test_taps_are_given_once_in_the_order_of_the_network(taps: tuple[str, ...]) -> None:
    with pytest.raises(FssegError) as error:
        encoder("resnet18", *taps)
    assert "\n" not in str(error.value)
    assert f"taps {list(taps)}" in str(error.value)
