"""jsonargparse's parser with one-line errors that name the fix."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from fsseg.errors import FssegError
from fsseg.experiment.class_change import own_arguments
from fsseg.experiment.encoder_names import named_encoders
from fsseg.experiment.option_errors import explain, in_words
from fsseg.experiment.own_modules import own_modules
from fsseg.untrusted.configuration import OWN
from fsseg.untrusted.text import BrokenTextError, load_yaml


class Parser(ArgumentParser):
    """jsonargparse's parser, which raises `FssegError` instead of printing its usage.

    Attributes:
        complete: Completes a copy of the options for ``--print_config``, given the words of the command line.
    """

    complete: Callable[[Any, Sequence[str]], None] | None = None
    _sources: tuple[Mapping[str, Any], Sequence[str]] = ({}, ())  # the present input: stored options, and words

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: Any = None, *, stored: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Parse a command line; arguments of a replaced class are dropped, see `own_arguments`.

        Args:
            args: Words of the command line.
            namespace: Options that the words change.
            stored: Configuration that the words change, in place of ``namespace``.
            kwargs: jsonargparse's arguments for the parser of a class.

        Raises:
            FssegError: An option is unknown or has a wrong type.
        """
        if not self.exit_on_error:  # the parser of a class, called by another parser
            return super().parse_args(args, namespace, **kwargs)
        self._sources = (stored or {}, list(args))
        try:
            with own_modules(), own_arguments(self) as replace, named_encoders(replace):
                base = self.parse_object(stored) if stored else namespace
                found = super().parse_args(list(args), base, **kwargs)
        finally:
            self.__dict__.pop("print_config", None)  # jsonargparse leaves it after an error, for the next command
        self._refuse_nulls(found)
        return found

    def dump(self, cfg: Any, *args: Any, **kwargs: Any) -> str:
        """The options as text; ``--print_config`` completes them first."""
        if self.complete is not None and "print_config" in vars(self):
            cfg = cfg.clone()
            self.complete(cfg, self._sources[1])
        text: str = super().dump(cfg, *args, **kwargs)
        return text

    def _refuse_nulls(self, found: Any) -> None:
        """Refuse null for a plain number, text or switch, which jsonargparse accepts."""
        for action in self._actions:
            hint = getattr(action, "_typehint", None)
            if hint in (bool, int, float, str) and action.dest in found and found[action.dest] is None:
                raise FssegError(f"--{action.dest} null: {in_words(hint)} is needed.")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error as one line, with the nearest known name."""
        if not self.exit_on_error:  # the parser of a class, called by another parser
            super().error(message, ex)
        raise FssegError(explain(self, self._sources, message, ex)) from ex


def check_yaml(path: str) -> dict[str, Any]:
    """Content of a configuration file; the error for broken YAML names file and line.

    Raises:
        FssegError: The file is no YAML, or holds no options.
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
