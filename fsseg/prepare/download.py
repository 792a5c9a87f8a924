"""Archives from a server or a folder: interrupted downloads resume, and checksums are verified before use."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from fsseg import atomic
from fsseg.checksum import file_digest
from fsseg.download import ROOM, Remote, download
from fsseg.errors import FssegError
from fsseg.prepare.archives import Archive


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
        download(Remote(archive.name, archive.url, _otherwise(archive)), part)
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


def _otherwise(archive: Archive) -> str:
    return f"Try again later, or download {archive.name} otherwise and give its folder: --archives DIR."


def _check(path: Path, archive: Archive, repair: str) -> None:
    found = file_digest(path, "md5" if archive.md5 else "sha256", archive.name)
    if found != archive.checksum:
        raise FssegError(f"{path} has the checksum {found}, {archive.checksum} is expected: it is damaged. {repair}")
