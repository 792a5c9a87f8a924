"""Every number that a user gives has a bound and a line."""

import inspect
import re
import types
import typing

import pytest

import fsseg.datasets
import fsseg.encoders
import fsseg.methods
from fsseg import limits
from fsseg.datasets import Shapes
from fsseg.episodes import EpisodeData, ImageOptions, LoadingOptions
from fsseg.episodes.options import GROUPS, RANGES
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from tests.episode_options import grouped


def numbers_of(kind):
    """Names of a constructor's arguments that are numbers, or tuples of numbers."""
    for name, argument in inspect.signature(kind.__init__).parameters.items():
        kinds = [argument.annotation, *typing.get_args(argument.annotation)]
        if {int, float} & {k for k in kinds if isinstance(k, type) and not isinstance(k, types.GenericAlias)}:
            yield name


CLASSES = [
    kind
    for module in (fsseg.methods, fsseg.encoders, fsseg.datasets)
    for name in module.__all__
    if inspect.isclass(kind := getattr(module, name)) and issubclass(
        kind, (fsseg.methods.Method, fsseg.encoders.Encoder, fsseg.datasets.Dataset)
    )
]  # fmt: skip
FREE = {"mean", "std", "val_share"}  # of an encoder's colours; of a data set, with a check of its own


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_number_of_methods_encoders_and_data_sets_has_a_range(kind):
    assert set(numbers_of(kind)) <= limits.ARGUMENTS.keys() | FREE


def test_every_number_of_data_and_protocol_has_a_range():
    assert set(numbers_of(EpisodeData)) <= RANGES.keys() | {"fold", "way"}  # by the data set
    for group, kind in GROUPS.items():
        assert {f"{group}.{name}" for name in numbers_of(kind)} <= RANGES.keys()
    assert set(numbers_of(Protocol)) <= limits.PROTOCOL.keys() | {"absent_queries", "release"}


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [-1, 10**18, float("nan"), float("inf")])
def test_data_refuses_what_is_out_of_range(name, value):
    with pytest.raises(FssegError, match=rf"^`data\.{re.escape(name)}` {value}: .* is needed\.$"):
        EpisodeData(Shapes(), **grouped(**{name.rpartition(".")[2]: value}))


@pytest.mark.parametrize("name", limits.PROTOCOL)
@pytest.mark.parametrize("value", [-1, 10**18])
def test_a_protocol_refuses_what_is_out_of_range(name, value):
    with pytest.raises(FssegError, match=rf"^`protocol\.{name}` {value}: at (least|most) [\d,]+ is needed\.$"):
        Protocol(**{name: value})


@pytest.mark.parametrize("name", limits.ARGUMENTS)
def test_arguments_of_classes_are_refused_however_deep_they_are(name):
    inner = {"class_path": "Some", "init_args": {name: [1, 10**18] if name in ("widths", "strides") else 10**18}}
    outer = {"class_path": "Other", "init_args": {"encoder": inner}}
    with pytest.raises(FssegError, match=rf"^`model\.method\.encoder\.{name}` 10{{18}}: at most"):
        limits.check_arguments(outer, "model.method")


def test_what_a_machine_cannot_hold_is_refused_by_size_shots_and_batch_together(monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 10**9)
    EpisodeData(Shapes(), images=ImageOptions(size=1000), shot=5, batch_size=10)
    with pytest.raises(
        FssegError, match=r"`data\.images\.size` 1000: 11 x 6 images of 1000x1000 pixels need at least 1 GB"
    ):
        EpisodeData(Shapes(), images=ImageOptions(size=1000), shot=5, batch_size=11)
    with pytest.raises(FssegError, match=r"`protocol\.size` 4000: 4 x 2 images"):
        EpisodeData(Shapes(), protocol=Protocol(size=4000), loading=LoadingOptions(test_batch_size=4))
    with pytest.raises(FssegError, match=r"Shapes: size 1000: 1 x 1,600 images"):
        Shapes(1000)


def test_all_episodes_of_a_protocol_together_have_a_bound():
    with pytest.raises(FssegError, match=r"`protocol\.runs` x episodes 1000000000: at most 10,000,000 is needed"):
        Protocol(runs=1000, episodes=1_000_000)
