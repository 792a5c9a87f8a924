"""The contract of encoders, of every encoder found in the package."""

import inspect
from typing import Any

import pytest
import torch

import fsseg.encoders
from fsseg.encoders import Encoder
from tests.found import concrete, modules

# Options of small networks, and of several maps.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ConvNet": [{"widths": (8, 16), "strides": (2, 2)}],
    "ResNet": [{"architecture": "resnet18"}, {"architecture": "resnet18", "taps": ("layer1", "layer4"), "stride": 16}],
    "Torchvision": [{"architecture": "resnet18"}, {"architecture": "resnet18", "taps": ("layer1", "layer3")}],
    "DeepLabVGG16": [{}, {"taps": ("pool3", "pool4", "pool5"), "extra": False}],
}


CASES = [
    (kind, options)
    for kind in concrete(modules(fsseg.encoders), Encoder)
    for options in SETTINGS.get(kind.__name__, [{}])
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].__name__}-{len(case[1].get('taps', 'x'))}")
def encoder(request: pytest.FixtureRequest) -> Encoder:
    kind, options = request.param
    weights = {"weights": "none"} if "weights" in inspect.signature(kind).parameters else {}
    return kind(**options, **weights).eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randint(256, (count, 3, 40, 56), dtype=torch.uint8)


def test_maps_are_fine_to_coarse_and_as_wide_as_promised(encoder: Encoder) -> None:
    with torch.no_grad():
        maps = encoder(images())
    assert isinstance(maps, tuple)
    assert tuple(one.shape[1] for one in maps) == encoder.widths
    assert sum(encoder.widths) == encoder.channels
    sizes = [one.shape[-2] * one.shape[-1] for one in maps]
    assert sizes == sorted(sizes, reverse=True)
    assert all(len(one) == 2 and one.dtype == torch.float32 for one in maps)
    assert maps[0].shape[-1] == pytest.approx(56 / encoder.stride, abs=1)


def test_each_image_is_encoded_on_its_own(encoder: Encoder) -> None:
    both = images()
    with torch.no_grad():
        for together, alone in zip(encoder(both), encoder(both[1:]), strict=True):
            torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


def test_it_normalises_its_input_and_the_numbers_are_no_weights(encoder: Encoder) -> None:
    one = images(1)
    expected = (one / 255 - encoder.mean) / encoder.std
    torch.testing.assert_close(encoder.normalise(one), expected)
    assert not {"mean", "std"} & set(encoder.state_dict())


def test_it_has_a_name_and_origin_of_weights(encoder: Encoder) -> None:
    assert encoder.name
    assert encoder.weights in ("none", None)
