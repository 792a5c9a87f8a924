"""A class that extends another one is not taken for it, nor put beside its published numbers."""

from dataclasses import replace

import pytest

import fsseg.datasets
import fsseg.encoders
import fsseg.methods
from fsseg.encoders import ConvNet, Encoder
from fsseg.results.published import Setting, published
from tests.found import concrete, modules

METHODS = concrete(modules(fsseg.methods), fsseg.methods.Method)
ENCODERS = concrete(modules(fsseg.encoders), Encoder)
DATASETS = concrete(modules(fsseg.datasets), fsseg.datasets.Dataset)
OPTIONS = {"Torchvision": {"architecture": "squeezenet1_0", "taps": ("features.5",)}}


def named(kind, **given):
    """A subclass that changes nothing but what is given."""
    return type("Mine", (kind,), {"__module__": __name__, **given})


def test_all_are_found():
    assert len(METHODS) >= 5
    assert len(ENCODERS) >= 5
    assert len(DATASETS) >= 5


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_has_the_name_of_its_class_or_its_own(kind):
    encoder = ConvNet((8, 8), (2, 2))
    paper = kind(encoder).name
    assert paper != "Mine"
    assert named(kind)(encoder).name == "Mine"
    assert named(named(kind, name="Given"))(encoder).name == "Mine"
    assert named(kind, name="Given")(encoder).name == "Given"

    class Set(kind):
        def __init__(self, encoder):
            super().__init__(encoder)
            self.name = "Set"

    assert Set(encoder).name == "Set"


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.slow
def test_an_encoder_has_the_name_of_its_class_or_its_own(kind):
    options = {**OPTIONS.get(kind.__name__, {}), **({} if kind is ConvNet else {"weights": "none"})}
    assert kind(**options).name != "Mine"
    assert named(kind)(**options).name == "Mine"
    assert named(kind, name="Given")(**options).name == "Given"


@pytest.mark.parametrize("kind", DATASETS)
def test_a_data_set_has_the_name_of_its_class_or_its_own(kind):
    assert kind().name != "Mine"
    assert named(kind)().name == "Mine"
    assert named(kind, name="Given")().name == "Given"


def test_no_published_number_stands_beside_a_class_that_extends_the_papers():
    encoder = ConvNet((8, 8), (2, 2))
    setting = Setting(fsseg.methods.PANet(encoder).name, "VGG16", "PASCAL-5i", 1, 1, "mask")
    assert published(setting, "mean-IoU", 0) is not None
    for other in (
        {"method": named(fsseg.methods.PANet)(encoder).name},
        {"encoder": named(fsseg.encoders.VGG16)(weights="none").name},
        {"dataset": named(fsseg.datasets.Pascal)().name},
    ):
        assert published(replace(setting, **other), "mean-IoU", 0) is None
