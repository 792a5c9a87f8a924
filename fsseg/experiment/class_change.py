"""Drops the arguments of a class that an option replaces by another class.

jsonargparse silently keeps each argument that the second class also has: ``mean`` and ``weights`` of an encoder, ``lr``
of an optimiser. jsonargparse has no setting for this, so its function is replaced during parsing.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jsonargparse import ArgumentParser, Namespace, _typehints

from fsseg.errors import FssegError
from fsseg.runs.ranks import note
from fsseg.untrusted.text import shown

_FUNCTION = "discard_init_args_on_class_path_change"


@contextmanager
def own_arguments(parser: ArgumentParser) -> Iterator[None]:
    """While parsing, drop a class's arguments if another class replaces it; a note lists them at the end.

    An argument that is a class itself, such as a method's encoder, stays if the second class has it too. Dropped
    defaults are not noted.

    Args:
        parser: Parser of the options.
    """
    specs = [action.default for action in parser._actions if _typehints.is_subclass_spec(action.default)]
    defaults = {spec["class_path"]: dict(spec.get("init_args") or {}) for spec in specs}
    discard = getattr(_typehints, _FUNCTION)
    notes: dict[str, None] = {}

    def drop_all(parser: Any, before: Any, now: Any) -> None:
        if isinstance(before, Namespace) and before.get("init_args") and before["class_path"] != now["class_path"]:
            dropped = _drop(before, defaults.get(before["class_path"], {}))
            if dropped:
                old, new = (one["class_path"].rpartition(".")[2] for one in (before, now))
                values = ", ".join(f"{name} {value}" for name, value in dropped.items())
                notes[f"{new} replaces {old}, whose arguments are dropped: {values}. Give {new} its own."] = None
        discard(parser, before, now)

    setattr(_typehints, _FUNCTION, drop_all)
    try:
        yield
    except FssegError:
        notes.clear()
        raise
    finally:
        setattr(_typehints, _FUNCTION, discard)
        for line in notes:  # --print_config may have ended the command
            note(shown(line))


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
    module, _, name = path.rpartition(".")
    try:
        parameters = inspect.signature(getattr(sys.modules.get(module), name)).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return {}
    return {parameter.name: parameter.default for parameter in parameters}
