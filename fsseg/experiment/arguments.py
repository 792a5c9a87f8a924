"""Functions on the words of a command line, before the parser reads them."""

from collections.abc import Sequence

from fsseg.errors import FssegError
from fsseg.experiment.files import find_experiment


def take(words: Sequence[str], *names: str) -> tuple[list[str], list[str]]:
    """Values of an option, given as ``--name value`` or ``--name=value``, and the words without the option.

    Raises:
        FssegError: A value is missing.
    """
    values: list[str] = []
    others: list[str] = []
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name not in names:
            others.append(f"{name}{equals}{value}")
        elif equals or (left and not left[0].startswith("--")):
            values.append(value if equals else left.pop(0))
        else:
            raise FssegError(
                f"{name} needs a file, e.g. --config experiments/quickstart.yaml."
                if name in ("-c", "--config")
                else f"{name} needs a value."
            )
    return values, others


def last(words: Sequence[str], name: str) -> str | None:
    """The last value of an option; None if the option is not given."""
    values, _ = take(words, name)
    return values[-1] if values else None


def flag(word: str) -> str:
    """A word without the value after its equals sign."""
    return word.partition("=")[0]


def flags(words: Sequence[str]) -> frozenset[str]:
    """Names of the given options, with their dashes."""
    return frozenset(map(flag, words))


def files_first(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Configuration files, and the other words. Files are read first, so that no file overrides an option.

    Raises:
        FssegError: A file does not exist.
    """
    files, others = take(words, "-c", "--config")
    return [find_experiment(path) for path in files], others
