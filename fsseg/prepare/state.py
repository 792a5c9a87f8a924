"""What of a tree is done: the archives that were unpacked whole and what they left, kept in a file beside them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.prepare.archives import Archive
from fsseg.prepare.extract import ROOM, write
from fsseg.untrusted.records import Natural, as_json, read_json
from fsseg.untrusted.text import leads_out, shown

_NAME = ".fsseg-prepared.json"
_LOCK = ".fsseg-prepare.lock"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unpacked:
    """The record of an archive: its checksum, and the number of files in each folder that it filled."""

    md5: str
    files: dict[str, Natural]


class PreparedArchives:
    """The archives unpacked below a folder, recorded in a file of it.

    Args:
        folder: that the file is in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / _NAME

    @property
    def begun(self) -> bool:
        """The tree is one of ours, whole or not."""
        return self.path.is_file()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Begin, or go on with, a tree; one process at a time.

        Raises:
            FssegError: another one is at it, or the folder cannot be written.
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
        """Whether this very archive was unpacked whole, and nothing of it was lost since."""
        entry = self._read().get(archive.name)
        return entry is not None and entry.md5 == archive.md5 and not self.lost(archive)

    def lost(self, archive: Archive) -> str:
        """In words, what is gone of an archive that was unpacked; empty if nothing."""
        entry = self._read().get(archive.name)
        for part, count in entry.files.items() if entry else ():
            if leads_out(part):
                return f"{self.path} is broken: {shown(part)}"
            found = _count(self.folder / part)
            if found < count:
                return f"{self.folder / part} has {found:,} of {count:,} files"
        return ""

    def note_lost(self, archive: Archive) -> None:
        """Log what is gone of an archive that was unpacked."""
        if lost := self.lost(archive):
            _log.warning(lost)

    def add(self, archive: Archive, parts: Sequence[str]) -> None:
        """It was unpacked whole.

        Args:
            archive: which.
            parts: folders that it filled.
        """
        files = {part: _count(self.folder / part) for part in parts}
        self._write({**self._read(), archive.name: Unpacked(archive.md5, files)})

    def _write(self, content: dict[str, Unpacked]) -> None:
        write(self.path, as_json(content).encode(), member=False)

    def _read(self) -> dict[str, Unpacked]:
        try:
            return read_json(self.path, dict[str, Unpacked])
        except (OSError, ValueError):
            return {}


def _count(folder: Path) -> int:
    """Files of a folder, hidden ones left out."""
    return sum(1 for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else 0
