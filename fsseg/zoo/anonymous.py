"""Texts and configurations without the paths of a machine."""

import re
from pathlib import PureWindowsPath
from typing import Any

# An absolute path of Linux, macOS or Windows, or one below a home folder, inside a text; it ends before a quote, a
# comma or a blank. A text that is a path as a whole may have blanks.
_PATH = re.compile(r"""(?<![\w.:/\\~])(?:~[\w.-]*|/|[A-Za-z]:)?[/\\][^\s"'<>|,;()\[\]]+""")
_WHOLE = re.compile(r"(?:~|/|\\\\|[A-Za-z]:[/\\])")
_HOMES = ("home", "users")
_FOLDERS = {"root", "cache_folder", "default_root_dir", "dirpath", "save_dir", "logger"}  # options of one machine


def without_paths(text: str, folders: tuple[str, ...] = ()) -> str:
    """A text in which each absolute path is replaced by its last part.

    Args:
        text: the text.
        folders: known folders of this machine, also with blanks in their names; each is taken out.
    """
    text = text.replace("file://", "")
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(f"{folder}/", "").replace(folder, last_part(folder))
    if _WHOLE.match(text):
        return last_part(text)
    return _PATH.sub(lambda found: last_part(found[0]), text)


def last_part(path: str) -> str:
    """Last part of a path of any system; ``...`` for a home folder, whose name is that of a person."""
    parts = PureWindowsPath(path.rstrip("/\\")).parts
    hidden = len(parts) < 2 or parts[-2].lower() in _HOMES
    return "..." if hidden else parts[-1]


def without_machine(value: Any, key: str = "") -> Any:
    """A configuration without the paths of a machine: folders become null, files become their names.

    Args:
        value: a part of the configuration.
        key: option of the part.
    """
    if key in _FOLDERS:
        return None
    if isinstance(value, dict):
        return {name: without_machine(part, str(name)) for name, part in value.items()}
    if isinstance(value, list):
        return [without_machine(part, key) for part in value]
    return without_paths(value) if isinstance(value, str) else value


def absolute_paths(value: Any) -> set[str]:
    """Absolute paths among the values of a configuration."""
    if isinstance(value, dict):
        return {path for part in value.values() for path in absolute_paths(part)}
    if isinstance(value, list):
        return {path for part in value for path in absolute_paths(part)}
    return {value} if isinstance(value, str) and len(value) > 1 and _WHOLE.match(value) else set()
