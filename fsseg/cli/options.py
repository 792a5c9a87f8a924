"""Options of commands that are no experiments: plain flags, errors in one line."""

import argparse
from typing import NoReturn

from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean


class Options(argparse.ArgumentParser):
    """argparse, raising `FssegError` instead of printing its usage.

    Args:
        command: the command's name, for its errors.
    """

    def __init__(self, command: str) -> None:
        super().__init__(prog=f"fsseg {command}", add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise the error as one line."""
        text = message.removeprefix("argument ").replace("the following arguments are required:", "missing:")
        if text.startswith("unrecognized arguments: "):
            self.refuse(text.split()[2])
        raise FssegError(f"{self.prog.removeprefix('fsseg ')}: {text}. See {self.prog} --help.")

    def refuse(self, word: str) -> NoReturn:
        """Refuse an option that there is not, with the nearest that there is."""
        known = [option for action in self._actions for option in action.option_strings]
        name = word.partition("=")[0]
        what = f"no option {name}" if name.startswith("-") else f"{name!r} is one argument too many"
        raise FssegError(f"{self.prog.removeprefix('fsseg ')}: {what}.{did_you_mean(name, known)}")
