"""Lets the parser find a user's own classes in the working folder, which a console script does not search.

Every class path of an option passes one function of jsonargparse before it is imported. jsonargparse has no setting for
more folders, so this function is replaced during parsing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import _util

from fsseg import class_paths

_FUNCTION = "check_import_path"


@contextmanager
def own_modules() -> Iterator[None]:
    """While parsing, also search the working folder for the module of a class that may be imported.

    jsonargparse's function refuses first: with a stored configuration, all classes but those of known modules and of
    FSSEG_TRUST, see `fsseg.untrusted.configuration`.
    """
    refuse, folder = getattr(_util, _FUNCTION), Path.cwd()  # jsonargparse enters the folder of a file that it reads

    def found(path: str) -> None:
        refuse(path)
        class_paths.find_here(path, folder)

    setattr(_util, _FUNCTION, found)
    try:
        yield
    finally:
        setattr(_util, _FUNCTION, refuse)
