"""What of a tree is done: the archives that were unpacked whole and what they left, kept in a file beside them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fsseg.errors import FssegError
from fsseg.prepare.archives import Archive
from fsseg.prepare.extract import write
from fsseg.prepare.progress import disk
from fsseg.untrusted.text import is_count, leads_out, load_json, shown

_NAME = ".fsseg-prepared.json"
_LOCK = ".fsseg-prepare.lock"


class State:
    """The archives unpacked below a folder.

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
        with disk(self.folder):
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
        return self._entry(archive).get("md5") == archive.md5 and not self.lost(archive)

    def lost(self, archive: Archive) -> str:
        """In words, what is gone of an archive that was unpacked; empty if nothing."""
        files = self._entry(archive).get("files", {})
        for part, count in files.items() if isinstance(files, dict) else ():
            if leads_out(part) or not is_count(count):
                return f"{self.path} is broken: {shown(part)}"
            found = _count(self.folder / part)
            if found < count:
                return f"{self.folder / part} has {found:,} of {count:,} files"
        return ""

    def add(self, archive: Archive, parts: Sequence[str]) -> None:
        """It was unpacked whole.

        Args:
            archive: which.
            parts: folders that it filled.
        """
        files = {part: _count(self.folder / part) for part in parts}
        self._write({**self._read(), archive.name: {"md5": archive.md5, "files": files}})

    def _write(self, content: dict[str, Any]) -> None:
        write(self.path, (json.dumps(content, indent=2) + "\n").encode(), member=False)

    def _entry(self, archive: Archive) -> dict[str, Any]:
        entry = self._read().get(archive.name)
        return entry if isinstance(entry, dict) else {}

    def _read(self) -> dict[str, Any]:
        try:
            content = load_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _count(folder: Path) -> int:
    """Files of a folder, hidden ones left out."""
    return sum(1 for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else 0
