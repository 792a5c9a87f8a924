from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from fsseg.encoders import VGG16, DeepLabVGG16
from fsseg.errors import FssegError
from fsseg.official_codes.pmms import deeplab_vgg
from tests.conftest import SHARED
from tests.oracle_weights import load_named, recipe_state

POOLS = ("pool3", "pool4", "pool5")
NEEDED = tuple(f"features.{number}." for number in (0, 2, 5, 7, 10, 12, 14))  # by pool3, in torchvision's numbers


@pytest.fixture(scope="module")
def encoder() -> VGG16:
    torch.manual_seed(0)
    return VGG16(weights="none")


@pytest.mark.parametrize(("pixels", "cells"), [(97, 13), (65, 9), (64, 8)])
def test_stride_is_eight_with_padded_pools(encoder: VGG16, pixels: int, cells: int) -> None:
    with torch.no_grad():
        (feature,) = encoder(torch.zeros(1, 3, pixels, pixels, dtype=torch.uint8))
    assert feature.shape == (1, 512, cells, cells)
    assert (encoder.stride, encoder.channels) == (8, 512)


def test_panets_images_of_417_become_53_cells(encoder: VGG16) -> None:
    with torch.no_grad():
        shape = VGG16(weights="none").to("meta")(torch.empty(1, 3, 417, 417, device="meta"))[0].shape
    assert shape == (1, 512, 53, 53)


def test_all_of_its_14_71_million_parameters_are_trained(encoder: VGG16) -> None:
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == 14_714_688


def test_features_are_signed(encoder: VGG16) -> None:
    with torch.no_grad():
        (feature,) = encoder(torch.randint(0, 256, (1, 3, 33, 33), dtype=torch.uint8))
    assert 0.2 < (feature < 0).float().mean() < 0.8


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.ModuleDict, str]:
    """Torchvision's network at random, and the file of its weights."""
    torch.manual_seed(1)
    # A classifier isn't needed, and may be there; torchvision's has 120 million weights.
    network = nn.ModuleDict({"features": make_layers(cfgs["D"]), "classifier": nn.Linear(2, 2)})
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(network.state_dict(), path)
    return network, str(path)


@pytest.mark.parametrize("make", [VGG16, DeepLabVGG16])
def test_torchvisions_weights_load_by_name_and_order(
    make: Callable[..., nn.Module], torchvisions: tuple[nn.ModuleDict, str]
) -> None:
    theirs, path = torchvisions
    ours = make(weights=path)
    pairs = [
        [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        for network in (ours.network["features"], theirs["features"])
    ]
    assert len(pairs[0]) == 13
    for our, their in zip(*pairs, strict=True):
        assert torch.equal(our.weight, their.weight)
        assert torch.equal(our.bias, their.bias)


def test_torchvisions_weights_with_batch_norm_load(tmp_path: Path) -> None:
    theirs = nn.ModuleDict({"features": make_layers(cfgs["D"], batch_norm=True), "classifier": nn.Linear(2, 2)})
    torch.save(theirs.state_dict(), tmp_path / "vgg16_bn.pth")
    ours = VGG16(str(tmp_path / "vgg16_bn.pth"), taps=("pool2", "pool5"), batch_norm=True).network.state_dict()
    assert len(ours) == 13 * 7
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.items())
    cut = VGG16(str(tmp_path / "vgg16_bn.pth"), taps=("pool2", "pool3"), batch_norm=True)
    assert (cut.widths, cut.stride, len(cut.network.state_dict())) == ((128, 256), 4, 7 * 7)


@pytest.mark.parametrize("make", [VGG16, DeepLabVGG16])
@pytest.mark.parametrize("prefix", ["features.", ""])
def test_state_dicts_of_the_features_alone_load_in_half_precision(
    make: Callable[..., nn.Module], prefix: str, torchvisions: tuple[nn.ModuleDict, str], tmp_path: Path
) -> None:
    features = torchvisions[0]["features"].state_dict()
    torch.save({f"{prefix}{name}": value.half() for name, value in features.items()}, tmp_path / "features.pth")
    ours = make(weights=str(tmp_path / "features.pth")).network["features"].state_dict()
    assert ours.keys() == features.keys()
    assert all(value.dtype == torch.float32 for value in ours.values())
    assert all(torch.equal(value, features[name].half().float()) for name, value in ours.items())


@pytest.mark.slow
@pytest.mark.parametrize("make", [VGG16, DeepLabVGG16])
def test_real_features_load(make: Callable[..., nn.Module]) -> None:
    path = SHARED / "weights" / "vgg16_imagenet_features_half.pth"
    if not path.is_file():
        pytest.skip(f"no {path}")
    state = torch.load(path, weights_only=True)
    own = make(weights=str(path)).network.state_dict()
    assert all(torch.equal(own[name], value.float()) for name, value in state.items())


# PMMs' and SG-One's


@pytest.fixture(scope="module")
def deeplab() -> DeepLabVGG16:
    torch.manual_seed(0)
    return DeepLabVGG16(POOLS, extra=False, weights="none").eval()


@pytest.mark.slow
def test_pmms_features_are_those_of_the_official_network(
    oracle: Callable[[str], dict[str, np.ndarray]], oracle_folder: Path
) -> None:
    stored = oracle("pmms_full_vgg16_129")
    encoder = DeepLabVGG16(weights="none")
    load_named(encoder.network, recipe_state(oracle_folder, "pmms_full_vgg16_129", deeplab_vgg))
    with torch.no_grad():
        (feature,) = encoder(torch.from_numpy(stored["images_u8"]).permute(0, 3, 1, 2))
    assert list(feature.shape) == stored["backbone_shape"].tolist()
    np.testing.assert_allclose(feature[:, ::16].numpy(), stored["backbone_sub"], rtol=0, atol=1e-4)


def test_layers_have_torchvisions_numbers_and_only_other_pools(
    deeplab: DeepLabVGG16, torchvisions: tuple[nn.ModuleDict, str]
) -> None:
    ours, theirs = deeplab.network["features"], torchvisions[0]["features"]
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    assert [(p.kernel_size, p.stride, p.padding) for p in ours if isinstance(p, nn.MaxPool2d)] == [
        (3, stride, 1) for stride in (2, 2, 2, 1, 1)
    ]
    assert {m.dilation for m in ours if isinstance(m, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize(
    ("taps", "extra", "widths"),
    [
        (("pool5",), True, (512,)),
        (POOLS, False, (256, 512, 512)),
        (POOLS, True, (256, 512, 512)),
        (("pool3",), False, (256,)),
    ],
)
@pytest.mark.parametrize(("pixels", "cells"), [(65, 9), (64, 8)])
def test_widths_and_stride_of_the_taps(
    taps: tuple[str, ...], extra: bool, widths: tuple[int, ...], pixels: int, cells: int
) -> None:
    encoder = DeepLabVGG16(taps, extra, weights="none").to("meta")
    assert (encoder.name, encoder.widths, encoder.channels, encoder.stride) == ("VGG16", widths, sum(widths), 8)
    shapes = [tuple(one.shape) for one in encoder(torch.empty(2, 3, pixels, pixels, device="meta"))]
    assert shapes == [(2, width, cells, cells) for width in widths]


def outputs(encoder: DeepLabVGG16, images: Tensor) -> dict[str, Tensor]:
    """Features after each of the last three pools, by their numbers."""
    features = encoder.network["features"]
    ends = zip(POOLS, (17, 24, 31), strict=True)
    return {name: features[:end](encoder.normalise(images)) for name, end in ends}


def test_taps_are_the_outputs_of_the_pools(deeplab: DeepLabVGG16) -> None:
    images = torch.randint(0, 256, (1, 3, 33, 33), dtype=torch.uint8)
    with torch.no_grad():
        for tap, feature in zip(POOLS, deeplab(images), strict=True):
            assert (feature >= 0).all()  # a ReLU after every convolution
            assert torch.equal(feature, outputs(deeplab, images)[tap])


def test_the_extra_convolution_stands_behind_the_last_tap_without_relu() -> None:
    encoder = DeepLabVGG16(("pool4", "pool5"), weights="none").eval()
    images = torch.randint(0, 256, (1, 3, 33, 33), dtype=torch.uint8)
    extra = encoder.network["extra"]
    assert extra.bias is not None
    with torch.no_grad():
        pool4, behind = encoder(images)
        expected = outputs(encoder, images)
        assert torch.equal(pool4, expected["pool4"])
        torch.testing.assert_close(behind, F.conv2d(expected["pool5"], extra.weight, extra.bias, padding=1))
    assert 0.2 < (behind < 0).float().mean() < 0.8


def test_the_extra_convolution_starts_at_random_whatever_the_file(torchvisions: tuple[nn.ModuleDict, str]) -> None:
    bounds = (6 / (2 * 9 * 512)) ** 0.5  # Glorot and Bengio 2010, uniform
    weight = DeepLabVGG16(weights=torchvisions[1]).network["extra"].weight
    assert 0.99 * bounds < weight.abs().max() <= bounds
    assert not torch.equal(weight, DeepLabVGG16(weights=torchvisions[1]).network["extra"].weight)


def test_blocks_behind_the_last_tap_are_dropped_and_may_be_missing(
    torchvisions: tuple[nn.ModuleDict, str], tmp_path: Path
) -> None:
    network, path = torchvisions
    few = {name: value for name, value in network.state_dict().items() if name.startswith(NEEDED)}
    torch.save(few, tmp_path / "few.pth")
    for weights in (path, str(tmp_path / "few.pth")):
        own = DeepLabVGG16(("pool3",), extra=False, weights=weights).network.state_dict()
        assert own.keys() == few.keys()
        assert all(torch.equal(value, few[name]) for name, value in own.items())


@pytest.mark.parametrize(
    ("taps", "extra", "words"),
    [
        (("pool2",), False, ("pool2", "pool3, pool4, pool5")),
        (("pool5", "pool3"), True, ("['pool5', 'pool3']", "order")),
        ((), False, ("taps []",)),
        (("pool3", "pool4"), True, ("extra", "pool5", "extra false")),
    ],
)
def test_what_it_cannot_be_is_said_in_one_line(taps: tuple[str, ...], extra: bool, words: tuple[str, ...]) -> None:
    with pytest.raises(FssegError) as error:
        DeepLabVGG16(taps, extra, weights="none")
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in ("DeepLabVGG16", *words))


def test_weights_that_dont_fit_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "few.pth")
    with pytest.raises(FssegError, match=r"don't fit vgg16: the file lacks features.0.bias, .* and 22 more") as error:
        DeepLabVGG16(weights=str(tmp_path / "few.pth"))
    assert "\n" not in str(error.value)
