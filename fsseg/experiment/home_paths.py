"""Expands ``~`` in paths; a shell does not expand it after ``--option=``, in quotes, in YAML or in a variable."""

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import Any


def at_home(text: str) -> str:
    """Replace a leading ``~`` of a path, or of an option's value, by the home folder."""
    option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
    found = os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    return f"{option}{equals}{found}"


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    """Expand the words of a command, and in place the environment variable FSSEG_DATA_ROOT."""
    if root := os.environ.get("FSSEG_DATA_ROOT"):
        os.environ["FSSEG_DATA_ROOT"] = at_home(root)
    return [at_home(word) for word in arguments]


def expand_configuration(config: Any) -> None:
    """Expand every text of a configuration in place.

    Args:
        config: A namespace, mapping or list of any depth.
    """
    target = vars(config) if isinstance(config, Namespace) else config
    for key, value in list(enumerate(target) if isinstance(target, list) else target.items()):
        if not isinstance(value, str):
            if isinstance(value, dict | list | Namespace):
                expand_configuration(value)
        elif (found := at_home(value)) != value:
            target[key] = found
