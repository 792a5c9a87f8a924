"""Another class in place of the one that a file names: the arguments of the first one do not become the second one's.

jsonargparse keeps each argument that the second class happens to have, without a word: ``mean`` and ``weights`` of an
encoder, ``lr`` of an optimiser. It offers no setting for that, so that its function is replaced while it parses.
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
    """While parsing, drop a class's arguments once another class takes its place; note which at the end.

    An argument that is a class itself, as a method's encoder is, stays, where the second class has it, too. Defaults
    that are dropped are not noted.

    Args:
        parser: that parses.
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
        for line in notes:  # also before --print_config ends the command
            note(shown(line))


def _drop(spec: Namespace, given: Mapping[str, Any]) -> dict[str, Any]:
    """Drop a class's arguments, except those that are classes themselves.

    Args:
        spec: the class and its arguments.
        given: arguments that the option has for that class by default.

    Returns:
        those that are no defaults.
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
    """Defaults of a class's arguments. The parser has imported it; a name that it refused must not be imported here."""
    module, _, name = path.rpartition(".")
    try:
        parameters = inspect.signature(getattr(sys.modules.get(module), name)).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return {}
    return {parameter.name: parameter.default for parameter in parameters}
