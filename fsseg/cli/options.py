"""Options of the commands that train nothing: one parser reads them and prints their help page. Imports no torch."""

import argparse
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean

_NEEDED = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list"}
_VALUES = {int: "N", float: "X", bool: "true|false", str: "TEXT", list: "LIST", Path: "PATH"}
_WIDTH = 150  # columns of a help page
MOVED = "folder of the data set, where it has moved"  # --data.root of what is finished


class Value:
    """Reads a word of the command line as a value of a type, such as ``int``, ``Literal["a", "b"]`` or ``int | None``.

    Args:
        hint: the type.
    """

    def __init__(self, hint: Any) -> None:
        self.kinds = tuple(kind for kind in (get_args(hint) or (hint,)) if kind is not NoneType)
        self.choices: tuple[Any, ...] = ()
        if get_origin(hint) is Literal:
            self.kinds, self.choices = (), get_args(hint)

    def __call__(self, text: str) -> Any:
        """The value.

        Raises:
            ArgumentTypeError: the word is of another type.
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
            if isinstance(value, get_origin(kind) or kind):
                return value
        raise argparse.ArgumentTypeError(f"{text}: {self.needed} is needed.{did_you_mean(text, named)}")

    @property
    def needed(self) -> str:
        """What is accepted, in words."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        return " or ".join(_NEEDED[get_origin(kind) or kind] for kind in self.kinds)

    @property
    def short(self) -> str:
        """What is accepted, as help pages write it."""
        return "|".join(map(str, self.choices)) or "|".join(_VALUES[get_origin(kind) or kind] for kind in self.kinds)


class Options(argparse.ArgumentParser):
    """argparse, raising `FssegError` in place of printing its usage.

    Args:
        command: the command's name, for its errors and its help page.
        others: options that another parser reads, and what they do; the help page ends with them.
    """

    def __init__(self, command: str, others: Mapping[str, str] | None = None) -> None:
        super().__init__(prog=f"fsseg {command}", add_help=False, allow_abbrev=False, exit_on_error=False)
        self.command, self.others = command, others or {}

    def option(self, name: str, kind: Any, text: str, **more: Any) -> None:
        """Add an option.

        Args:
            name: with its dashes; without them it is a word that has to be given.
            kind: type of its value, see `Value`; bool is an option without value.
            text: its line of the help page.
            more: of argparse's ``add_argument``: default, metavar, nargs ...
        """
        reading = {"action": "store_true"} if kind is bool else {"type": Value(kind)}
        self.add_argument(name, help=text, **{**reading, **more})

    def add_class(self, kind: type) -> None:
        """Add an option for each argument of a class; its signature has the types, its docstring the help."""
        import docstring_parser

        hints = get_type_hints(kind.__init__)  # type: ignore[misc]
        texts = {p.arg_name: p.description or "" for p in docstring_parser.parse(kind.__doc__ or "").params}
        for name, parameter in inspect.signature(kind).parameters.items():
            default = "" if parameter.default is None else f" ({parameter.default})"
            text = " ".join(texts.get(name, "").replace("``", "").split()).replace("%", "%%")
            self.add_argument(f"--{name}", type=Value(hints[name]), default=argparse.SUPPRESS, help=text + default)

    def read(self, arguments: Sequence[str]) -> Any:
        """The options' values; what is no option may stand between them.

        Raises:
            FssegError: a wrong value, an unknown option, or too many or too few words.
        """
        given, rest = self._parsed(self.parse_known_intermixed_args, arguments)
        if rest:
            self.refuse(rest[0])
        return given

    def read_known(self, arguments: Sequence[str]) -> tuple[Any, list[str]]:
        """The options' values, and the words that this parser does not know."""
        return self._parsed(self.parse_known_args, arguments)

    def _parsed(self, parse: Callable[..., tuple[Any, list[str]]], arguments: Sequence[str]) -> tuple[Any, list[str]]:
        try:
            return parse(list(arguments))
        except argparse.ArgumentError as error:
            of_value = isinstance(error.__context__, argparse.ArgumentTypeError)
            name = f"{error.argument_name}{' ' if of_value else ': '}" if error.argument_name else ""
            self.error(f"{name}{error.message}")

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message, e.g. about a word that is missing, as one line."""
        text = message.replace("the following arguments are required:", "missing:").rstrip(".")
        raise FssegError(f"{self.command}: {text}. See {self.prog} --help.")

    def refuse(self, word: str) -> NoReturn:
        """Refuse an option that there is not, with the nearest that there is."""
        name = word.partition("=")[0]
        what = f"no option {name}" if name.startswith("-") else f"{name!r} is one argument too many"
        raise FssegError(f"{self.command}: {what}.{did_you_mean(name, self.names)}")

    def refuse_near(self, rest: Sequence[str], known: Sequence[str]) -> None:
        """Refuse unknown words that are nearly an option of this command; another parser reads all other words.

        Args:
            rest: words that this parser does not know.
            known: options of the other parser that look like ours.

        Raises:
            FssegError: one is.
        """
        if rest and not rest[0].startswith("-"):
            raise FssegError(f"{self.command}: {rest[0]!r} belongs to no option.")
        for name in [word.partition("=")[0] for word in rest if word.startswith("--")]:
            if "." not in name and name not in known and did_you_mean(name, self.names):
                self.refuse(name)

    @property
    def names(self) -> list[str]:
        """All options of this command."""
        return [option for action in self._actions for option in action.option_strings]

    def rows(self) -> dict[str, str]:
        """What each option does, by the option and its value."""
        return {_usage(action): (action.help or "") % vars(action) for action in self._actions} | dict(self.others)


def table(rows: Mapping[str, str]) -> str:
    """Rows of a help page; long ones go on below their second column."""
    width = max(map(len, rows)) + 2
    lines = []
    for option, text in rows.items():
        first, *more = textwrap.wrap(text, max(_WIDTH - width, 60)) or [""]
        lines += [f"  {option:{width}}{first}".rstrip(), *(f"  {'':{width}}{line}" for line in more)]
    return "\n".join(lines)


def split(arguments: Sequence[str], prefixes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Words of the options that begin with one of the prefixes, and all other words."""
    apart: list[str] = []
    others: list[str] = []
    into = others
    for word in arguments:
        if word.startswith("--"):
            into = apart if word.startswith(prefixes) else others
        into.append(word)
    return apart, others


def add_segmenter(options: Options) -> None:
    """Add the options that choose a method, its weights, and the size at which it is shown images."""
    stored = "checkpoint, or a file of `fsseg predict --save` (default: PANet on ImageNet's VGG16, untrained)"
    options.option("--ckpt_path", str, stored, metavar="FILE")
    options.option("--config", str, "the method of an experiment, untrained", metavar="FILE")
    options.option("--size", int, "pixels of a side that images are resized to (the checkpoint's, or 417)")
    options.option("--long_side", int, "resize the longer side, and keep proportions")
    options.option("--device", str, "cpu, cuda, cuda:1 (default: a GPU where there is one)", metavar="D")
    options.others = {"--model.method.OPTION VALUE": "an option of the untrained method, e.g. --model.method.scale 10"}


def _usage(action: argparse.Action) -> str:
    """Such as ``--count N``."""
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    short = action.type.short if isinstance(action.type, Value) and action.option_strings else action.dest.upper()
    value = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or (short,))
    words = [", ".join(action.option_strings), value, "..." if action.nargs == "+" else ""]
    return " ".join(word for word in words if word)
