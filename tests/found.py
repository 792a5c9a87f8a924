"""Classes of a package, found in its modules: contract tests need no list of them."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def modules(package: ModuleType) -> list[str]:
    """Names of a package's modules."""
    return [name for _, name, _ in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]


def concrete(names: Iterable[str], base: type[T]) -> list[type[T]]:
    """Classes below a base that can be made, each in the module that defines it."""
    return [
        kind
        for module in map(importlib.import_module, names)
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, base) and not inspect.isabstract(kind)
        if kind.__module__ == module.__name__
    ]
