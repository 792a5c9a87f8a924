"""Runs checks by name. An error of the checked class is the outcome of a check, with the line of its file."""

import inspect
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fsseg.errors import FssegError

Check = Callable[[], None]


class Outcome(NamedTuple):
    """Name of a check, and the problem that the check found; the problem is empty if the check passed."""

    name: str
    problem: str


def require(holds: bool, problem: str) -> None:
    """Refuse what does not hold.

    Raises:
        FssegError: the condition does not hold.
    """
    if not holds:
        raise FssegError(problem)


def outcomes(checks: Mapping[str, Check], basic: Collection[str], kind: type) -> Iterator[Outcome]:
    """Run checks one after the other and yield their outcomes.

    Args:
        checks: checks by name.
        basic: names of checks that end the run if they fail, because the later checks would fail for the same reason.
        kind: the checked class.
    """
    for name, check in checks.items():
        try:
            check()
        except Exception as error:  # the code of a user's class may raise anything
            yield Outcome(name, described(error, kind))
            if name in basic:
                return
        else:
            yield Outcome(name, "")


def described(error: Exception, kind: type) -> str:
    """An error as one line; an error that is not ours has its type and its place in the file of a class."""
    text = " ".join(str(error).split())
    if isinstance(error, FssegError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == _file_of(kind)]
    place = (own or frames)[-1:]
    where = f" ({Path(place[0].filename).name}, line {place[0].lineno}, in {place[0].name})" if place else ""
    return f"{type(error).__name__}: {text}{where}"


def _file_of(kind: type) -> str | None:
    try:
        return inspect.getsourcefile(kind)
    except (TypeError, OSError):  # a class that was made without a file
        return None
