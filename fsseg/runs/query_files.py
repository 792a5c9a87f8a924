"""Records the query file of each result of `fsseg predict`, so that only changed files are segmented again."""

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
    """State of a query's file: size and hash of its content, and the file system's times and inode, see `_changed`."""

    size: int
    sha256: str
    changed: list[int]


class QueryFiles:
    """A file with one line of JSON per query: its name and its `QueryState`.

    If the file system's times and inode are the recorded ones, the query is not read. Otherwise size and hash decide: a
    copied data set counts as done, and an image that was replaced by an older file (``mv``, ``cp -p``) does not.

    Args:
        path: Path of the file; a partial last line, left by a killed run, is ignored.
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
            OSError: The disk is full.
        """
        entry = {"name": name, **state._asdict()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._known[name] = entry

    def is_same(self, name: str, path: Path) -> bool:
        """Whether a query's file has the recorded content."""
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
        UnreadableError: The file cannot be read.
    """
    try:
        state = path.stat()  # before hashing: a file that changes meanwhile then has another state
        return QueryState(state.st_size, _hash(path), _changed(state))
    except OSError as error:
        raise UnreadableError(f"image {path} cannot be read: {error.strerror}.") from error


def _changed(state: os.stat_result) -> list[int]:
    """Numbers that change at each write, rename and replacement, even if the modification time is preserved."""
    return [state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
