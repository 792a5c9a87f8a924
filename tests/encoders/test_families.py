"""Every family of encoders trains with a method, and holds still under a head when it is frozen."""

import pytest
import torch

from fsseg.encoders import ConvNet, Encoder
from fsseg.encoders.names import NAMES, build
from fsseg.methods import PANet, PMMs
from tests.feature_cache.test_training import Trained, data

FAMILIES = (
    "resnet18", "vgg16", "mobilenet_v2", "squeezenet1_0", "efficientnet_lite0", "convnext_t", "swin_t", "eva02_s",
    "dinov2_s", "dinov3_s", "dinov3_convnext_t",
)  # fmt: skip


def made(name: str, frozen: bool) -> Encoder:
    torch.manual_seed(0)
    if name == "ConvNet":
        return ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1, frozen=frozen)
    return build(name, weights="none", frozen=frozen)


def test_every_family_of_the_names_is_here() -> None:
    kin = {"resnet": "resnet18", "dinov2": "dinov2_s", "dinov3_c": "dinov3_convnext_t", "dinov3": "dinov3_s"}
    for name in NAMES:
        stem = next((family for start, family in kin.items() if name.startswith(start)), name.rpartition("_")[0])
        assert name in FAMILIES or stem in FAMILIES, name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # a frozen encoder is meant to be
@pytest.mark.parametrize("name", ["ConvNet", *FAMILIES])
def test_a_step_trains_an_encoder_and_a_head_on_a_frozen_one(name: str) -> None:
    for frozen in (False, True):
        encoder = made(name, frozen)
        method = PMMs(encoder, channels=8) if frozen else PANet(encoder)
        before = {key: value.clone() for key, value in method.named_parameters()}
        trained = Trained(method, data(size=64, batch_size=1, train=2, val=2), steps=2)
        assert all(torch.tensor(loss).isfinite() for loss in trained.losses)
        moved = [key for key, value in trained.weights.items() if not value.equal(before[key])]
        of_encoder = [key for key in moved if key.startswith("encoder.")]
        assert bool(of_encoder) == (not frozen)
        assert (len(moved) > len(of_encoder)) == frozen
