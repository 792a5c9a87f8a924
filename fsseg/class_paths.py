"""Dotted paths of classes, as configurations name them: ``fsseg.methods.PANet``."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any


def last_name(path: str) -> str:
    """The name of a class without its module; of an option without its groups."""
    return path.rpartition(".")[2]


def module_of(path: str) -> str:
    """The module of a class, or the groups of an option; "" without a dot."""
    return path.rpartition(".")[0]


def load(path: str, default_module: str = "") -> Any:
    """Import and return what a dotted path names.

    Args:
        path: dotted path.
        default_module: module of a name without a dot.

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such name.
    """
    return getattr(importlib.import_module(module_of(path) or default_module), last_name(path))


def imported(path: str) -> Any:
    """What a dotted path names, if its module has been imported; else None. An untrusted path must not be imported."""
    module = sys.modules.get(module_of(path))
    return getattr(module, last_name(path), None) if module else None


def find_here(path: str, folder: Path) -> None:
    """Append the working folder to Python's path if only this folder has the module of a class.

    The folder comes last, so that none of its files hides a module of Python or of an installed package. Call this
    function only for a class that the user has named or trusts: importing its module runs the module's code.

    Args:
        path: dotted path of the class.
        folder: the working folder.
    """
    module = path.partition(".")[0]
    if module in sys.modules or not _is_in(folder, module) or importlib.util.find_spec(module) is not None:
        return
    sys.path.append(str(folder))
    importlib.invalidate_caches()


def hidden(path: str) -> str:
    """A hint that an installed module hides the user's file of the same name; "" if it hides none."""
    module = path.partition(".")[0]
    found = importlib.util.find_spec(module) if _is_in(Path.cwd(), module) and module in sys.modules else None
    if found is None or found.origin is None or Path(found.origin).is_relative_to(Path.cwd()):
        return ""
    return f" Python's or a library's module {module} hides your {module}; rename yours."


def _is_in(folder: Path, module: str) -> bool:
    return (folder / f"{module}.py").is_file() or (folder / module).is_dir()
