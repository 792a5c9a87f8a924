"""Reading images and masks from files, and caching an index: every error names the file."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import PIL.Image

from fsseg.data.base import Image, Index, Mask
from fsseg.errors import FssegError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

T = TypeVar("T")

_MANY = 1000  # files; reading fewer takes less than a second and needs no progress bar


@contextmanager
def _opened(path: Path, what: str) -> Iterator[PIL.Image.Image]:
    """A picture, decoded when it is asked for; whatever is wrong with the file, the error names it."""
    try:
        with PIL.Image.open(path) as picture:
            yield picture
    except FileNotFoundError as error:
        raise FssegError(f"{what} {path} is missing. Put it there, or take its name out of the list.") from error
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise FssegError(f"{what} {path} cannot be decoded ({error}). Replace the file.") from error


def read_image(path: Path) -> Image:
    """An image file as RGB.

    Raises:
        FssegError: the file is missing, truncated or no image.
    """
    with _opened(path, "image") as picture:
        return np.asarray(picture.convert("RGB"))


def read_mask(path: Path) -> Mask:
    """An indexed or grey-level PNG as class ids; a palette's colours are not looked at.

    Raises:
        FssegError: the file is missing, truncated or holds colours instead of ids.
    """
    with _opened(path, "mask") as picture:
        if picture.mode not in ("P", "L"):
            raise FssegError(f"mask {path} is a {picture.mode} picture; class ids need an indexed or 8-bit grey PNG.")
        return np.asarray(picture)


def image_size(path: Path) -> tuple[int, int]:
    """``(height, width)`` of an image file, from its header alone.

    Raises:
        FssegError: the file is missing or no image.
    """
    with _opened(path, "image") as picture:
        return picture.height, picture.width


def cached_index(kind: str, files: Sequence[Path], scan: Callable[[int], npt.NDArray[np.int32]]) -> Index:
    """The index over mask files, read from the cache where no file changed since.

    Args:
        kind: begins the cache file's name.
        files: one mask file per image number.
        scan: pixel counts of an image number's mask, and those of its grid (see `Index`).

    Returns:
        The index. A cache folder that cannot be written costs a new scan at each start, nothing else.
    """
    cache = cache_folder() / f"{kind}-{fingerprint(files)}.npz"
    try:
        # Opened here, since numpy leaves a file open that it fails to read.
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Index(stored["pixels"], stored["grid"], cache, fresh=False)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # no cache yet, or one that was cut off: scan again
    counts = np.stack([scan(number) for number in tracked(range(len(files)), f"index of {len(files):,} masks")])
    pixels, grid = counts[:, 0], counts[:, 1]
    return Index(pixels, grid, cache if _store(cache, pixels=pixels, grid=grid) else None)


def tracked(items: Sequence[T], what: str) -> Iterable[T]:
    """The items, with a progress bar on standard error where they are many."""
    if len(items) < _MANY:
        return items
    from rich.progress import track  # late, see `status`

    return track(items, what, console=_console(), transient=True)


def status(what: str) -> "Status":
    """Context that says on standard error what is being waited for.

    rich is imported late: it asks typing for Union[float, int], and typing then gives that, order and all, to whoever
    asks for Union[int, float]. Lightning does, and the command line would read --trainer.limit_test_batches 1 as 1.0,
    which means all.
    """
    return _console().status(what)


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True)


def cache_folder() -> Path:
    """Where caches lie: ``fsseg`` in the user's cache folder (XDG_CACHE_HOME)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fsseg"


def fingerprint(files: Sequence[Path], *options: object) -> str:
    """A short name for the state of mask files and options: path, size and time of change of each file.

    Raises:
        FssegError: a file is missing.
    """
    digest = hashlib.sha256(repr(options).encode() if options else b"")
    for path in files:
        try:
            state = path.stat()
        except FileNotFoundError as error:
            raise FssegError(f"mask {path} is missing. Put it there, or take its name out of the list.") from error
        digest.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _store(cache: Path, **arrays: npt.NDArray[np.int32]) -> bool:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed, so that a second process never reads half a file.
        part = cache.with_name(f".{os.getpid()}-{cache.name}")
        try:
            np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
            part.replace(cache)
        finally:
            part.unlink(missing_ok=True)
    except OSError:
        return False
    return True
