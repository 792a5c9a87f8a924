"""Archives from a server or a folder: interrupted downloads resume, and checksums are verified before use."""

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.prepare.archives import Archive
from fsseg.prepare.extract import ROOM
from fsseg.progress import Progress

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without an answer
_TRIES = 5  # tries without new bytes before giving up
_PAUSE = 0.5  # seconds, doubled with every try without new bytes


class _BrokenError(Exception):
    """A transfer was interrupted; the next try may resume it."""


def fetch(archive: Archive, folder: Path, given: Path | None = None) -> Path:
    """Path of an archive with the right checksum, downloaded or found.

    Args:
        archive: archive to get.
        folder: folder for downloads; a complete file there is checked, an incomplete one is resumed.
        given: folder with the archive; nothing is downloaded then.

    Raises:
        FssegError: the archive is missing, cannot be reached or is damaged, or the disk is full. A partial download
            stays; a download with a wrong checksum is deleted.
    """
    if given is not None:
        path = given / archive.name
        if not path.is_file():
            raise FssegError(f"{path} is missing. Download it from {archive.url}, or leave --archives out.")
        _check(path, archive, f"Download it again from {archive.url}.")
        return path
    path = folder / archive.name
    with atomic.writing(folder, ROOM):
        folder.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        _check(path, archive, "Delete it and run the command again.")
    else:
        part = path.with_name(f"{path.name}.part")
        _download(archive, part)
        try:
            _check(part, archive, "It was deleted; run the command again.")
        except FssegError:
            part.unlink()
            raise
        with atomic.writing(folder, ROOM):
            part.replace(path)
    return path


def check_space(archives: Iterable[Archive], root: Path, unpacked: float, given: Path | None) -> None:
    """Refuse to start without enough disk space.

    Args:
        archives: archives to unpack.
        root: folder to write to; archives in ``root/archives`` are not downloaded.
        unpacked: gigabytes of the unpacked files.
        given: folder with the archives; nothing is downloaded then.

    Raises:
        FssegError: the disk has too little space.
    """
    missing = [a for a in archives if given is None and not (root / "archives" / a.name).is_file()]
    existing = next(path for path in (root, *root.resolve().parents) if path.exists())
    needed = sum(archive.gigabytes for archive in missing) + unpacked
    free = shutil.disk_usage(existing).free / 1e9
    if free < needed:
        raise FssegError(f"{root} needs about {needed:.1f} GB, its disk has {free:.1f} GB free. Choose another --root.")


def _download(archive: Archive, part: Path) -> None:
    tries, size, total = 0, _size(part), None
    while total is None or size < total:
        before = size
        try:
            total = _transfer(archive, part)
        except _BrokenError as error:
            reason = str(error)
        except urllib.error.URLError as error:
            raise FssegError(
                f"{archive.url} cannot be reached ({_reason(error)}). Try again later, or download {archive.name} "
                "otherwise and give its folder: --archives DIR."
            ) from error
        else:
            reason = "it ended early"
        size = _size(part)
        if size == before:
            tries += 1
            time.sleep(_PAUSE * 2**tries)
        else:
            tries = 0
        if tries >= _TRIES:
            raise FssegError(
                f"{archive.url} breaks off at {size / 1e9:.2f} GB ({reason}). Run the command again: it resumes there."
            )


def _transfer(archive: Archive, part: Path) -> int:
    """Append the missing bytes; returns the size of the complete file."""
    size = _size(part)
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()  # the error holds the connection of a response
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and size:
            return size  # the file is complete, or the checksum will differ
        raise
    except urllib.error.URLError:
        raise
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(_words(error)) from error
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        start = size if resumed else 0  # a server without ranges sends the complete file again
        length = response.headers.get("Content-Length") or ""
        total = start + (int(length) if length.isdecimal() else 0)
        with atomic.writing(part.parent, ROOM), part.open("ab" if resumed else "wb") as file, \
                Progress(f"downloading {archive.name}:", total, "GB") as step:  # fmt: skip
            step.to(start)
            _copy(response, file, step)
    return total if length.isdecimal() else _size(part)


def _copy(source: http.client.HTTPResponse, file: BinaryIO, step: Progress) -> None:
    while chunk := _read(source):
        file.write(chunk)
        step.add(len(chunk))


def _read(source: http.client.HTTPResponse) -> bytes:
    """Read from the server; its OSErrors become `_BrokenError`, to separate them from those of the disk."""
    try:
        return source.read1(_CHUNK)  # read1 returns the bytes that have arrived and does not wait for a full chunk
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(_words(error)) from error


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check(path: Path, archive: Archive, repair: str) -> None:
    digest = hashlib.md5(usedforsecurity=False) if archive.md5 else hashlib.sha256()
    with path.open("rb") as file, Progress(f"checking {archive.name}:", path.stat().st_size, "GB") as step:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            step.add(len(chunk))
    if digest.hexdigest() != archive.checksum:
        raise FssegError(
            f"{path} has the checksum {digest.hexdigest()}, {archive.checksum} is expected: it is damaged. {repair}"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: urllib.error.URLError) -> str:
    return f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else str(error.reason)
