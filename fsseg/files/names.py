"""Find files by names of lists and annotation files, which programs and systems write in different ways."""

import os
import unicodedata
from pathlib import Path, PurePosixPath


def plain(name: str) -> str:
    """A name with composed letters (Unicode's form NFC) and with U+0020 for a space of any kind.

    macOS decomposes letters, and puts the narrow space U+202F into names of screenshots. Programs that copy files or
    write lists change both.
    """
    if name.isascii():
        return name
    return "".join(" " if unicodedata.category(c) == "Zs" else c for c in unicodedata.normalize("NFC", name))


def within(name: str, folder: Path) -> str:
    """An absolute file name inside a folder as a relative name; any other name as it is."""
    path = PurePosixPath(name)
    for base in (Path(os.path.abspath(folder)), folder.resolve()):
        if path.is_absolute() and ".." not in path.parts and path.is_relative_to(base):
            return str(path.relative_to(base))
    return name


class FileNames:
    """The files of a folder and its subfolders, found by their names or by other forms of their names.

    Args:
        folder: path; it may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listings: dict[Path, tuple[set[str], dict[str, str]]] = {}

    def find(self, name: str) -> str | None:
        """The relative path of a file, or None.

        If no file has the name itself, the function tries slashes for the backslashes of Windows, the name without
        the folders that end the path of this folder (``images/a.png`` in ``images``), and the `plain` name. A plain
        name that belongs to two files of one folder finds neither.
        """
        if name in self._listing(self.folder)[0] or (self.folder / name).is_file():
            return name
        parts, above = PurePosixPath(name.replace("\\", "/")).parts, self.folder.parts
        for start in range(len(parts)):
            if start == 0 or above[-start:] == parts[:start]:
                path = self._walk(parts[start:])
                if path is not None:
                    return path.relative_to(self.folder).as_posix()
        return None

    def _walk(self, parts: tuple[str, ...]) -> Path | None:
        path = self.folder
        for part in parts:
            names, forms = self._listing(path)
            found = part if part in names else forms.get(plain(part), "")
            if not found:
                return None
            path /= found
        return path if path.is_file() else None

    def _listing(self, folder: Path) -> tuple[set[str], dict[str, str]]:
        """Names in a folder, and the name of each plain name ("" if two names have it)."""
        if folder not in self._listings:
            names = set(os.listdir(folder)) if folder.is_dir() else set()
            forms: dict[str, str] = {}
            for name in names:
                forms[plain(name)] = "" if plain(name) in forms else name
            self._listings[folder] = names, forms
        return self._listings[folder]
