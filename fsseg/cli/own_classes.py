"""Imports a class that the user names on the command line, also from a file in the working folder."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from fsseg import class_paths
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean


def load_class(path: str) -> Any:
    """The class of a dotted path.

    Args:
        path: Such as ``mine.Margin``, for the class ``Margin`` in ``mine.py``.

    Raises:
        FssegError: The path is no dotted path, the module cannot be imported, or the module has no such class.
    """
    if not all(part.isidentifier() for part in path.split(".")) or "." not in path:
        raise FssegError(f"{path}: MODULE.CLASS is needed, e.g. mine.Margin for the class Margin in mine.py.")
    class_paths.find_here(path, Path.cwd())
    name, module = class_paths.last_name(path), class_paths.module_of(path)
    try:
        found = importlib.import_module(module)
    except Exception as error:  # importing runs the user's code
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        text = " ".join(str(error).split())
        raise FssegError(f"{path} cannot be imported: {kind}{text}.{class_paths.hidden(path)}") from error
    if not inspect.isclass(getattr(found, name, None)):
        own = [each for each, value in vars(found).items() if inspect.isclass(value) and value.__module__ == module]
        there = f" It has: {', '.join(own)}." if own else ""
        raise FssegError(
            f"module {module} has no class {name}.{did_you_mean(name, own)}{there}{class_paths.hidden(path)}"
        )
    return getattr(found, name)


def refuse_abstract(kind: type, path: str) -> None:
    """Refuse a class without all functions of its contract.

    Raises:
        FssegError: Functions are missing.
    """
    if inspect.isabstract(kind):
        lacking = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
        raise FssegError(f"{path} cannot be built, because it lacks {lacking}.")
