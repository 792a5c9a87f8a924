"""``~`` in paths, which no shell expands behind ``--option=``, in quotes, in a YAML file or in a variable."""

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import Any


def at_home(text: str) -> str:
    """A path, or an option with one, with the home folder in the place of a leading ``~``."""
    option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
    found = os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    return f"{option}{equals}{found}"


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    """A command's words with their paths at home, and the data folder of the environment likewise."""
    if root := os.environ.get("FSSEG_DATA_ROOT"):
        os.environ["FSSEG_DATA_ROOT"] = at_home(root)
    return [at_home(word) for word in arguments]


def expand_configuration(config: Any) -> None:
    """Replace every text of a configuration that is a path at home, in place.

    Args:
        config: a namespace, mapping or list, of any depth.
    """
    target = vars(config) if isinstance(config, Namespace) else config
    for key, value in list(enumerate(target) if isinstance(target, list) else target.items()):
        if not isinstance(value, str):
            if isinstance(value, dict | list | Namespace):
                expand_configuration(value)
        elif (found := at_home(value)) != value:
            target[key] = found
