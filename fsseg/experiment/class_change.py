"""Drops the arguments of a class that an option replaces by another class.

jsonargparse silently keeps each argument that the second class also has: ``mean`` and ``weights`` of an encoder, ``lr``
of an optimiser. jsonargparse has no setting for this, so its function is replaced during parsing.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jsonargparse import ArgumentParser, Namespace, _typehints

from fsseg import class_paths
from fsseg.encoders.names import NAMES, stands_for
from fsseg.errors import FssegError
from fsseg.runs.ranks import note
from fsseg.untrusted.text import shown

_FUNCTION = "discard_init_args_on_class_path_change"


Replace = Callable[[Any, Any], None]


@contextmanager
def own_arguments(parser: ArgumentParser) -> Iterator[Replace]:
    """While parsing, drop a class's arguments if another class replaces it; a note lists them at the end.

    An argument that is a class itself, such as a method's encoder, stays if the second class has it too. Dropped
    defaults are not noted.

    Args:
        parser: Parser of the options.

    Yields:
        Function that drops the arguments of a class specification, because another specification replaces it.
    """
    specs = [action.default for action in parser._actions if _typehints.is_subclass_spec(action.default)]
    defaults = {spec["class_path"]: dict(spec.get("init_args") or {}) for spec in specs}
    discard = getattr(_typehints, _FUNCTION)
    notes: dict[str, None] = {}

    def replace(before: Any, now: Any) -> None:
        if isinstance(before, Namespace) and before.get("init_args"):
            old, new = _called(before), _called(now)
            named = NAMES[old].arguments if old in NAMES else {}
            if dropped := _drop(before, {**defaults.get(before["class_path"], {}), **named}):
                values = ", ".join(f"{name} {value}" for name, value in dropped.items())
                notes[f"{new} replaces {old}, whose arguments are dropped: {values}. Give {new} its own."] = None

    def drop_all(parser: Any, before: Any, now: Any) -> None:
        if isinstance(before, Namespace) and before["class_path"] != now["class_path"]:
            replace(before, now)
        discard(parser, before, now)

    setattr(_typehints, _FUNCTION, drop_all)
    try:
        yield replace
    except FssegError:
        notes.clear()
        raise
    finally:
        setattr(_typehints, _FUNCTION, discard)
        for line in notes:  # --print_config may have ended the command
            note(shown(line))


def _called(spec: Namespace) -> str:
    """Name of a specification in a note: of its encoder, or of its class."""
    path = str(spec["class_path"])
    arguments = vars(spec.get("init_args") or Namespace())
    named = (name for name, entry in NAMES.items() if entry.arguments and stands_for(name, path, arguments))
    return next(named, class_paths.last_name(path))


def _drop(spec: Namespace, given: Mapping[str, Any]) -> dict[str, Any]:
    """Drop a class's arguments, except those that are classes themselves.

    Args:
        spec: Class path and arguments of the class.
        given: Default arguments that the option has for the class.

    Returns:
        Dropped arguments whose values differ from their defaults.
    """
    options = spec["init_args"]
    defaults = {**_defaults(spec["class_path"]), **given}
    dropped = {}
    for name, value in list(options.items(branches=True, nested=False)):
        if not _typehints.is_subclass_spec(value):
            options.pop(name)
            if name not in defaults or defaults[name] != value:
                dropped[name] = value
    return dropped


def _defaults(path: str) -> dict[str, Any]:
    """Defaults of a class's arguments. Only imported classes are used: a refused name must not be imported here."""
    try:
        parameters = inspect.signature(class_paths.imported(path)).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {parameter.name: parameter.default for parameter in parameters}
