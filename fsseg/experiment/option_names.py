"""Names of the options of fit, validate and test, cached, so that a typing error is refused before torch is imported.

Only what is certain is refused: an option of the data, the trainer, the protocol or the checkpoints whose group, as
``--data.`` of ``--data.shto``, has options in the cache. Their names are those of one signature. The options of a class
that a user names, as ``--data.dataset.year``, are not in the cache: they are left to the parser, and so is all else.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fsseg
from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean

_GROUPS = ("--data.", "--trainer.", "--protocol.", "--checkpoint.")
_LIBRARIES = ("lightning", "jsonargparse")  # whose signatures or parser decide the names too


def refuse_unknown(arguments: Sequence[str]) -> None:
    """Refuse an option that the parser would refuse, if the cache has the options of this very code.

    Raises:
        FssegError: there is no such option; the line is the parser's.
    """
    asked = [word.partition("=")[0].removesuffix("+") for word in arguments if word.startswith(_GROUPS)]
    if not asked:
        return
    known = _read()
    groups = {name.rpartition(".")[0] for name in known if not name.endswith(".help")}
    for name in asked:
        if name not in known and name.rpartition(".")[0] in groups:
            raise unknown(name, known)


def unknown(name: str, known: Iterable[str]) -> FssegError:
    """The error about an option that there is not."""
    return FssegError(f"no option {name}.{did_you_mean(name, known)}")


def store(names: Sequence[str]) -> None:
    """Cache the options of a parser that has just been built; a cache that cannot be written is done without."""
    if list(names) == _read():
        return
    with suppress(OSError, FssegError):
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.write(path, durable=False, shared=True) as part:
            part.write_text(json.dumps({"code": _code(), "names": list(names)}), encoding="utf-8")


def _read() -> list[str]:
    """The cached names; none where the cache is missing, broken, or another code's."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads(_path().read_text(encoding="utf-8"))
        names = content["names"]
        if content["code"] == _code() and all(isinstance(name, str) for name in names):
            return list(names)
    return []


def _code() -> str:
    """A short name for this version of the code: its files with their sizes and times, and its libraries' versions."""
    root = Path(fsseg.__file__).parent
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*.py"))]
    versions = []
    for library in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions.append(version(library))
    return hashlib.sha256(repr((fsseg.__version__, files, versions)).encode()).hexdigest()


def _path() -> Path:
    from fsseg.datasets.images import cache_folder

    return cache_folder() / "option-names.json"
