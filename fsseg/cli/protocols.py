"""Options of the protocol: from what was asked for to a protocol, and to what it changes in a test."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, get_type_hints

from fsseg.benchmark.protocols import NAMES, protocol
from fsseg.errors import FssegError
from fsseg.protocol import Protocol

_HINTS = get_type_hints(Protocol)
# The same fields, each of them to be left out: what is not asked for is the named protocol's.
_ASKED = [(f.name, _HINTS[f.name] | None, field(default=None)) for f in fields(Protocol) if f.name != "listed"]
Asked = make_dataclass("Asked", _ASKED)
Asked.__doc__ = Protocol.__doc__

# Options of COCO's data sets that a protocol decides in a test, by the protocol's field.
_OF_COCO = {
    "release": "year",
    "fold_rule": "fold_rule",
    "masks": "masks",
    "crowds": "crowds",
    "other_ways": "other_ways",
}


@dataclass(frozen=True)
class Settled:
    """What became of the options.

    Attributes:
        protocol: the whole protocol.
        asked: the name and what departs from it, as configurations keep it.
    """

    protocol: Protocol
    asked: dict[str, Any]


def settle(configured: Mapping[str, Any], flags: Collection[str], family: str) -> Settled:
    """The protocol of files and flags.

    Changes in a file belong to the protocol that the file names: another name on the command line drops them.

    Args:
        configured: files and flags merged; None where nothing was asked for.
        flags: names of the flags given.
        family: of the data set.

    Raises:
        FssegError: see `protocol`.
    """
    asked = {name: value for name, value in configured.items() if value is not None}
    if "--protocol.name" in flags:
        asked = {name: value for name, value in asked.items() if f"--protocol.{name}" in flags}
    return Settled(protocol(asked, family), asked)


def apply_to_dataset(settled: Protocol, dataset: Any, flags: Collection[str]) -> None:
    """Let a protocol choose COCO's release, folds and masks for a test.

    Args:
        settled: the protocol.
        dataset: configuration of the data set, changed in place.
        flags: names of the flags given; one that says otherwise is not passed over.

    Raises:
        FssegError: an option of the data set was given that the protocol decides.
    """
    options = getattr(dataset, "init_args", None)
    for name, option in _OF_COCO.items():
        value = getattr(settled, name)
        if options is None or option not in options or options[option] == value:
            continue
        if f"--data.dataset.{option}" in flags or f"--data.dataset.init_args.{option}" in flags:
            raise FssegError(
                f"--data.dataset.{option} {options[option]}: protocol {settled.name} tests with {value}. In a test, "
                f"give --protocol.{name} {options[option]}."
            )
        options[option] = value


def chosen(names: str) -> list[str]:
    """Protocols of a list such as ``panet,pmms``, or all.

    Raises:
        FssegError: one of them is none.
    """
    if names == "all":
        return list(NAMES)
    found = [name.strip() for name in names.split(",") if name.strip()]
    if wrong := [name for name in found if name not in NAMES]:
        raise FssegError(f"--protocols {wrong[0]}: `all`, or some of {', '.join(NAMES)}, separated by commas.")
    if not found:
        raise FssegError(f"--protocols: `all`, or some of {', '.join(NAMES)}, separated by commas.")
    return list(dict.fromkeys(found))
