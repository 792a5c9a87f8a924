"""The record of unpacked archives, in a file beside their folders."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fsseg import atomic
from fsseg.download import ROOM
from fsseg.errors import FssegError
from fsseg.prepare.archives import Archive
from fsseg.prepare.extract import write
from fsseg.untrusted.records import Natural, as_json, read_json
from fsseg.untrusted.text import leads_out, shown

_NAME = ".fsseg-prepared.json"
_LOCK = ".fsseg-prepare.lock"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unpacked:
    """The record of an archive: its checksum, and the number of files in each folder that it unpacked to."""

    md5: str
    files: dict[str, Natural]


class PreparedArchives:
    """The archives that were unpacked below a folder.

    Args:
        folder: folder of the record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / _NAME

    @property
    def begun(self) -> bool:
        """Whether fsseg made the folders, completely or in part."""
        return self.path.is_file()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Start or resume; one process at a time.

        Raises:
            FssegError: another process holds the lock, or the folder cannot be written.
        """
        with atomic.writing(self.folder, ROOM):
            self.folder.mkdir(parents=True, exist_ok=True)
            held = FileLock(self.folder / _LOCK, timeout=0)
            try:
                held.acquire()
            except Timeout as error:
                raise FssegError(
                    f"{self.folder} is being prepared by another `fsseg data prepare`. Wait for it, or end it."
                ) from error
        try:
            if not self.begun:
                self._write({})
            yield
        finally:
            held.release()

    def has(self, archive: Archive) -> bool:
        """Whether the archive with this checksum was unpacked completely, and no file was lost since."""
        entry = self._read().get(archive.name)
        return entry is not None and entry.md5 == archive.checksum and not self.lost(archive)

    def lost(self, archive: Archive) -> str:
        """Files of an unpacked archive that were lost, in words; empty if none."""
        entry = self._read().get(archive.name)
        for part, count in entry.files.items() if entry else ():
            if leads_out(part):
                return f"{self.path} is broken: {shown(part)}"
            found = _count(self.folder / part)
            if found < count:
                return f"{self.folder / part} has {found:,} of {count:,} files"
        return ""

    def note_lost(self, archive: Archive) -> None:
        """Log a warning about lost files of an unpacked archive."""
        if lost := self.lost(archive):
            _log.warning(lost)

    def add(self, archive: Archive, parts: Sequence[str]) -> None:
        """Record that an archive was unpacked completely.

        Args:
            archive: the archive.
            parts: folders that it unpacked to.
        """
        files = {part: _count(self.folder / part) for part in parts}
        self._write({**self._read(), archive.name: Unpacked(archive.checksum, files)})

    def _write(self, content: dict[str, Unpacked]) -> None:
        write(self.path, as_json(content).encode(), member=False)

    def _read(self) -> dict[str, Unpacked]:
        try:
            return read_json(self.path, dict[str, Unpacked])
        except (OSError, ValueError):
            return {}


def _count(folder: Path) -> int:
    """Number of files in a folder, without hidden ones."""
    return sum(1 for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else 0
