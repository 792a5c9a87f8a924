"""Parser of the commands other than fit, validate and test, and their help pages. Imports no torch."""

import argparse
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from fsseg.errors import FssegError
from fsseg.experiment.arguments import flag
from fsseg.experiment.files import IN_WORDS, did_you_mean

_VALUES = {int: "N", float: "X", bool: "true|false", str: "TEXT", list: "LIST", Path: "PATH"}
_WIDTH = 100  # columns of a help page
MOVED = "folder of the data set, if it has moved"  # help of --data.root


class Value:
    """Converts a word of the command line to a type such as ``int``, ``Literal["a", "b"]`` or ``int | None``.

    Args:
        hint: The type.
    """

    def __init__(self, hint: Any) -> None:
        union = get_origin(hint) in (Union, UnionType)
        members = get_args(hint) if union else (hint,)
        literals = [kind for kind in members if get_origin(kind) is Literal]
        self.kinds = tuple(kind for kind in members if kind is not NoneType and kind not in literals)
        self.choices = tuple(choice for kind in literals for choice in get_args(kind))

    def __call__(self, text: str) -> Any:
        """Convert a word.

        Raises:
            ArgumentTypeError: The word has another type.
        """
        from fsseg.untrusted.text import load_yaml

        named = {str(choice): choice for choice in self.choices}
        if text in named:
            return named[text]
        for kind in self.kinds:
            if kind in (str, Path):
                return kind(text)
            try:
                value = kind(text) if kind in (int, float) else load_yaml(text)
            except ValueError:
                continue
            plain = get_origin(kind) or kind
            value = tuple(value) if plain is tuple and isinstance(value, list) else value
            if plain is Any or isinstance(value, plain):
                return value
        raise argparse.ArgumentTypeError(f"{text}: {self.needed} is needed.{did_you_mean(text, named)}")

    @property
    def needed(self) -> str:
        """Description of the accepted values, for errors."""
        first = "one of " if len(self.choices) > 1 else ""
        choices = [first + ", ".join(map(str, self.choices))] if self.choices else []
        return " or ".join([*(_words(kind, IN_WORDS) for kind in self.kinds), *choices])

    @property
    def short(self) -> str:
        """Accepted values, for help pages."""
        return "|".join([*(_words(kind, _VALUES) for kind in self.kinds), *map(str, self.choices)])


def _words(kind: Any, words: Mapping[Any, str]) -> str:
    plain = get_origin(kind) or kind
    return words.get(list if plain is tuple else plain, str(getattr(plain, "__name__", plain)))


class Options(argparse.ArgumentParser):
    """argparse's parser, which raises `FssegError` in place of printing its usage.

    Args:
        command: Name of the command, for errors and the help page.
        others: Help of options that another parser reads; they end the help page.
    """

    def __init__(self, command: str, others: Mapping[str, str] | None = None) -> None:
        super().__init__(prog=f"fsseg {command}", add_help=False, allow_abbrev=False, exit_on_error=False)
        self.command, self.others = command, others or {}

    def option(self, name: str, kind: Any, text: str, **more: Any) -> None:
        """Add an option.

        Args:
            name: Name with dashes; a name without dashes is a required positional argument.
            kind: Type of the value, see `Value`; bool is an option without a value.
            text: Line of the help page.
            more: Other arguments of argparse's ``add_argument``: default, metavar, nargs ...
        """
        reading = {"action": "store_true"} if kind is bool else {"type": Value(kind)}
        self.add_argument(name, help=text, **{**reading, **more})

    def add_class(self, kind: type) -> None:
        """Add an option for each argument of a class, with types of its signature and help of its docstring."""
        import docstring_parser

        hints = get_type_hints(kind.__init__)  # type: ignore[misc]
        texts = {p.arg_name: p.description or "" for p in docstring_parser.parse(kind.__doc__ or "").params}
        for name, parameter in inspect.signature(kind).parameters.items():
            if f"--{name}" in self.names or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue  # of a name such as root, the command's option gives the argument too
            needed = parameter.default is parameter.empty
            default = "" if needed or parameter.default is None else f" ({parameter.default})"
            text = " ".join(texts.get(name, "").replace("``", "").split()).replace("%", "%%")
            value = Value(hints.get(name) or _kind_of(parameter.default))
            more: dict[str, Any] = {"required": needed, "default": argparse.SUPPRESS, "help": text + default}
            self.add_argument(f"--{name}", type=value, **more)

    def read(self, arguments: Sequence[str]) -> Any:
        """Values of the options; positional arguments may stand between them.

        Raises:
            FssegError: A value is wrong, an option is unknown, or there are too many or too few words.
        """
        given, rest = self._parsed(self.parse_known_intermixed_args, arguments)
        if rest:
            self.refuse(rest[0])
        return given

    def read_known(self, arguments: Sequence[str]) -> tuple[Any, list[str]]:
        """Values of the options, and the words that this parser does not know."""
        return self._parsed(self.parse_known_args, arguments)

    def _parsed(self, parse: Callable[..., tuple[Any, list[str]]], arguments: Sequence[str]) -> tuple[Any, list[str]]:
        try:
            return parse(list(arguments))
        except argparse.ArgumentError as error:
            of_value = isinstance(error.__context__, argparse.ArgumentTypeError)
            name = f"{error.argument_name}{' ' if of_value else ': '}" if error.argument_name else ""
            self.error(f"{name}{error.message}")

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message, e.g. about a missing word, as one line."""
        text = message.replace("the following arguments are required:", "missing:").rstrip(".")
        raise FssegError(f"{self.command}: {text}. See {self.prog} --help.")

    def refuse(self, word: str) -> NoReturn:
        """Refuse an unknown option or a surplus word, and suggest the nearest option."""
        name = flag(word)
        what = f"no option {name}" if name.startswith("-") else f"{name!r} is one argument too many"
        raise FssegError(f"{self.command}: {what}.{did_you_mean(name, self.names)}")

    def refuse_near(self, rest: Sequence[str], known: Sequence[str]) -> None:
        """Refuse words that resemble an option of this command; another parser reads all other words.

        Args:
            rest: Words that this parser does not know.
            known: Options of the other parser that resemble ours.

        Raises:
            FssegError: A word resembles an option.
        """
        if rest and not rest[0].startswith("-"):
            raise FssegError(f"{self.command}: {rest[0]!r} belongs to no option.")
        for name in [flag(word) for word in rest if word.startswith("--")]:
            if "." not in name and name not in known and did_you_mean(name, self.names):
                self.refuse(name)

    @property
    def names(self) -> list[str]:
        """All options of this command."""
        return [option for action in self._actions for option in action.option_strings]

    def rows(self) -> dict[str, str]:
        """Help of each option, by the option with its value."""
        return {_usage(action): (action.help or "") % vars(action) for action in self._actions} | dict(self.others)


def _kind_of(default: Any) -> Any:
    """Type of an argument without annotation: that of its default, or text."""
    return str if default in (None, inspect.Parameter.empty) else type(default)


def table(rows: Mapping[str, str]) -> str:
    """Rows of a help page; long texts are wrapped within the second column."""
    width = max(map(len, rows)) + 2
    lines = []
    for option, text in rows.items():
        first, *more = textwrap.wrap(text, max(_WIDTH - width, 60)) or [""]
        lines += [f"  {option:{width}}{first}".rstrip(), *(f"  {'':{width}}{line}" for line in more)]
    return "\n".join(lines)


def split(arguments: Sequence[str], prefixes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Words of the options with one of the prefixes, and all other words."""
    apart: list[str] = []
    others: list[str] = []
    into = others
    for word in arguments:
        if word.startswith("--"):
            into = apart if word.startswith(prefixes) else others
        into.append(word)
    return apart, others


def add_segmenter(options: Options) -> None:
    """Add the options that choose a method, its weights and the size of its images."""
    stored = "checkpoint, or file of predict --save (default: no training)"
    options.option("--ckpt_path", str, stored, metavar="FILE")
    options.option("--config", str, "experiment with the untrained method", metavar="FILE")
    options.option("--encoder", str, "encoder of docs/encoders.md (dinov2_s)", metavar="NAME")
    options.option("--encoder_weights", str, "its weights, without a download", metavar="FILE")
    options.option("--size", int, "side of resized images in pixels (the checkpoint's, or 420)")
    options.option("--long_side", int, "resize the longer side to N and keep proportions")
    options.option("--no_refine", bool, "leave masks as coarse as the encoder's cells")
    options.option("--thorough", bool, "see a query four times, also mirrored and larger")
    options.option("--device", str, "cpu, cuda, cuda:1 (default: a GPU if there is one)", metavar="D")
    options.others = {"--model.method.OPTION VALUE": "option of the untrained method"}


def _usage(action: argparse.Action) -> str:
    """An option with its value, e.g. ``--count N``."""
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    short = action.type.short if isinstance(action.type, Value) and action.option_strings else action.dest.upper()
    value = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or (short,))
    words = [", ".join(action.option_strings), value, "..." if action.nargs == "+" else ""]
    return " ".join(word for word in words if word)
