"""timm's networks, one small one of each family, with random weights; and a real one where its file is."""

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import Timm, build, without_pretrained_weights
from fsseg.encoders import timm as module
from fsseg.errors import FssegError
from tests.conftest import SHARED

timm = pytest.importorskip("timm")

DINOV2, DINOV3 = "vit_small_patch14_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m"


@pytest.fixture(autouse=True)
def no_notes_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Notes are given once per process; here they are given in each test, also where the command line has its log."""
    monkeypatch.setattr(logging.getLogger("fsseg"), "propagate", True)
    module._note.cache_clear()
    yield
    module._note.cache_clear()


def images(height: int = 97, width: int = 97, number: int = 1) -> Tensor:
    return torch.randint(0, 256, (number, 3, height, width), dtype=torch.uint8)


def made(architecture: str, **options: Any) -> Timm:
    torch.manual_seed(0)
    return Timm(architecture, **{"weights": "none", **options}).eval()


# One of each family: channels, stride, and the multiple that images are resized to (None: one size).
FAMILIES = [
    ("resnet18", 256, 16, 1),
    ("tf_efficientnet_lite0", 112, 16, 1),
    ("convnext_atto", 160, 16, 1),
    ("convnext_tiny.dinov3_lvd1689m", 384, 16, 1),
    ("swin_tiny_patch4_window7_224", 384, 16, 4),
    ("vit_tiny_patch16_224", 192, 16, 16),
    (DINOV2, 384, 14, 14),
    (DINOV3, 384, 16, 16),
    ("eva02_tiny_patch14_224", 192, 14, 14),
    ("beit_base_patch16_224", 768, 16, None),
    ("hiera_tiny_224", 384, 16, None),
]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "channels", "stride", "multiple"), FAMILIES)
def test_by_default_it_is_the_last_level_of_stride_16_for_images_of_any_size(
    architecture: str, channels: int, stride: int, multiple: int | None
) -> None:
    encoder = made(architecture)
    assert (encoder.name, encoder.widths, encoder.stride) == (architecture, (channels,), stride)
    for size in ((97, 97), (128, 83)):
        with torch.no_grad():
            (feature,) = encoder(images(*size))
        if multiple is None:
            assert feature.shape == (1, channels, 224 // stride, 224 // stride)
        else:
            assert feature.shape[1] == channels
            assert all(abs(n - side / stride) <= 1 for n, side in zip(feature.shape[-2:], size, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet18", "swin_tiny_patch4_window7_224", DINOV2, DINOV3])
def test_maps_are_those_of_the_uncut_network(architecture: str) -> None:
    levels = (1, 2)
    encoder = made(architecture, taps=levels, norm=False)
    torch.manual_seed(0)
    sizes = {"dynamic_img_size": True} if architecture != "resnet18" else {}
    uncut = timm.create_model(architecture, **sizes).eval()
    uncut.load_state_dict(encoder.network.state_dict(), strict=False)
    image = images(224, 224)
    with torch.no_grad():
        _, maps = uncut.forward_intermediates(encoder.normalise(image), indices=list(levels))
        for ours, theirs in zip(encoder(image), maps, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert sum(p.numel() for p in encoder.parameters()) < sum(p.numel() for p in uncut.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "stride"), [("resnet18", 8), ("resnet50", 8), ("tf_efficientnet_lite0", 8)])
def test_a_smaller_stride_is_timms_own_dilated_network(architecture: str, stride: int) -> None:
    encoder = made(architecture, stride=stride)
    dilated = timm.create_model(architecture, output_stride=stride).eval()
    dilated.load_state_dict(encoder.network.state_dict(), strict=False)
    image = images(128, 128)
    with torch.no_grad():
        (ours,) = encoder(image)
        theirs = dilated.forward_intermediates(encoder.normalise(image), intermediates_only=True)[3]
    assert encoder.stride == stride
    assert ours.shape[-1] == 128 // stride
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.slow
def test_convnext_with_a_smaller_stride_has_the_strided_features_where_those_are() -> None:
    dense, strided = made("convnext_atto", stride=8), made("convnext_atto")
    assert (dense.stride, strided.stride) == (8, 16)
    image = images(128, 128)
    with torch.no_grad():
        (fine,), (coarse,) = dense(image), strided(image)
    assert fine.shape[-1] == 2 * coarse.shape[-1]
    near = F.cosine_similarity(fine[..., 2:-2:2, 2:-2:2], coarse[..., 1:-1, 1:-1], dim=1)
    assert near.mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["swin_tiny_patch4_window7_224", DINOV3])
def test_transformers_refuse_another_stride(architecture: str) -> None:
    with pytest.raises(FssegError, match=r"cannot have stride 8 in place of 16 \(.*dilation\). Leave stride out"):
        made(architecture, stride=8)


# Vision transformers


@pytest.mark.slow
def test_tokens_become_a_map_without_class_and_register_tokens() -> None:
    """Against the tokens of the network's own forward pass, whose first five are no image."""
    encoder = made(DINOV3)
    image = encoder.normalise(images(96, 128))
    with torch.no_grad():
        (feature,) = encoder.features(image)
        tokens = timm.create_model(DINOV3, dynamic_img_size=True).eval()
        tokens.load_state_dict(encoder.network.state_dict(), strict=False)
        expected = tokens.forward_features(image)[:, 5:]
    assert feature.shape == (1, 384, 6, 8)
    torch.testing.assert_close(feature.flatten(2).transpose(1, 2), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_norm_is_the_last_layer_norm_of_each_map() -> None:
    with_norm, without = made(DINOV2, taps=(5, -1)), made(DINOV2, taps=(5, -1), norm=False)
    missing = without.network.load_state_dict(with_norm.network.state_dict(), strict=False)
    assert set(missing.unexpected_keys) == {"norm.weight", "norm.bias"}
    image = images(56, 70)
    with torch.no_grad():
        for normed, raw in zip(with_norm(image), without(image), strict=True):
            expected = F.layer_norm(raw.movedim(1, -1), (384,), eps=1e-6).movedim(-1, 1)
            torch.testing.assert_close(normed, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_images_between_two_multiples_are_resized_and_one_note_says_so(caplog: pytest.LogCaptureFixture) -> None:
    encoder = made(DINOV2)
    with torch.no_grad():
        for _ in range(3):
            (feature,) = encoder(images(321, 83))
        (fitting,) = encoder(images(322, 84))
    assert feature.shape == fitting.shape == (1, 384, 23, 6)
    notes = [record.getMessage() for record in caplog.records]
    assert notes == [f"{DINOV2} takes multiples of 14 pixels: images of 321x83 are resized to 322x84."]


@pytest.mark.slow
def test_a_network_of_one_size_gets_its_size(caplog: pytest.LogCaptureFixture) -> None:
    encoder = made("hiera_tiny_224")
    with torch.no_grad():
        assert encoder(images(100, 300))[0].shape == (1, 384, 14, 14)
    assert "takes one size: images of 100x300 are resized to 224x224." in caplog.text


# Statistics and weights


@pytest.mark.slow
def test_statistics_are_those_of_timms_weights_unless_they_are_given() -> None:
    assert made("tf_efficientnet_lite0").mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert made("resnet18").mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    given = made("resnet18", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    assert given.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert given.std.flatten().tolist() == [1, 1, 1]


@pytest.fixture(scope="module")
def convnext() -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model("convnext_atto")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_of_half_precision_is_read_as_float32(
    convnext: nn.Module, ending: str, wrapped: bool, tmp_path: Path
) -> None:
    state = {name: value.half() for name, value in convnext.state_dict().items()}
    path = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state} if wrapped else state, path)
    encoder = made("convnext_atto", weights=str(path))
    own = encoder.network.state_dict()
    assert all(value.dtype == torch.float32 for value in own.values())
    assert all(torch.equal(value, state[name].float()) for name, value in own.items())
    assert encoder.weights == str(path)


@pytest.mark.slow
def test_a_file_needs_what_the_taps_need(convnext: nn.Module, tmp_path: Path) -> None:
    state = convnext.state_dict()
    few = {name: value for name, value in state.items() if not name.startswith(("stages.2", "stages.3", "head"))}
    torch.save(few, tmp_path / "few.pth")
    encoder = made("convnext_atto", taps=(1,), weights=str(tmp_path / "few.pth"))
    assert encoder.network.state_dict().keys() == few.keys()
    with pytest.raises(FssegError, match=r"don't fit convnext_atto: the file lacks stages.2.blocks.0"):
        made("convnext_atto", weights=str(tmp_path / "few.pth"))


@pytest.mark.slow
def test_the_names_of_dinov2s_authors_are_converted(tmp_path: Path) -> None:
    """Its files have a mask token that timm's network lacks; timm drops it by its own function."""
    theirs = timm.create_model(DINOV2).state_dict()
    torch.save({**theirs, "mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2.pth")
    encoder = made(DINOV2, weights=str(tmp_path / "dinov2.pth"))
    assert torch.equal(encoder.network.state_dict()["blocks.3.attn.qkv.weight"], theirs["blocks.3.attn.qkv.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["convnext_atto", "vit_tiny_patch16_224", "resnet18"])
def test_weights_of_another_network_are_refused_in_one_line(architecture: str, tmp_path: Path) -> None:
    path = str(tmp_path / "vgg.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(FssegError, match=f"weights {path} don't fit {architecture}: the file lacks") as error:
        made(architecture, weights=path)
    assert "\n" not in str(error.value)


def test_a_failing_download_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", fail)
    with pytest.raises(FssegError) as error:
        Timm("resnet18")
    assert str(error.value) == (
        "cannot download timm's weights of resnet18 (no network). Give `model.method.encoder.weights` FILE, or none "
        "for a random start."
    )


def test_a_checkpoint_to_come_makes_weights_needless() -> None:
    with without_pretrained_weights():
        assert Timm("convnext_atto").weights == "pretrained"
        Timm("convnext_atto", weights="/nowhere.pth")


@pytest.mark.slow
def test_an_unusual_licence_is_noted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = timm.create_model(DINOV3).state_dict()
    torch.save(state, tmp_path / "dinov3.pth")
    for _ in range(2):
        made(DINOV3, weights=str(tmp_path / "dinov3.pth"))
    made(DINOV3)  # random weights have no licence
    (note,) = [record.getMessage() for record in caplog.records if "licence" in record.getMessage()]
    assert note == f"timm's weights of {DINOV3} have the licence dinov3-license: https://huggingface.co/timm/{DINOV3}."


@pytest.mark.slow
def test_real_weights_of_efficientnet_lite0() -> None:
    path = SHARED / "weights" / "tf_efficientnet_lite0_timm_half.pth"
    if not path.is_file():
        pytest.skip(f"no {path}")
    encoder = build("efficientnet_lite0", weights=str(path), frozen=True).train()
    state = torch.load(path, weights_only=True)
    assert encoder.fixed
    assert torch.equal(encoder.network.state_dict()["conv_stem.weight"], state["conv_stem.weight"].float())
    uncut = timm.create_model("tf_efficientnet_lite0").eval()
    uncut.load_state_dict({name: value.float() for name, value in state.items()})
    image = images(224, 224)
    with torch.no_grad():
        expected = uncut.forward_intermediates(encoder.normalise(image), indices=[3], intermediates_only=True)[0]
        torch.testing.assert_close(encoder(image)[0], expected)


# Mistakes


@pytest.mark.parametrize(
    ("architecture", "options", "words"),
    [
        ("resnet19", {}, "timm has no network resnet19. Did you mean resnet18? timm.list_models() lists all."),
        ("resnet18.foo", {}, "resnet18.foo. resnet18 has the weights a1_in1k,"),
        ("hf-hub:someone/something", {}, "timm has no network hf-hub:someone/something."),
        ("resnet18", {"taps": (5,)}, "resnet18: taps [5]; give some of the levels 0 to 4"),
        ("resnet18", {"taps": ()}, "taps []"),
        ("resnet18", {"taps": (2, 1)}, "each once, in this order (strides 2, 4, 8, 16, 32)"),
        ("resnet18", {"taps": (3, -2)}, "taps [3, -2]"),
        ("resnet18", {"stride": 12}, "stride 12; give a power of two"),
        ("resnet18", {"weights": "/nowhere.pth"}, "weights /nowhere.pth: no such file. Give pretrained, none, or"),
        ("resnet18", {"frozen": ("layer5",)}, "resnet18 has no stage layer5 to freeze. Did you mean layer"),
    ],
)
def test_what_it_cannot_be_is_said_in_one_line(architecture: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(FssegError) as error:
        made(architecture, **options)
    assert "\n" not in str(error.value)
    assert words in str(error.value)


def test_a_copy_stays_frozen() -> None:
    encoder = made("resnet18", taps=(1,), frozen=True)
    twin, image = copy.deepcopy(encoder).train(), images(64, 64)
    assert twin.fixed
    assert torch.equal(twin(image)[0], encoder(image)[0])
