"""Cache of what a scan of files computes, e.g. the index of a data set, in the user's cache folder."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg import atomic
from fsseg.errors import FssegError


class Cached(NamedTuple):
    """Arrays, their cache file (None: not cached), and whether they were computed now, not read from the cache."""

    arrays: dict[str, npt.NDArray[Any]]
    cache: Path | None
    fresh: bool


def cached(
    kind: str,
    files: Sequence[Path],
    scan: Callable[[], dict[str, npt.NDArray[Any]]],
    shapes: Mapping[str, tuple[int, ...]],
    *options: object,
) -> Cached:
    """Arrays that a scan of files computes, read from the cache if no file has changed.

    Args:
        kind: prefix of the cache file's name.
        files: the files that the scan reads.
        scan: computes the arrays.
        shapes: of the arrays, all of 32-bit integers; a cache with other shapes or types is not used.
        options: further values that the result depends on.

    Raises:
        FssegError: a file is missing.
    """
    place = cache_folder() / f"{kind}-{fingerprint(files, *options)}.npz"
    try:
        # Opened here, because numpy does not close a file that it cannot read.
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        if {n: (*a.shape, a.dtype) for n, a in arrays.items()} == {n: (*s, np.int32) for n, s in shapes.items()}:
            return Cached(arrays, place, fresh=False)
    except Exception:  # no cache yet; or a broken file, on which numpy raises nearly anything
        pass
    arrays = scan()
    return Cached(arrays, place if _store(place, arrays) else None, fresh=True)


def cache_folder() -> Path:
    """Folder of the caches: ``fsseg`` in the user's cache folder (XDG_CACHE_HOME)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):  # the user of a container may have no home
        place = Path(tempfile.gettempdir()) / f"fsseg-cache-{os.getuid()}"
        place.mkdir(mode=0o700, exist_ok=True)
        if place.stat().st_uid == os.getuid():  # another owner could put files into the folder
            return place
        base = tempfile.mkdtemp()
    return Path(base) / "fsseg"


def fingerprint(files: Sequence[Path], *options: object) -> str:
    """Hash of options and of the path, size and modification time of each mask file.

    Raises:
        FssegError: a file is missing.
    """
    digest = hashlib.sha256(repr(options).encode() if options else b"")
    for path in files:
        try:
            state = path.stat()
        except (FileNotFoundError, ValueError) as error:  # ValueError: an impossible file name
            raise FssegError(f"mask {path} is missing. Put it there, or take its name out of the list.") from error
        digest.update(f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _store(cache: Path, arrays: dict[str, npt.NDArray[Any]]) -> bool:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with atomic.write(cache, shared=True) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except (OSError, FssegError):
        return False
    return True
