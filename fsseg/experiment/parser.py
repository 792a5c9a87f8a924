"""The argument parser: jsonargparse's, with one-line errors that name the fix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from fsseg.errors import FssegError
from fsseg.experiment.class_change import own_arguments
from fsseg.experiment.option_errors import explain
from fsseg.untrusted.configuration import OWN
from fsseg.untrusted.text import BrokenTextError, load_yaml


class Parser(ArgumentParser):
    """jsonargparse's parser, raising `FssegError` instead of printing its usage."""

    _sources: tuple[Mapping[str, Any] | Sequence[str], ...] = ()  # what is being parsed

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: Any = None, *, stored: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Options of a command line, each class with arguments of its own.

        Args:
            args: words of the command line.
            namespace: options that they change.
            stored: configuration that they change, in place of ``namespace``.
            kwargs: of jsonargparse, inside of a class.

        Raises:
            FssegError: an option is unknown or of another type.
        """
        if not self.exit_on_error:  # a class's own parser, inside of another one
            return super().parse_args(args, namespace, **kwargs)
        self._sources = (stored or {}, list(args))
        with own_arguments(self):
            base = self.parse_object(stored) if stored else namespace
            return super().parse_args(list(args), base, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error as one line, with a hint at what may have been meant."""
        if not self.exit_on_error:  # a class's own parser, inside of another one
            super().error(message, ex)
        raise FssegError(explain(self, self._sources, message, ex)) from ex


def check_yaml(path: str) -> dict[str, Any]:
    """Content of a configuration file; where it is no YAML, the error names file and line.

    Raises:
        FssegError: it isn't, or holds no options.
    """
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
    return content
