"""The contract of encoders, of every encoder found in the package."""

import inspect
from typing import Any

import pytest

import fsseg.encoders
from fsseg.contracts.encoders import CHECKS, Make, check_frozen
from fsseg.encoders import FCN32, VGG16BN, Encoder, ResNet
from fsseg.encoders.base import given_arguments, stage_names
from fsseg.errors import FssegError
from tests.found import concrete, modules

# Options of small networks, and of several maps.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ConvNet": [{"widths": (8, 16), "strides": (2, 2)}],
    "ResNet": [
        {"architecture": "resnet18"},
        {"architecture": "resnet18", "taps": ("layer1", "layer2", "layer3"), "batch_norm": "trained"},
        {"architecture": "resnet18", "taps": ("layer1", "layer4"), "stride": 16},
        {"architecture": "resnet50", "taps": ("layer2",), "deep_stem": True, "dilate_first": True},
    ],
    "Torchvision": [
        {"architecture": "resnet18"},
        {"architecture": "resnet18", "taps": ("layer1", "layer3")},
        {"architecture": "resnet18", "taps": ("layer1.1.add", "layer3.0.add", "layer4"), "stride": 32},
    ],
    "Timm": [{"architecture": "resnet18"}, {"architecture": "vit_tiny_patch16_224", "taps": (5, -1)}],
    "FCN32": [{"fc6": 8}],
    "VGG16": [{}, {"taps": ("pool2", "pool5"), "dilations": (2, 4), "batch_norm": True}],
    "VGG16BN": [{}, {"taps": ("pool2",)}],
    "DeepLabVGG16": [{}, {"taps": ("pool3", "pool4", "pool5"), "extra": False}],
}


CASES = [
    pytest.param((kind, options), marks=[pytest.mark.slow] if kind is FCN32 else [])
    for kind in concrete(modules(fsseg.encoders), Encoder)
    for options in SETTINGS.get(kind.__name__, [{}])
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].__name__}-{len(case[1].get('taps', 'x'))}")
def make(request: pytest.FixtureRequest) -> Make:
    kind, options = request.param
    weights = {"weights": "none"} if "weights" in inspect.signature(kind).parameters else {}
    return lambda **changes: kind(**{**options, **weights, **changes})


@pytest.fixture
def encoder(make: Make) -> Encoder:
    return make().eval()


@pytest.mark.parametrize("check", CHECKS)
def test_check_passes(make: Make, check: str) -> None:
    CHECKS[check](make)


def test_weights_are_none(encoder: Encoder) -> None:
    assert encoder.weights in ("none", None)


# Frozen encoders. BatchNorm of ResNet and VGG16BN has an option of its own; by default it is as in official codes.


def frozen_of(encoder: Encoder, frozen: bool | tuple[str, ...]) -> Encoder:
    """The same encoder, frozen."""
    given = given_arguments(encoder)
    statistics = {"batch_norm": "running"} if isinstance(encoder, ResNet | VGG16BN) else {}
    made = type(encoder)(**{**statistics, **given, "frozen": frozen})
    made.load_state_dict(encoder.state_dict())
    return made.train()


def stages(encoder: Encoder) -> list[str]:
    return stage_names(name for name, _ in encoder.network.named_parameters())


def test_a_frozen_encoder_is_fixed_and_passes_the_checks(encoder: Encoder) -> None:
    assert frozen_of(encoder, True).fixed
    assert not encoder.train().fixed
    check_frozen(lambda frozen: frozen_of(encoder, frozen))


def test_stages_are_frozen_by_name(encoder: Encoder) -> None:
    names = stages(encoder)
    frozen = frozen_of(encoder, (names[0],))
    gradients = {name: p.requires_grad for name, p in frozen.network.named_parameters()}
    below = {name for name in gradients if name == names[0] or name.startswith(f"{names[0]}.")}
    assert below
    assert not any(gradients[name] for name in below)
    free = {name for name, p in encoder.network.named_parameters() if p.requires_grad}
    assert {name for name, needed in gradients.items() if needed} == free - below
    assert not frozen.fixed
    held = dict(frozen.network.named_modules()).get(names[0])  # None for a parameter
    assert held is None or not any(module.training for module in held.modules())
    assert frozen.training
    assert not any(module.training for module in frozen.eval().modules())


def test_an_unknown_stage_is_refused_and_the_stages_are_named(encoder: Encoder) -> None:
    wrong = f"{stages(encoder)[0]}x"
    with pytest.raises(FssegError) as error:
        frozen_of(encoder, (wrong,))
    assert "\n" not in str(error.value)
    assert f"has no stage {wrong} to freeze. Did you mean {stages(encoder)[0]}? It has: " in str(error.value)
    assert stages(encoder)[-1] in str(error.value)
