"""Reading images and masks from files, and caching an index: every error names the file."""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

from fsseg import atomic
from fsseg.datasets.base import Image
from fsseg.datasets.image_files import decoders, installation
from fsseg.errors import FssegError, UnreadableError
from fsseg.machine_errors import machine_error
from fsseg.untrusted.text import shown

if TYPE_CHECKING:
    pass

T = TypeVar("T")


class Cached(NamedTuple):
    """Arrays, where they are kept on disk (None: nowhere), and whether they were made just now."""

    arrays: dict[str, npt.NDArray[Any]]
    cache: Path | None
    fresh: bool


_ORIENTATION, _LYING = 0x0112, 5  # EXIF tag, and the first of its values that swap height and width
_SAID = 200  # letters of a library's error


@contextmanager
def opened(path: Path | io.BytesIO, what: str) -> Iterator[PIL.Image.Image]:
    """A picture, decoded when it is asked for; whatever is wrong with the file, the error names it."""
    try:
        with PIL.Image.open(path, formats=decoders()) as picture:
            yield picture
    except FssegError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(f"{what} {path} is missing. Put it there, or take its name out of the list.") from error
    except Exception as error:  # PIL raises nearly anything on a broken file
        if isinstance(error, OSError) and (fault := machine_error(error)):  # the file is not to blame
            raise fault from error
        said = shown(str(error))[:_SAID] or type(error).__name__
        repair = installation(Path(str(path))) or "Replace the file."
        raise UnreadableError(f"{what} {path} cannot be decoded ({said}). {repair}") from error


def read_image(path: Path | io.BytesIO, upright: bool = False, on_white: bool = False) -> Image:
    """An image file as RGB.

    Args:
        path: of the file; or its bytes, in an object that errors print as its name.
        upright: turn it as its EXIF tag says; data sets' own codes don't.
        on_white: what is transparent becomes white, where it is otherwise what the file has below.

    Raises:
        FssegError: the file is missing, truncated or no image, or has 16 bits a channel.
    """
    with opened(path, "image") as picture:
        if picture.mode.startswith("I") or picture.mode == "F":
            raise FssegError(f"image {path} has {picture.mode} pixels; 8 bits a channel are needed. Convert it.")
        turned = PIL.ImageOps.exif_transpose(picture) if upright else picture
        if on_white:
            turned = opaque(turned)
        return np.asarray(turned if turned.mode == "RGB" else turned.convert("RGB"))


def opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """A picture on white, if any of it may be transparent."""
    if not picture.has_transparency_data:
        return picture
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))


def image_size(path: Path | io.BytesIO, upright: bool = False) -> tuple[int, int]:
    """``(height, width)`` of an image file, from its header alone.

    Args:
        path: of the file, or its bytes, see `read_image`.
        upright: as `read_image` turns it.

    Raises:
        FssegError: the file is missing or no image.
    """
    with opened(path, "image") as picture:
        turned = upright and picture.getexif().get(_ORIENTATION, 1) >= _LYING
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


def cached(
    kind: str,
    files: Sequence[Path],
    scan: Callable[[], dict[str, npt.NDArray[Any]]],
    shapes: Mapping[str, tuple[int, ...]],
    *options: object,
) -> Cached:
    """What a scan of files gives, read from the cache where no file changed since.

    Args:
        kind: begins the cache file's name.
        files: that the scan reads.
        scan: reads them.
        shapes: of the arrays, all of 32-bit integers; what a cache holds otherwise is not taken.
        options: what else decides the result.

    Returns:
        The arrays. A cache folder that cannot be written costs a new scan at each start, nothing else.
    """
    place = cache_folder() / f"{kind}-{fingerprint(files, *options)}.npz"
    try:
        # Opened here, since numpy leaves a file open that it fails to read.
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        if {n: (*a.shape, a.dtype) for n, a in arrays.items()} == {n: (*s, np.int32) for n, s in shapes.items()}:
            return Cached(arrays, place, fresh=False)
    except Exception:  # numpy raises nearly anything on a broken file; there may be none yet
        pass
    arrays = scan()
    return Cached(arrays, place if _store(place, arrays) else None, fresh=True)


def cache_folder() -> Path:
    """Where caches lie: ``fsseg`` in the user's cache folder (XDG_CACHE_HOME)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):  # a user of a container without a home
        place = Path(tempfile.gettempdir()) / f"fsseg-cache-{os.getuid()}"
        place.mkdir(mode=0o700, exist_ok=True)
        if place.stat().st_uid == os.getuid():  # not another one's, who could put files there
            return place
        base = tempfile.mkdtemp()
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
        except (FileNotFoundError, ValueError) as error:  # ValueError: of a name that no file can have
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
