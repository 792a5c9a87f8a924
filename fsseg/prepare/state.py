"""What of a tree is done: the archives that were unpacked whole, kept in a file beside them."""

import json
from pathlib import Path

from fsseg.prepare.archives import Archive
from fsseg.prepare.extract import write

_NAME = ".fsseg-prepared.json"


class State:
    """The archives unpacked below a folder.

    Args:
        folder: that the file is in.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME

    def has(self, archive: Archive) -> bool:
        """Whether this very archive was unpacked whole."""
        return self._read().get(archive.name) == archive.md5

    def add(self, archive: Archive) -> None:
        """It was."""
        content = {**self._read(), archive.name: archive.md5}
        write(self.path, (json.dumps(content, indent=2) + "\n").encode(), member=False)

    def _read(self) -> dict[str, str]:
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
