"""HSNet beyond its official code: sizes, levels, ways, and exports. tests/methods/test_hsnet_oracle.py compares."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fsseg import Segmenter
from fsseg.contracts.trials import changed
from fsseg.encoders import ConvNet, Encoder, Torchvision
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.export import export
from fsseg.methods import HSNet
from fsseg.methods.hsnet import voted

MakeBatch = Callable[..., Batch]


def pyramid(frozen: bool = True) -> Torchvision:
    taps = ("layer2.0.add", "layer2.1.add", "layer3.0.add", "layer4.1.add")
    return Torchvision("resnet18", taps, stride=32, weights="none", frozen=frozen)


class Strides(Encoder):
    """One-channel maps of these sizes and strides, whatever the images."""

    name = "Strides"

    def __init__(self, strides: tuple[int, ...], sizes: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__()
        self.strides, self.stride, self.sizes = strides, strides[0], sizes
        self.widths = (1,) * len(strides)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.rand(len(images), 1, *size) for size in self.sizes)


@pytest.mark.slow
def test_images_need_not_be_square_and_sizes_may_follow_each_other(make_batch: MakeBatch) -> None:
    """The x2 resizing of the code takes the width for both sides, and its kept cells are those of the first input."""
    method = HSNet(pyramid()).eval()
    for height, width in ((64, 96), (128, 48)):
        names = ("support_image", "support_mask", "query_image", "query_mask")
        batch = changed(make_batch(size=128), lambda t, h=height, w=width: t[..., :h, :w], *names)
        support, query = method.features(batch)
        state = method.adapt(support, batch.support_mask)
        assert method.predict(state, query).shape[-2:] == (height // 4, width // 4)
        other = copy.deepcopy(method)
        for module in other.modules():  # a network of turned kernels sees turned maps alike
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data = module.weight.data.transpose(2, 3)
        turned = [tuple(one.transpose(-1, -2) for one in maps) for maps in (state, query)]
        with torch.no_grad():
            found = other.predict(*turned).transpose(-1, -2)
            torch.testing.assert_close(found, method.predict(state, query), rtol=1e-4, atol=1e-5)


def test_sizes_whose_support_grids_disagree_are_refused(make_batch: MakeBatch) -> None:
    """264 pixels of VGG16: 33, 16 and 8 cells become 2, 1 and 1."""
    sizes = ((33, 33), (16, 16), (8, 8))
    method = HSNet(Strides((8, 16, 32), sizes))
    batch = make_batch()
    with pytest.raises(FssegError) as error:
        method(batch)
    side = batch.support_mask.shape[-1]
    assert f"HSNet with Strides: supports of {batch.support_mask.shape[-2]}x{side} pixels" in str(error.value)
    assert "grids 1x1, 1x1, 2x2 at its 3 levels" in str(error.value)
    assert "\n" not in str(error.value)


def test_levels_are_those_of_the_strides() -> None:
    assert len(HSNet(ConvNet()).squeeze) == 1
    method = HSNet(Strides((4, 8, 8, 32)))
    assert [len(level) for level in method._levels] == [1, 2, 1]
    assert method.support_grids([(100, 64), (50, 32), (50, 32), (13, 8)]) == [(2, 1)] * 3
    with pytest.raises(
        FssegError, match="HSNet: maps of strides 2, 32; give taps whose strides differ by a factor of at"
    ):
        HSNet(Strides((2, 32)))


@pytest.mark.slow
def test_the_name_says_whether_the_encoder_is_trained() -> None:
    assert HSNet(pyramid()).name == "HSNet"
    assert HSNet(pyramid(frozen=False)).name == "HSNet (trained encoder)"


@pytest.mark.slow
def test_half_of_the_votes_of_the_best_pixel_are_enough(make_batch: MakeBatch) -> None:
    """Against the rule pixel by pixel, for two ways."""
    method, batch = HSNet(pyramid()).eval(), make_batch(way=2, shot=3, size=64)
    with torch.no_grad():
        method.decode[1][2].bias.copy_(torch.tensor([0.0, 0.02]))
        found = method(batch)
        votes = torch.zeros_like(found[:, :, 1:])
        for k in range(3):
            one = changed(batch, lambda t, k=k: t[:, :, k : k + 1], "support_image", "support_mask", "support_id")
            logits = method(one)
            votes += logits[:, :, 1:] > logits[:, :, :1]
    largest = votes.flatten(3).amax(3).clamp(min=1)[..., None, None]
    assert torch.equal(found[:, :, 1:] > found[:, :, :1], votes / largest >= 0.5)


def test_no_votes_are_background() -> None:
    none = torch.zeros(5, 2, 3, 4, dtype=torch.bool)
    assert (voted(none).argmax(1) == 0).all()
    none[0, 0, 0, 0] = True
    assert voted(none).argmax(1).sum() == 1


def test_an_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FssegError, match="has no graphs: ") as error:
        export(Segmenter(HSNet(ConvNet()), 64, device="cpu"), tmp_path, "torch")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_trained_encoder_gets_gradients(make_batch: MakeBatch) -> None:
    method = HSNet(pyramid(frozen=False)).train()
    method.loss(make_batch(shot=2, size=64))["loss"].backward()
    assert method.encoder.network.conv1.weight.grad.abs().max() > 0
