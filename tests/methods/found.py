"""Every method of the package, and each in settings of its options: contract tests need no list of them."""

import dataclasses
import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

import fsseg.methods
from fsseg.contracts.trials import awake
from fsseg.encoders import ConvNet
from fsseg.methods import CANet, Method, PMMs, RPMMs
from fsseg.ops.em import Mixture
from tests.found import concrete, modules

# Modules of methods elsewhere, in place of the package's (tests/methods/test_added_method.py).
PACKAGES = [name for name in os.environ.get("FSSEG_TEST_METHODS", "").split(",") if name]
SMALL = {"channels": 8, "guidance": 8, "iterations": 2}  # arguments that cost time
# Arguments that make logits steps, which checks of small changes say nothing about; tests/methods/test_fwb.py.
SMOOTH = {"experts": 0}


def encoder() -> ConvNet:
    return ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)


def classes() -> list[type[Method]]:
    """Concrete methods, each where it is defined."""
    return concrete(PACKAGES or modules(fsseg.methods), Method)


def options(kind: type, turn: int) -> dict[str, Any]:
    """The ``turn``-th value of each switch and each choice, from its default on; all other arguments by default."""
    found = {}
    hints = get_type_hints(kind.__init__)
    for name, parameter in inspect.signature(kind).parameters.items():
        default, hint = parameter.default, hints.get(name)
        if isinstance(default, bool):
            found[name] = default ^ bool(turn % 2)
        elif get_origin(hint) is Literal:
            values = get_args(hint)
            found[name] = values[(values.index(default) + turn) % len(values)]
        elif dataclasses.is_dataclass(default):
            found[name] = type(default)(**options(type(default), turn))
    return found


def turns(kind: type) -> int:
    """The number of turns in which each value of every switch and choice is used at least once."""
    turn, seen = 0, set[str]()
    while new := {f"{name}={value}" for name, value in options(kind, turn).items()} - seen:
        seen |= new
        turn += 1
    return max(turn, 1)


def make(kind: type[Method], turn: int) -> Method:
    small = {name: value for name, value in (SMALL | SMOOTH).items() if name in inspect.signature(kind).parameters}
    return awake(kind(encoder(), **small, **options(kind, turn)))


METHODS: dict[str, Callable[[], Method]] = {
    f"{kind.__name__} {turn}" if turn else kind.__name__: partial(make, kind, turn)
    for kind in classes()
    for turn in range(turns(kind))
}
# Settings in which all options but one have their defaults, of the papers' tables.
if not PACKAGES:
    METHODS |= {
        "PMMs+": lambda: PMMs(encoder(), p_conv=False, channels=8),
        "PMMs, as the paper's equations": lambda: PMMs(
            encoder(), mixture=Mixture(gradient=True, normalise_samples=True, hard_selection=True), channels=8
        ),
        "RPMMs, two stages": lambda: RPMMs(encoder(), components=(1, 2), answer="mean", channels=8),
        "CANet baseline": lambda: CANet(encoder(), iterations=0, channels=8),
    }
