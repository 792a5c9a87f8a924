"""Which file each result of `fsseg predict` was made from: the same content is done, whatever its time or name says."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from fsseg import atomic
from fsseg.errors import UnreadableError
from fsseg.untrusted.text import BrokenTextError, load_json

QUERIES = "queries.jsonl"  # in the folder of results


class QueryState(NamedTuple):
    """The file of a query: size and hash of its content, and when the file system last changed it."""

    size: int
    sha256: str
    changed: list[int]


class QueryFiles:
    """A file with a line of JSON per query: name, size, hash of its content, and the file system's state of it.

    As long as that state (times of content and of inode, inode) is the recorded one, nothing is read; otherwise size
    and hash decide, so that a copied data set is done, and a photo that an older one replaced (``mv``, ``cp -p``) is
    not.

    Args:
        path: of the file; a line that a kill cut off is passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, dict[str, Any]] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            try:
                entry = load_json(line)
            except BrokenTextError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                self._known[entry["name"]] = entry
        if text and not text.endswith("\n"):
            self._rewrite()

    def add(self, name: str, state: QueryState) -> None:
        """Record the file of a query.

        Raises:
            OSError: the disk is full.
        """
        entry = {"name": name, **state._asdict()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._known[name] = entry

    def is_same(self, name: str, path: Path) -> bool:
        """Whether a query's file is the recorded one."""
        known = self._known.get(name, {})
        state = path.stat()
        if known.get("size") != state.st_size:
            return False
        return known.get("changed") == _changed(state) or known.get("sha256") == _hash(path)

    def _rewrite(self) -> None:
        atomic.write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in self._known.values()))


def state_of(path: Path) -> QueryState:
    """The present state of a query's file.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        state = path.stat()  # first: a file that changes while it is hashed has another one afterwards
        return QueryState(state.st_size, _hash(path), _changed(state))
    except OSError as error:
        raise UnreadableError(f"image {path} cannot be read: {error.strerror}.") from error


def _changed(state: os.stat_result) -> list[int]:
    """Other numbers after each write, rename and replacement, even one that keeps the time of the content."""
    return [state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
