"""Caches the option names of fit, validate and test, so that a mistyped option is refused before torch is imported.

Only options of the data, the trainer, the protocol and the checkpoints are checked, and only if their group, e.g.
``--data.`` of ``--data.shto``, has options in the cache. The parser checks all other options, also those of a class
that the user names, e.g. ``--data.dataset.year``, which the cache does not hold.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fsseg
from fsseg import atomic, class_paths
from fsseg.errors import FssegError
from fsseg.experiment.arguments import flag
from fsseg.experiment.files import did_you_mean

_GROUPS = ("--data.", "--trainer.", "--protocol.", "--checkpoint.")
_LIBRARIES = ("lightning", "jsonargparse")  # libraries that decide the names too


def refuse_unknown(arguments: Sequence[str]) -> None:
    """Refuse an unknown option with the parser's message, if the cache was written by this version of the code.

    Raises:
        FssegError: An option is unknown.
    """
    asked = [flag(word).removesuffix("+") for word in arguments if word.startswith(_GROUPS)]
    if not asked:
        return
    known = _read()
    groups = {class_paths.module_of(name) for name in known if not name.endswith(".help")}
    for name in asked:
        if name not in known and class_paths.module_of(name) in groups:
            raise unknown(name, known)


def unknown(name: str, known: Iterable[str]) -> FssegError:
    """The error for an unknown option."""
    return FssegError(f"no option {name}.{did_you_mean(name, known)}")


def store(names: Sequence[str]) -> None:
    """Cache the option names of a new parser; errors of the disk are ignored."""
    if list(names) == _read():
        return
    with suppress(OSError, FssegError):
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.write(path, durable=False, shared=True) as part:
            part.write_text(json.dumps({"code": _code(), "names": list(names)}), encoding="utf-8")


def _read() -> list[str]:
    """The cached names; empty if the cache is missing, broken, or of another version of the code."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads(_path().read_text(encoding="utf-8"))
        names = content["names"]
        if content["code"] == _code() and all(isinstance(name, str) for name in names):
            return list(names)
    return []


def _code() -> str:
    """Digest of this version of the code: sizes and times of its files, and versions of its libraries."""
    root = Path(fsseg.__file__).parent
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*.py"))]
    versions = []
    for library in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions.append(version(library))
    return hashlib.sha256(repr((fsseg.__version__, files, versions)).encode()).hexdigest()


def _path() -> Path:
    from fsseg.disk_cache import cache_folder

    return cache_folder() / "option-names.json"
