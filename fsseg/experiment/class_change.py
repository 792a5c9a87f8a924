"""Another class in place of the one that a file names: the arguments of the first one do not become the second one's.

jsonargparse keeps each argument that the second class happens to have, without a word: ``mean`` and ``weights`` of an
encoder, ``lr`` of an optimiser. It offers no setting for that, so that its function is replaced while it parses.
"""

import inspect
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jsonargparse import ArgumentParser, Namespace, _typehints

from fsseg.runs.ranks import leads
from fsseg.untrusted.text import shown

_log = logging.getLogger(__name__)

_FUNCTION = "discard_init_args_on_class_path_change"


@contextmanager
def own_arguments(parsers: Iterable[ArgumentParser]) -> Iterator[None]:
    """While parsing, drop a class's arguments once another class takes its place; say which at the end.

    An argument that is a class itself, as a method's encoder is, stays, where the second class has it, too. What is
    dropped and was nobody's wish, but a default, is not said.

    Args:
        parsers: that parse.
    """
    given = {spec["class_path"]: dict(spec["init_args"]) for spec in _default_classes(parsers)}
    theirs = getattr(_typehints, _FUNCTION)
    notes: dict[str, None] = {}

    def discard(parser: Any, before: Any, now: Any) -> None:
        if isinstance(before, Namespace) and before.get("init_args") and before["class_path"] != now["class_path"]:
            dropped = _drop(before, given)
            if dropped:
                old, new = (one["class_path"].rpartition(".")[2] for one in (before, now))
                told = ", ".join(f"{name} {value}" for name, value in dropped.items())
                notes[f"{new} replaces {old}, whose arguments are dropped: {told}. Give {new} its own."] = None
        theirs(parser, before, now)

    setattr(_typehints, _FUNCTION, discard)
    try:
        yield
    finally:
        setattr(_typehints, _FUNCTION, theirs)
    for line in notes if leads() else ():
        _log.warning(shown(line))


def _default_classes(parsers: Iterable[ArgumentParser]) -> Iterator[Any]:
    """Classes that options have by default, with their arguments."""
    for action in (action for parser in parsers for action in parser._actions):
        if _typehints.is_subclass_spec(action.default) and action.default.get("init_args"):
            yield action.default


def _drop(spec: Namespace, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Take the arguments of a class away, but for classes.

    Args:
        spec: the class and its arguments.
        given: arguments of classes that an option has by default.

    Returns:
        those that are no defaults.
    """
    options = spec["init_args"]
    defaults = {**_defaults(spec["class_path"]), **given.get(spec["class_path"], {})}
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
