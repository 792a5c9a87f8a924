"""The argument parser: jsonargparse's errors in one line that a person can act on."""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

import fsseg.datasets
import fsseg.encoders
import fsseg.episodes
import fsseg.methods
from fsseg.errors import FssegError
from fsseg.experiment import option_names
from fsseg.experiment.class_change import own_arguments
from fsseg.experiment.files import did_you_mean
from fsseg.untrusted.configuration import OWN, fix
from fsseg.untrusted.text import BrokenTextError, load_yaml

_CLASSES = {
    name: getattr(module, name)
    for module in (fsseg.methods, fsseg.encoders, fsseg.datasets, fsseg.episodes)
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
}


class Parser(LightningArgumentParser):
    """LightningCLI's parser, raising `FssegError` instead of printing its usage."""

    def add_class_arguments(self, theclass: Any, *args: Any, **kwargs: Any) -> Any:
        """All arguments of a class, but for what is an option of its own (--protocol)."""
        if theclass is fsseg.episodes.EpisodeData:
            kwargs["skip"] = {*(kwargs.get("skip") or ()), "protocol"}
        return super().add_class_arguments(theclass, *args, **kwargs)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, each class with arguments of its own."""
        with own_arguments(_parsers(self)):
            found = super().parse_args(*args, **kwargs)
        if getattr(self, "_subcommands_action", None):
            option_names.store(_options(self))
        return found

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error as one line, with a hint at what may have been meant."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise FssegError(explain(message, _options(self)))


def explain(message: str, options: Iterable[str]) -> str:
    """A parser's message as one line, with the known words nearest to an unknown one."""
    text = " ".join(message.split())
    text = re.sub(r'^Parser key "?(.+?)"?: ', r"--\1: ", text)
    text = re.sub(r"<class '(\w+)'>", r"\1", text).replace("a int.", "an int.")
    if found := re.search(r"^(--\S+): Does not validate .* Subtypes: \[(.*)\] Errors: .*Given value: ?(.*)$", text):
        return f"{found[1]} {found[3] or repr('')}: {_kinds(found[2])} is needed."
    if found := re.search(r"^(--\S+): Expected a (\S*Literal\[.*?\])\. Got value: (.*)$", text):
        return f"{found[1]} {found[3]}: {_kinds(found[2])} is needed."
    if found := re.search(r"Importing '([\w.]+)' is not allowed", text):
        return f"the stored configuration names {found[1]}, which is no class of fsseg or Lightning. {fix(found[1])}."
    if found := re.search(r"unrecognized arguments: (\S+)", text):
        return str(option_names.unknown(found[1].partition("=")[0], options))
    if found := re.search(r"Expected a dot import path string: (\S+)", text):
        return f"{text.split(':')[0]}: no class {found[1]}.{did_you_mean(found[1], _CLASSES)}"
    if found := re.search(r"class_path '?([\w.]+)'?: .*[Oo]ption '([\w.]+)' is not accepted", text):
        name, option = found[1].rpartition(".")[2], found[2]
        known = list(inspect.signature(_CLASSES[name]).parameters) if name in _CLASSES else []
        return f"{name} has no option {option}.{did_you_mean(option, known)} It has: {', '.join(known)}."
    if found := re.search(r"does not accept option '([\w.]+)'|Option '([\w.]+)' is not accepted", text):
        return str(option_names.unknown("--" + (found[1] or found[2]), options))
    return text


def _kinds(types: str) -> str:
    """Types as jsonargparse prints them, in words."""
    names = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
    literals = re.findall(r"Literal\[(.*?)\]", types)
    plain = re.sub(r"\S*Literal\[.*?\]", "", types)
    words = [names[name] for name in re.findall(r"\w+", plain) if name in names]
    return " or ".join([*words, *(f"one of {values.replace(chr(39), '')}" for values in literals)])


def check_yaml(path: str) -> None:
    """Name the file and the line where a configuration is no YAML.

    Raises:
        FssegError: it isn't, or holds no options.
    """
    if "\n" in path:
        return  # the configuration of a checkpoint
    try:
        content = load_yaml(Path(path).read_text(encoding="utf-8"))
    except BrokenTextError as error:
        raise FssegError(f"--config {path}: {error} (no YAML).") from error
    except UnicodeDecodeError as error:
        raise FssegError(f"--config {path}: no text (no YAML).") from error
    if not isinstance(content, dict):
        raise FssegError(f"--config {path} holds no options; see experiments/quickstart.yaml for the form.")
    for section in OWN:
        wanted = int if section == "seed_everything" else (dict, str)  # text: another file, or a class
        if section in content and not isinstance(content[section], wanted):
            raise FssegError(f"--config {path}: {section} is empty, or no options. Give it some, or leave it out.")


def _options(parser: ArgumentParser) -> list[str]:
    """Flags of a parser and of its commands."""
    return [option for p in _parsers(parser) for action in p._actions for option in action.option_strings]


def _parsers(parser: ArgumentParser) -> list[ArgumentParser]:
    """A parser and those of its commands."""
    commands = getattr(parser, "_subcommands_action", None)
    return [parser, *(commands.choices.values() if commands else [])]
