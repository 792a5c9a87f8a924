"""Weights files of all kinds: what fits loads, everything else is refused in words."""

import argparse
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import ResNet18_Weights, VGG16_Weights, get_model
from torchvision.models._api import WeightsEnum

from fsseg.encoders import VGG16, Torchvision, without_pretrained_weights
from fsseg.errors import FssegError

State = dict[str, Tensor]


def resnet18(weights: str) -> Torchvision:
    return Torchvision("resnet18", ("layer1",), stride=4, weights=weights)


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(1)
    return dict(get_model("resnet18", weights=None).state_dict())


def saved(content: Any, tmp_path: Path) -> str:
    torch.save(content, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def refused(make: Callable[[], object], *words: str) -> None:
    with pytest.raises(FssegError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.slow
def test_a_state_dict_loads_bare_or_in_a_checkpoint(state: State, tmp_path: Path, wrapped: bool) -> None:
    made = resnet18(saved({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path))
    own = {name.removeprefix("network."): value for name, value in made.state_dict().items()}
    assert own
    assert all(torch.equal(value, state[name]) for name, value in own.items())


def test_missing_tensors_are_named(state: State, tmp_path: Path) -> None:
    path = saved(without(state, "conv1.weight", "layer1.0.bn2.running_var"), tmp_path)
    refused(lambda: resnet18(path), path, "resnet18", "lacks conv1.weight, layer1.0.bn2.running_var")


@pytest.mark.slow
def test_unexpected_tensors_are_named(state: State, tmp_path: Path) -> None:
    path = saved({**state, "mask_head.weight": torch.zeros(3)}, tmp_path)
    refused(lambda: resnet18(path), "unexpected mask_head.weight")


def test_tensors_of_another_shape_are_named(state: State, tmp_path: Path) -> None:
    path = saved({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path)
    refused(lambda: resnet18(path), "other shapes for conv1.weight")


def test_weights_of_another_network_are_refused_briefly(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path)
    refused(lambda: VGG16(path), "don't fit vgg16", "lacks features.0.bias", "and 23 more")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(state: State, tmp_path: Path, share: float) -> None:
    path = saved(state, tmp_path)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(share * len(content))])
    refused(lambda: resnet18(path), path, "cannot be read")


@pytest.mark.parametrize("text", ["these are no weights\n", "<html>404</html>", "version https://git-lfs"])
def test_a_text_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_text(text)
    refused(lambda: resnet18(str(path)), str(path), "cannot be read")


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}])
def test_a_file_that_holds_something_else(tmp_path: Path, content: object) -> None:
    path = saved(content, tmp_path)
    refused(lambda: resnet18(path), path, "state dict of resnet18")


@pytest.mark.slow
def test_no_such_file(tmp_path: Path) -> None:
    refused(lambda: resnet18(str(tmp_path / "none.pth")), "none.pth", "no such file", "pretrained, none")
    refused(lambda: VGG16(str(tmp_path)), "no such file")  # a folder


@pytest.mark.parametrize(
    "failure", [URLError("no network"), ConnectionResetError(), RuntimeError("invalid hash value")]
)
def test_a_failing_download_names_the_option(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    for make in (lambda: VGG16(), lambda: resnet18("pretrained")):
        refused(make, "cannot download", "`model.method.encoder.weights` FILE", "none")


@pytest.mark.slow
def test_pretrained_is_torchvisions_first_release(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(self: WeightsEnum, *_: object, **__: object) -> Mapping[str, Tensor]:
        asked.append(self)
        return state if "RESNET" in self.url.upper() else VGG16("none").network.state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", download)
    VGG16()
    resnet18("pretrained")
    assert asked == [VGG16_Weights.IMAGENET1K_V1, ResNet18_Weights.IMAGENET1K_V1]


@pytest.mark.slow
def test_a_checkpoint_to_come_makes_weights_needless() -> None:
    with without_pretrained_weights():
        assert VGG16("/nowhere.pth").weights == "/nowhere.pth"
        resnet18("pretrained")
    refused(lambda: resnet18("/nowhere.pth"), "no such file")


class _Config:
    """A class of a training script, which the reader does not have."""

    def __init__(self) -> None:
        self.rate = 0.1


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "compiled": lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
    "ImageNet example": lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3},
    "references": lambda s: {"model": s, "optimizer": {"state": {}}, "args": argparse.Namespace(lr=0.1)},
    "tutorial": lambda s: {"model_state_dict": s, "loss": np.float64(0.2), "scores": np.arange(3)},
    "segmentation": lambda s: {
        "state_dict": {f"backbone.{k}": v for k, v in s.items()} | {"decode_head.conv.weight": torch.zeros(2)}
    },
    "nested": lambda s: {"model": {"state_dict": {f"encoder.net.{k}": v for k, v in s.items()}}},
    "a number beside": lambda s: {**s, "epoch": 3},
    "another classifier": lambda s: {**s, "fc.weight": torch.zeros(21, 512), "fc.bias": torch.zeros(21)},
    "own class beside": lambda s: {"model": s, "config": _Config()},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRAPPINGS)
def test_wrappings_of_training_scripts_are_undone(state: State, tmp_path: Path, kind: str) -> None:
    made = resnet18(saved(WRAPPINGS[kind](state), tmp_path))
    assert torch.equal(made.state_dict()["network.layer1.1.conv2.weight"], state["layer1.1.conv2.weight"])
    assert torch.equal(made.state_dict()["network.conv1.weight"], state["conv1.weight"])


@pytest.mark.slow
def test_safetensors_may_have_a_prefix(state: State, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({f"backbone.{name}": value.clone() for name, value in state.items()}, path)
    assert torch.equal(resnet18(str(path)).state_dict()["network.conv1.weight"], state["conv1.weight"])


def test_two_networks_in_one_file_are_refused(state: State, tmp_path: Path) -> None:
    twice = {f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()}
    refused(lambda: resnet18(saved(twice, tmp_path)), "fit twice: student. and teacher.")


@pytest.mark.slow
def test_a_checkpoint_of_fsseg_is_no_file_of_an_encoder(state: State, tmp_path: Path) -> None:
    """`model.weights` checks whether its training saw a novel class."""
    inside = {f"method.encoder.network.{name}": value for name, value in state.items()}
    for content in ({"fsseg": {}, "state_dict": inside}, inside):
        refused(lambda content=content: resnet18(saved(content, tmp_path)), "checkpoint of fsseg", "`model.weights`")


def test_what_a_prefixed_file_lacks_is_named_without_the_prefix(state: State, tmp_path: Path) -> None:
    content = {f"backbone.{name}": value for name, value in without(state, "bn1.bias").items()}
    refused(lambda: resnet18(saved(content, tmp_path)), "the file lacks bn1.bias. Give")


def test_a_class_of_the_file_is_not_run(state: State, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return shutil.copytree, (str(tmp_path), str(tmp_path / "marker"))

    path = saved({"model": state, "config": Harmful()}, tmp_path)
    resnet18(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("prefix", ["", "features.", "module.features.", "backbone.", "backbone.features."])
def test_vgg16_reads_features_with_any_prefix(tmp_path: Path, prefix: str) -> None:
    network = VGG16("none").network
    bare = {name.removeprefix("features."): value for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    content = {f"{prefix}{name}": torch.rand_like(value) for name, value in bare.items()}
    made = VGG16(saved(content, tmp_path)).network.state_dict()
    assert all(torch.equal(made[f"features.{name}"], content[f"{prefix}{name}"]) for name in bare)
