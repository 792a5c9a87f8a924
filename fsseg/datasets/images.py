"""Read images from files, and cache the index of a data set; every error names the file."""

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
    """Arrays, their cache file (None: not cached), and whether they were computed now, not read from the cache."""

    arrays: dict[str, npt.NDArray[Any]]
    cache: Path | None
    fresh: bool


_ORIENTATION, _SWAPPED = 0x0112, 5  # EXIF orientation tag (EXIF 2.3, 4.6.4); values from 5 on swap height and width
_QUOTE = 200  # characters of a library's error message


@contextmanager
def opened(path: Path | io.BytesIO, what: str) -> Iterator[PIL.Image.Image]:
    """Context with an opened image file, which Pillow decodes on first use; errors call the file ``what path``.

    Raises:
        UnreadableError: the file is missing or broken, or its format is not supported here.
    """
    try:
        with PIL.Image.open(path, formats=decoders()) as picture:
            yield picture
    except FssegError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(f"{what} {path} is missing. Put it there, or take its name out of the list.") from error
    except Exception as error:  # PIL raises nearly anything on a broken file
        if isinstance(error, OSError) and (fault := machine_error(error)):
            raise fault from error
        reason = shown(str(error))[:_QUOTE] or type(error).__name__
        fix = installation(Path(str(path))) or "Replace the file."
        raise UnreadableError(f"{what} {path} cannot be decoded ({reason}). {fix}") from error


def read_image(path: Path | io.BytesIO, upright: bool = False, on_white: bool = False) -> Image:
    """Read an image file as RGB.

    Args:
        path: of the file; or its bytes, as an object whose ``str`` is a name for errors.
        upright: rotate the image by its EXIF tag; the official codes do not.
        on_white: transparent pixels become white; otherwise they keep the colour stored in the file.

    Raises:
        FssegError: the file is missing, truncated or no image, or has more than 8 bits per channel.
    """
    with opened(path, "image") as picture:
        if picture.mode.startswith("I") or picture.mode == "F":
            raise FssegError(f"image {path} has {picture.mode} pixels; 8 bits a channel are needed. Convert it.")
        turned = PIL.ImageOps.exif_transpose(picture) if upright else picture
        if on_white:
            turned = opaque(turned)
        return np.asarray(turned if turned.mode == "RGB" else turned.convert("RGB"))


def opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """An image on white ground, if it has transparency; otherwise the image itself."""
    if not picture.has_transparency_data:
        return picture
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))


def image_size(path: Path | io.BytesIO, upright: bool = False) -> tuple[int, int]:
    """``(height, width)`` of an image file, read from its header.

    Args:
        path: of the file, or its bytes, see `read_image`.
        upright: the size after rotation by the EXIF tag, see `read_image`.

    Raises:
        FssegError: the file is missing or no image.
    """
    with opened(path, "image") as picture:
        turned = upright and picture.getexif().get(_ORIENTATION, 1) >= _SWAPPED
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


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
