"""An experiment that is read and checked as `fsseg fit` does, and not begun."""

from collections.abc import Sequence
from itertools import pairwise

from fsseg.experiment.configuration import Commands
from fsseg.experiment.parser import check_yaml
from fsseg.runs import folders
from fsseg.runs.library_errors import plain_errors


class Checked(Commands):
    """Parses and refuses; builds and runs nothing."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""

    def _set_seed(self) -> None:
        """Leave the generators alone."""


def checked(arguments: Sequence[str]) -> Checked:
    """Read an experiment.

    Args:
        arguments: a command's words, configuration files first.

    Raises:
        FssegError: the command would refuse them.
    """
    for path in [word for before, word in pairwise(arguments) if before == "--config"]:
        check_yaml(path)
    try:
        with plain_errors():
            return Checked(list(arguments))
    finally:
        folders.forget()
