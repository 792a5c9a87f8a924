"""Dotted paths of classes, as configurations name them: ``fsseg.methods.PANet``."""

import importlib
import sys
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
