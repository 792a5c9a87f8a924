"""Names of encoders: what the table says of them is so, and the real files fit them."""

from pathlib import Path

import pytest
import torch

from fsseg.encoders import NAMES, build, without_pretrained_weights
from fsseg.encoders.names import Named
from fsseg.errors import FssegError
from tests.conftest import SHARED

ROOT = Path(__file__).parents[2]
LARGE = {"dinov2_l", "dinov3_l"}  # 300 million parameters take long; the smaller ones have the same code
FILES = {
    "resnet18": "resnet18_imagenet_to_layer3.pth",
    "vgg16": "vgg16_imagenet_features_half.pth",
    "mobilenet_v2": "mobilenet_v2_from_tflite_quant.pth",
    "squeezenet1_0": "squeezenet1_0_deepcompression.pth",
    "efficientnet_lite0": "tf_efficientnet_lite0_timm_half.pth",
}


def table() -> str:
    """The table of docs/encoders.md."""
    head = "| name | network | parameters, M | channels | stride | image sides | licence of the weights | good for |"
    return "\n".join([head, f"{'| --- ' * 8}|", *(f"| {' | '.join(cells(*one))} |" for one in NAMES.items())])


def cells(name: str, entry: Named) -> list[str]:
    network = f"`{entry.kind.__name__}` {entry.arguments.get('architecture', entry.kind.__name__)}"
    sides = "any" if entry.multiple == 1 else f"multiples of {entry.multiple}"
    numbers = [str(number) for number in (entry.parameters, entry.channels, entry.stride)]
    return [f"`{name}`", network, *numbers, sides, entry.licence, entry.use]


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    assert table() in (ROOT / "docs/encoders.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in LARGE])
def test_the_table_says_what_is_built(name: str) -> None:
    entry, encoder = NAMES[name], build(name, weights="none").eval()
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert (round(parameters, 1), encoder.channels, encoder.stride) == (entry.parameters, entry.channels, entry.stride)
    side = 8 * entry.stride
    with torch.no_grad():
        feature, *_ = encoder(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    assert abs(feature.shape[-1] - side / entry.stride) <= 1  # SqueezeNet's first convolution has no padding
    assert getattr(encoder, "_multiple", 1) == entry.multiple
    licence = getattr(encoder.network, "pretrained_cfg", {}).get("license", "bsd-3-clause")
    assert licence.lower() == entry.licence.lower().replace(" ", "-")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_real_weights_fit_by_name(name: str) -> None:
    path = SHARED / "weights" / FILES[name]
    if not path.is_file():
        pytest.skip(f"no {path}")
    other = {"mean": (128 / 255,) * 3, "std": (128 / 255,) * 3} if name == "mobilenet_v2" else {}  # (x - 128) / 128
    encoder = build(name, weights=str(path), frozen=True, **other).train()
    assert encoder.fixed
    image = torch.randint(0, 256, (1, 3, 97, 97), dtype=torch.uint8)
    for feature in encoder(image):
        assert feature.isfinite().all()
    if name == "mobilenet_v2":
        torch.testing.assert_close(encoder.normalise(image), (image.float() - 128) / 128)


def test_arguments_override_those_of_the_name() -> None:
    encoder = build("resnet18", weights="none", taps=("layer2",), stride=16)
    assert (encoder.widths, encoder.stride, encoder.running_statistics) == ((128,), 8, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [("resnet19", "Did you mean resnet18?"), ("dinov2", "Did you mean dinov2_"), ("vgg", "vgg16")],
)
def test_an_unknown_name_is_refused_and_all_are_named(name: str, words: str) -> None:
    with pytest.raises(FssegError) as error:
        build(name)
    assert "\n" not in str(error.value)
    assert words in str(error.value)
    assert all(known in str(error.value) for known in NAMES)


def test_a_name_of_large_networks_needs_no_download_before_a_checkpoint() -> None:
    with without_pretrained_weights():
        assert build("dinov3_convnext_t", frozen=True).weights == "pretrained"
