"""Options of the protocol: from what was asked for to a protocol, and to what it changes in a test."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Any, get_type_hints

from fsseg.errors import FssegError
from fsseg.protocols.presets import NAMES, protocol
from fsseg.protocols.protocol import DRAWING, OF_FILES, Protocol

_HINTS = get_type_hints(Protocol)
# The same fields, each of them to be left out: what is not asked for is the named protocol's.
_ASKED = [(f.name, _HINTS[f.name] | None, field(default=None)) for f in fields(Protocol) if f.name not in OF_FILES]
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
    """The settled protocol.

    Attributes:
        protocol: all fields of it.
        asked: its name and the fields that differ from it, as configurations store them.
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


def settle_for(family: str, data: Any, configured: Mapping[str, Any], flags: Collection[str], test: bool) -> Settled:
    """The protocol of files and flags, and of the data that it is for.

    Args:
        family: of the data set.
        data: configuration of the data; its data set is changed in place, see `_apply_to_dataset`.
        configured: see `settle`.
        flags: names of the flags given.
        test: it is about a test.

    Raises:
        FssegError: see `protocol`; an option was given that another one decides.
    """
    found = settle(configured, flags, family)
    if data.episodes.test_file:
        _refuse_drawing(flags)
    return replace(found, protocol=_apply_to_dataset(found.protocol, data.dataset, family, flags, test))


def _apply_to_dataset(settled: Protocol, dataset: Any, family: str, flags: Collection[str], test: bool) -> Protocol:
    """Let a protocol choose COCO's release, folds and masks for a test; elsewhere the data set says what there is.

    Args:
        settled: the protocol.
        dataset: configuration of the data set, changed in place.
        family: of the data set.
        flags: names of the flags given; one that says otherwise is not passed over.
        test: it is about a test.

    Returns:
        the protocol, with what the data set decides.

    Raises:
        FssegError: an option was given that another one decides.
    """
    options = getattr(dataset, "init_args", None) or {}
    if family != "coco":
        return replace(settled, **{name: _own_value(name, options, flags) for name in _OF_COCO})
    for name, option in _OF_COCO.items() if test else ():
        value = getattr(settled, name)
        if option not in options or options[option] == value:
            continue
        if f"--data.dataset.{option}" in flags or f"--data.dataset.init_args.{option}" in flags:
            raise FssegError(
                f"--data.dataset.{option} {options[option]}: protocol {settled.name} tests with {value}. In a test, "
                f"give --protocol.{name} {options[option]}."
            )
        options[option] = value
    return settled


def _own_value(name: str, options: Mapping[str, Any], flags: Collection[str]) -> Any:
    """What a data set other than COCO has for one of COCO's fields: its own option, or the plain value."""
    option = _OF_COCO[name]
    if f"--protocol.{name}" in flags:
        fix = f"give --data.dataset.{option}" if option in options else "leave it out"
        raise FssegError(f"--protocol.{name} is about COCO-20i; here, {fix}.")
    return options[option] if option in options else Protocol.__dataclass_fields__[name].default


def _refuse_drawing(flags: Collection[str]) -> None:
    """Refuse options that decide which episodes are drawn, where those of a file are tested.

    Raises:
        FssegError: there is one.
    """
    for name in DRAWING:
        if f"--protocol.{name}" in flags:
            raise FssegError(
                f"--protocol.{name} decides which episodes are drawn; those of --data.episodes.test_file are given. "
                "Leave one out."
            )


def chosen(names: str) -> list[str]:
    """Protocols of a list such as ``panet,pmms``, or all.

    Raises:
        FssegError: one of them is none.
    """
    if names == "all":
        return list(NAMES)
    found = [name.strip() for name in names.split(",") if name.strip()]
    if "all" in found:
        raise FssegError("--protocols: `all` stands alone, or some protocols by name.")
    if wrong := [name for name in found if name not in NAMES]:
        raise FssegError(f"--protocols {wrong[0]}: `all`, or some of {', '.join(NAMES)}, separated by commas.")
    if not found:
        raise FssegError(f"--protocols: `all`, or some of {', '.join(NAMES)}, separated by commas.")
    return list(dict.fromkeys(found))
