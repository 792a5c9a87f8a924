"""Explains in one line why jsonargparse refused an option.

jsonargparse gives the reason only as English text, so each option is compared again with its signature.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse._common import ImportDenied, check_import_path

from fsseg import class_paths
from fsseg.encoders import NAMES, Encoder
from fsseg.experiment.files import IN_WORDS, did_you_mean
from fsseg.experiment.option_names import unknown
from fsseg.untrusted.configuration import fix
from fsseg.untrusted.text import BrokenTextError, load_yaml

_WORDS: dict[Any, str] = {**IN_WORDS, tuple: "a list", dict: "options by name", Path: "a path"}

_PLAIN = ("builtins", "typing", "pathlib", "datetime", "torch")  # modules whose types are values, not classes to choose
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_MADE = ("params", "optimizer")  # arguments that the code passes, not the user
_NOTHING = object()  # marks a missing value


def explain(
    parser: ArgumentParser, sources: Iterable[Mapping[str, Any] | Sequence[str]], message: str, error: Exception | None
) -> str:
    """One line about the first wrong option; jsonargparse's message if no option looks wrong.

    Args:
        parser: Parser that refused the options.
        sources: Configurations and words of the command line, in the order of reading.
        message: Message of jsonargparse.
        error: Cause of the message.
    """
    check = _Check(parser, error)
    lines = (line for source in sources for name, value in _given(parser, source) if (line := check(name, value)))
    return next(lines, None) or check.missing() or " ".join(message.split())


def _given(parser: ArgumentParser, source: Mapping[str, Any] | Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Names, without leading dashes, and values of the options of a configuration or a command line."""
    if isinstance(source, Mapping):
        yield from source.items()
        return
    options = {option: action for action in parser._actions for option in action.option_strings}
    for place, word in enumerate(source):
        flag, equals, value = word.partition("=")
        action = options.get(flag)
        if not flag.startswith("-") or (action is not None and action.nargs is not None):
            continue  # a value, a switch, or an option of several values
        following = source[place + 1] if place + 1 < len(source) else "--"
        taken = value if equals else _NOTHING if following.startswith("--") else following
        is_file = action is not None and action.dest == "config"
        yield from _file(taken) if is_file else [(action.dest if action else flag.removeprefix("--"), taken)]


def _file(path: Any) -> Iterator[tuple[str, Any]]:
    try:
        yield from dict(load_yaml(Path(path).read_text(encoding="utf-8"))).items()
    except (OSError, ValueError, TypeError):
        return


class _Check:
    """Checks options one by one; an option that names a class decides which options may follow.

    Args:
        parser: Parser of the options.
        error: Cause of jsonargparse's message.
    """

    def __init__(self, parser: ArgumentParser, error: Exception | None) -> None:
        self.types = {a.dest: a._typehint for a in parser._actions if hasattr(a, "_typehint")}
        self.others = {a.dest for a in parser._actions} - self.types.keys()
        self.flags = [option for action in parser._actions for option in action.option_strings]
        self.error = error
        self.classes: dict[str, Any] = {}  # named class by option
        self.given: dict[str, set[str]] = {}  # given arguments by the option of their class
        for action in parser._actions:
            default = getattr(action.default, "as_dict", lambda found=action.default: found)()
            if action.dest in self.types and isinstance(default, Mapping):
                self._class(action.dest, self.types[action.dest], default)

    def __call__(self, name: str, value: Any) -> str | None:
        """One line about what is wrong with an option; None if nothing is wrong."""
        name = name.removesuffix("+")
        option = next((known for known in self.types if f"{name}.".startswith(f"{known}.")), None)
        if option is None:
            return self._section(name, value)
        hint = self.types[option]
        for part in name.removeprefix(option).split("."):
            if part not in ("", "init_args"):
                hint = self._argument(option, part)
                if isinstance(hint, str):
                    return hint
                option = f"{option}.{part}"
        if value is _NOTHING:
            return f"--{option} needs a value."
        line = self._class(option, hint, value)
        if line is None or _fits(hint, value):
            return None
        return line or f"--{option} {value if value != '' else repr(value)}: {in_words(hint)} is needed."

    def missing(self) -> str | None:
        """One line about a class that lacks an argument; None if there is none."""
        for option, kind in self.classes.items():
            for name, parameter in _parameters(kind).items():
                if parameter.default is parameter.empty and name not in self.given.get(option, set()):
                    return f"{kind.__name__} needs --{option}.{name}: {in_words(_hints(kind).get(name))}."
        return None

    def _section(self, name: str, value: Any) -> str | None:
        """One line about a wrong group of options, or about an option that no signature has."""
        if inner := next((known for known in self.types if known.startswith(f"{name}.")), None):
            value = _loaded(value) if isinstance(value, str) else value
            if isinstance(value, Mapping):
                return _first(self(f"{name}.{key}", part) for key, part in value.items())
            if not isinstance(value, str):
                return f"--{name} {value}: its options are needed, e.g. --{inner}."
            return None if Path(value).is_file() else f"--{name} {value}: no such file."
        flag = name if name.startswith("-") else f"--{name}"
        return None if name in self.others else str(unknown(flag, self.flags))

    def _class(self, option: str, hint: Any, value: Any) -> str | None:
        """Record the class or classes that a value names; return "" if the value names no class."""
        value = _loaded(value) if isinstance(value, str) and value[:1] in ("{", "[") else value
        if not _kinds(hint):
            return ""
        if isinstance(value, list):
            return _first(self._class(option, hint, part) for part in value)
        if isinstance(value, Mapping):
            line = self._class(option, hint, value["class_path"]) if "class_path" in value else None
            inner = value.get("init_args") or {} if {"class_path", "init_args"} & value.keys() else value
            if not isinstance(inner, Mapping):
                return line or f"--{option}.init_args {inner}: its options by name are needed, e.g. {{weights: none}}."
            return line or _first(self(f"{option}.{name}", part) for name, part in inner.items())
        return self._named(option, _kinds(hint), value) if isinstance(value, str) else ""

    def _named(self, option: str, kinds: Sequence[type], name: str) -> str | None:
        known = {kind.__name__: kind for base in kinds for kind in below(base)}
        found = class_paths.imported(name) if "." in name else known.get(name)
        if found is None and Encoder in kinds and name in NAMES:
            found = NAMES[name].kind
        if found is None:
            return _no_class(option, name, [*NAMES, *known] if Encoder in kinds else known, self.error)
        made = found if inspect.isclass(found) else _hints(found).get("return")
        if not (inspect.isclass(made) and issubclass(made, tuple(kinds))):
            return f"--{option} {name}: one of {', '.join(sorted(known))} is needed."
        if inspect.isabstract(found):
            lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
            return f"--{option}: {name} cannot be built, because it lacks {lacking}."
        self.classes[option] = found
        return None

    def _argument(self, option: str, name: str) -> Any:
        """Type of an argument of an option's class; a text if the argument is wrong."""
        kind = self.classes.get(option)
        if kind is None:
            return f"--{option} needs a class before its option {name}."
        self.given.setdefault(option, set()).add(name)
        parameters = _parameters(kind)
        if name in parameters or any(
            each.kind is each.VAR_KEYWORD for each in inspect.signature(kind).parameters.values()
        ):
            return _hints(kind).get(name, Any)
        return f"{kind.__name__} has no option {name}.{did_you_mean(name, parameters)} It has: {', '.join(parameters)}."


def _no_class(option: str, name: str, known: Iterable[str], error: BaseException | None) -> str:
    try:
        check_import_path(name)
    except ImportDenied:
        return f"the stored configuration names {name}, which is no class of fsseg or Lightning. {fix(name)}."
    if "." not in name:
        return f"--{option}: no class {name}.{did_you_mean(name, known)} There are: {', '.join(known)}."
    while error is not None and (error.__cause__ or error.__context__) is not None:
        error = error.__cause__ or error.__context__
    return f"--{option}: {name} cannot be imported: {' '.join(str(error).split())}.{class_paths.hidden(name)}"


def _first(lines: Iterable[str | None]) -> str | None:
    return next((line for line in lines if line is not None), None)


def _loaded(text: str) -> Any:
    try:
        return load_yaml(text)
    except BrokenTextError:
        return text


def _fits(hint: Any, value: Any) -> bool:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        parser.parse_object({"value": value})
    except ArgumentError:
        return False
    return True


def _kinds(hint: Any) -> tuple[type, ...]:
    """Base classes in a type: of an instance, of a list of instances, or of a function's return value."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return tuple(dict.fromkeys(kind for part in inner for kind in _kinds(part)))
    if origin is Callable or (inspect.isclass(origin) and issubclass(origin, Iterable) and origin is not dict):
        return _kinds(inner[-1]) if inner and inner[-1] is not Ellipsis else ()
    return (hint,) if inspect.isclass(hint) and hint.__module__ not in _PLAIN else ()


def in_words(hint: Any) -> str:
    """A type in plain words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(part) for part in get_args(hint) if part is not NoneType))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if kinds := _kinds(hint):
        names = sorted({kind.__name__ for base in kinds for kind in below(base)})
        return f"one of {', '.join(names)}"
    plain = get_origin(hint) or hint
    return _WORDS.get(plain, getattr(plain, "__name__", str(plain)))


def below(kind: Any) -> Iterator[type]:
    """Yield a class and its subclasses, without abstract classes."""
    if not inspect.isabstract(kind):
        yield kind
    for child in kind.__subclasses__():
        yield from below(child)


def _parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """Arguments of a class by name, without those that the code passes, see ``_MADE``."""
    found = inspect.signature(kind).parameters.values()
    return {each.name: each for each in found if each.kind not in _VARIABLE and each.name not in _MADE}


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return get_type_hints(kind.__init__ if inspect.isclass(kind) else kind)
    except (TypeError, NameError):
        return {}
