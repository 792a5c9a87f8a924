from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers

from fsseg.encoders import VGG16


@pytest.fixture(scope="module")
def encoder() -> VGG16:
    torch.manual_seed(0)
    return VGG16(weights="none")


@pytest.mark.parametrize(("pixels", "cells"), [(97, 13), (65, 9), (64, 8)])
def test_stride_is_eight_with_padded_pools(encoder: VGG16, pixels: int, cells: int) -> None:
    with torch.no_grad():
        feature = encoder(torch.zeros(1, 3, pixels, pixels, dtype=torch.uint8))
    assert feature.shape == (1, 512, cells, cells)
    assert (encoder.stride, encoder.channels) == (8, 512)


def test_panets_images_of_417_become_53_cells(encoder: VGG16) -> None:
    with torch.no_grad():
        shape = VGG16(weights="none").to("meta")(torch.empty(1, 3, 417, 417, device="meta")).shape
    assert shape == (1, 512, 53, 53)


def test_all_of_its_14_71_million_parameters_are_trained(encoder: VGG16) -> None:
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == 14_714_688


def test_features_are_signed(encoder: VGG16) -> None:
    with torch.no_grad():
        feature = encoder(torch.randint(0, 256, (1, 3, 33, 33), dtype=torch.uint8))
    assert 0.2 < (feature < 0).float().mean() < 0.8


def test_torchvisions_weights_load_by_name_and_order(tmp_path: Path) -> None:
    theirs = VGG(make_layers(cfgs["D"]), init_weights=False)
    theirs.classifier = nn.Sequential(nn.Linear(2, 2))  # isn't needed, and may be there
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    ours = VGG16(weights=str(tmp_path / "vgg16.pth"))
    pairs = [[m for m in network.modules() if isinstance(m, nn.Conv2d)] for network in (ours, theirs)]
    assert len(pairs[0]) == 13
    for our, their in zip(*pairs, strict=True):
        assert torch.equal(our.weight, their.weight)
        assert torch.equal(our.bias, their.bias)
