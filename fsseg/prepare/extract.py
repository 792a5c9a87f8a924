"""Members of an untrusted archive: paths out of the target, links and oversized archives are refused."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from fsseg import atomic
from fsseg.download import ROOM
from fsseg.errors import FssegError
from fsseg.progress import Progress

_LARGEST = 2 << 30  # bytes of a member; COCO's annotations have half a gigabyte
_ALL = 40 << 30  # bytes of all members; COCO's train images have 19 gigabytes
_MANY = 1_000_000  # number of members; COCO's train images have 118,288


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted members, in the archive's order.

    Args:
        path: a tar file, compressed or not, or a zip file.
        wanted: whether a member with this name is wanted.

    Raises:
        FssegError: the file is no archive or is damaged, a wanted member is a link, a member's path leads out of the
            target, or the archive is too large.
    """
    try:
        if zipfile.is_zipfile(path):
            yield from _of_zip(path, wanted)
        else:
            yield from _of_tar(path, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        raise FssegError(f"{path} is no archive, or is damaged. Download it again.") from error


def _of_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as raw, Progress(f"unpacking {path.name}:", path.stat().st_size, "GB") as step, \
            tarfile.open(fileobj=raw, mode="r:*") as archive:  # fmt: skip
        check = _Sizes(path)
        for member in archive:
            step.to(raw.tell())
            _check_path(path, member.name)
            check(member.name, member.size)  # also of unwanted members, which are decompressed too
            if not member.isdir() and wanted(member.name):
                if not member.isfile():
                    raise FssegError(f"{path}: {member.name} is a link or no file at all; refused.")
                file = archive.extractfile(member)
                yield member.name, file.read() if file else b""


def _of_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        listed = archive.infolist()
        with Progress(f"unpacking {path.name}:", len(listed), "files") as step:
            check = _Sizes(path)
            for member in listed:
                step.add(1)
                _check_path(path, member.filename)
                check(member.filename, member.file_size)
                if not member.is_dir() and wanted(member.filename):
                    mode = member.external_attr >> 16
                    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                        raise FssegError(f"{path}: {member.filename} is a link or no file at all; refused.")
                    yield member.filename, archive.read(member)


def _check_path(path: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    drive = ":" in next(iter(parts.parts), "")
    if parts.is_absolute() or drive or ".." in parts.parts or "\x00" in name:
        raise FssegError(f"{path}: {name!r} leads out of the folder; refused. It is not the official archive.")


class _Sizes:
    """Refuses an archive that unpacks to much more than the official ones."""

    def __init__(self, path: Path) -> None:
        self.path, self.all, self.members = path, 0, 0

    def __call__(self, name: str, size: int) -> None:
        """Add a member to the totals."""
        self.all, self.members = self.all + size, self.members + 1
        for found, most, what in ((size, _LARGEST, name), (self.all, _ALL, "it")):
            if found > most:
                raise FssegError(
                    f"{self.path}: {what} unpacks to {found / 1e9:.1f} GB; refused. It is not the official archive."
                )
        if self.members > _MANY:
            raise FssegError(f"{self.path} has more than {_MANY:,} files; refused. It is not the official archive.")


def write(path: Path, content: bytes, member: bool = True) -> None:
    """Write a file atomically.

    Args:
        path: path of the file.
        content: content of the file.
        member: the file is a member of an archive: an existing file stays, unless it is empty (after a power cut).
            Otherwise an existing file is replaced if its content differs.

    Raises:
        FssegError: the file cannot be written.
    """
    if path.exists() and (path.stat().st_size > 0 if member else path.read_bytes() == content):
        return
    atomic.make_folder(path.parent, ROOM)
    atomic.write_bytes(path, content, ROOM, durable=False)
