"""Frozen encoders beside those of the package: one's own, other BatchNorms, optimisers; the contract has the rest."""

import pytest
import torch
from torch import Tensor, nn

from fsseg.encoders import Encoder, ResNet, Torchvision
from fsseg.encoders.base import Frozen
from fsseg.methods import PANet
from fsseg.optim import grouped


class Own(Encoder):
    """No `network`, dropout, BatchNorm, and a parameter of its own."""

    widths, stride = (4,), 1

    def __init__(self, frozen: Frozen = False, dropout: float = 0.5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.first = nn.Conv2d(3, 4, 1)
        self.norm, self.drop = nn.BatchNorm2d(4), nn.Dropout(dropout)
        self.freeze(frozen)

    def features(self, images: Tensor) -> tuple[Tensor]:
        return (self.drop(self.norm(self.first(images))) * self.scale,)


def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)


def test_ones_own_encoder_is_frozen_by_one_call() -> None:
    frozen, image = Own(True).train(), images()
    assert frozen.fixed
    assert torch.equal(frozen(image)[0], frozen(image)[0])
    torch.testing.assert_close(frozen(image)[0][:1], frozen(image[:1])[0])
    assert torch.equal(frozen.norm.running_mean, torch.zeros(4))


def test_its_parts_are_frozen_by_name_parameters_too() -> None:
    encoder = Own(("scale", "norm")).train()
    assert {name for name, p in encoder.named_parameters() if not p.requires_grad} == {
        "scale", "norm.weight", "norm.bias"
    }  # fmt: skip
    assert not encoder.norm.training
    assert encoder.drop.training
    assert not encoder.fixed


@pytest.mark.parametrize("left", ["norm", "drop", "first"])
def test_it_is_fixed_only_if_nothing_trains_and_nothing_is_random(left: str) -> None:
    encoder = Own().requires_grad_(False)
    encoder.norm, encoder.drop = nn.GroupNorm(2, 4).requires_grad_(False), nn.Dropout(0)
    assert encoder.fixed
    encoder.get_submodule(left).requires_grad_(left == "first")
    setattr(
        encoder,
        left,
        {"norm": nn.BatchNorm2d(4).requires_grad_(False), "drop": nn.Dropout(0.1)}.get(left, encoder.first),
    )
    assert not encoder.fixed


def test_resnet_with_statistics_of_the_batch_is_not_fixed() -> None:
    """CANet's code: no weight is trained, and BatchNorm follows the batch."""
    options = {"architecture": "resnet18", "taps": ("layer1",), "weights": "none", "frozen": True}
    canets, running = ResNet(**options).train(), ResNet(**options, batch_norm="running").train()
    assert (canets.fixed, running.fixed) == (False, True)
    assert canets.network.bn1.training
    assert not running.network.bn1.training
    part = ResNet(**{**options, "frozen": ("layer1",)}).train()
    assert part.network.layer1[0].bn1.training
    assert not part.network.layer1[0].training


def test_a_replaced_batch_norm_is_held_too() -> None:
    """Lightning's `sync_batchnorm` replaces the layers after the encoder was made."""
    encoder = Torchvision("resnet18", ("layer1",), stride=4, weights="none", frozen=True)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(encoder).train()
    norms = [m for m in synced.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) == 5
    assert not any(module.training for module in norms)
    assert synced.fixed


def test_frozen_parameters_are_no_part_of_the_optimiser() -> None:
    method = PANet(ResNet("resnet18", ("layer1",), weights="none", frozen=("conv1",)))
    groups, _ = grouped(method.named_parameters(), method.learns_fast, 1, 1)
    assert sum(map(len, groups)) == 4  # the convolutions of layer1; BatchNorm is frozen, conv1 too
    frozen = PANet(ResNet("resnet18", ("layer1",), weights="none", frozen=True))
    assert grouped(frozen.named_parameters(), frozen.learns_fast, 1, 1) == ([], [])
