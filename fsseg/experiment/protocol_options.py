"""Options of the protocol: builds the protocol, and applies it to the data set of a test."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Any, get_type_hints

from fsseg.errors import FssegError
from fsseg.protocols.presets import KNOWN, NAMES, protocol
from fsseg.protocols.protocol import DRAWING, OF_FILES, Protocol

_HINTS = get_type_hints(Protocol)
# The fields of `Protocol`, all optional: a missing field has the named protocol's value.
_ASKED = [(f.name, _HINTS[f.name] | None, field(default=None)) for f in fields(Protocol) if f.name not in OF_FILES]
Asked = make_dataclass("Asked", _ASKED)
Asked.__doc__ = Protocol.__doc__

# Options of COCO's data sets that a protocol decides in a test, by field of the protocol.
_OF_COCO = {
    "release": "year",
    "fold_rule": "fold_rule",
    "masks": "masks",
    "crowds": "crowds",
    "other_ways": "other_ways",
}


@dataclass(frozen=True)
class Settled:
    """A protocol with its options.

    Attributes:
        protocol: The protocol with all fields.
        asked: Its name and the changed fields, as configurations store them.
    """

    protocol: Protocol
    asked: dict[str, Any]


def settle(configured: Mapping[str, Any], flags: Collection[str], family: str) -> Settled:
    """The protocol of files and flags.

    Changed fields in a file belong to the protocol that the file names; another name on the command line drops them.

    Args:
        configured: Options of files and flags; None for an option that is not given.
        flags: Names of the given flags.
        family: Family of the data set.

    Raises:
        FssegError: See `protocol`.
    """
    asked = {name: value for name, value in configured.items() if value is not None}
    if "--protocol.name" in flags:
        asked = {name: value for name, value in asked.items() if f"--protocol.{name}" in flags}
    return Settled(protocol(asked, family), asked)


def settle_for(family: str, data: Any, configured: Mapping[str, Any], flags: Collection[str], test: bool) -> Settled:
    """The protocol of files and flags, completed for a data set.

    Args:
        family: Family of the data set.
        data: Configuration of the data; its data set is changed in place, see `_apply_to_dataset`.
        configured: See `settle`.
        flags: Names of the given flags.
        test: Whether the command is a test.

    Raises:
        FssegError: See `protocol`; also if a given option is decided by another option.
    """
    found = settle(configured, flags, family)
    if data.episodes.test_file:
        _refuse_drawing(flags)
    if test and found.protocol.name == "lvis92i":
        _apply_shots(data, flags)
    return replace(found, protocol=_apply_to_dataset(found.protocol, data.dataset, family, flags, test))


def _apply_to_dataset(settled: Protocol, dataset: Any, family: str, flags: Collection[str], test: bool) -> Protocol:
    """Apply the protocol's COCO release, folds and masks to a test; other data sets decide these fields themselves.

    Args:
        settled: The protocol.
        dataset: Configuration of the data set, changed in place.
        family: Family of the data set.
        flags: Names of the given flags; a flag that contradicts the protocol is refused.
        test: Whether the command is a test.

    Returns:
        The protocol, with the fields that the data set decides.

    Raises:
        FssegError: A given option is decided by another option.
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
                f"`data.dataset.{option}` {options[option]}: protocol {settled.name} tests with {value}. In a test, "
                f"give `protocol.{name}` {options[option]}."
            )
        options[option] = value
    return settled


def _apply_shots(data: Any, flags: Collection[str]) -> None:
    """Set the number of shots that decides which classes of LVIS are tested to that of the test, as Matcher's code.

    Raises:
        FssegError: The data set is given another number.
    """
    options = getattr(data.dataset, "init_args", None) or {}
    shots = data.test_shot or data.shot
    if options.get("shots") not in (None, shots):
        if "--data.dataset.shots" in flags or "--data.dataset.init_args.shots" in flags:
            raise FssegError(
                f"`data.dataset.shots` {options['shots']}: protocol lvis92i tests {shots} shots on classes with more "
                f"than {shots} val images. Leave it out, or give `protocol.name` fsseg."
            )
        options["shots"] = shots


def _own_value(name: str, options: Mapping[str, Any], flags: Collection[str]) -> Any:
    """Value of a COCO field for another data set: its own option of that name, or the default."""
    option = _OF_COCO[name]
    if f"--protocol.{name}" in flags:
        fix = f"give `data.dataset.{option}`" if option in options else "leave it out"
        raise FssegError(f"`protocol.{name}` is about COCO-20i; here, {fix}.")
    return options[option] if option in options else Protocol.__dataclass_fields__[name].default


def _refuse_drawing(flags: Collection[str]) -> None:
    """Refuse options that decide how episodes are drawn if the episodes come from a file.

    Raises:
        FssegError: Such an option is given.
    """
    for name in DRAWING:
        if f"--protocol.{name}" in flags:
            raise FssegError(
                f"`protocol.{name}` decides which episodes are drawn; `data.episodes.test_file` lists them. "
                "Leave one out."
            )


def chosen(names: str) -> list[str]:
    """Names of protocols in a list such as ``panet,pmms``, or in ``all``.

    Raises:
        FssegError: A name is unknown.
    """
    if names == "all":
        return list(NAMES)
    found = [name.strip() for name in names.split(",") if name.strip()]
    if "all" in found:
        raise FssegError("--protocols: `all` stands alone, or some protocols by name.")
    if wrong := [name for name in found if name not in KNOWN]:
        raise FssegError(f"--protocols {wrong[0]}: `all`, or some of {', '.join(KNOWN)}, separated by commas.")
    if not found:
        raise FssegError(f"--protocols: `all`, or some of {', '.join(KNOWN)}, separated by commas.")
    return list(dict.fromkeys(found))
