"""Untrusted text as data: YAML and JSON in bounded time and memory, file names, CSV cells; errors are one line.

A file that a user names on the command line is trusted like code. All other files are read by these functions.
"""

import codecs
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import yaml

# Limits far above the YAML files of fsseg and of its users.
_NODES = 200_000  # values of a YAML text, each counted once per reference
_DEPTH = 60  # of nesting
_MUCH = 1 << 18  # characters of a YAML text: PyYAML is slow
_QUOTE = 100  # characters of PyYAML's error message, which may quote the text
_MERGED = 10_000  # keys of a dict after a merge
_LONG = 160  # bytes of a file name; file systems allow 255, the rest is for an ending and a prefix
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE)  # devices of Windows
_ENCODED = re.compile(r"%(?=[0-9A-Fa-f]{2})")  # looks like a percent-encoded byte
# A cell may also begin after a semicolon, a tab or a line end; Excel reads full-width signs as well.
_BEGIN, _SIGNS = r"(?:^|(?<=[;\t\r\n]))", r"'*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"
_FORMULA, _QUOTED = re.compile(f"{_BEGIN}(?={_SIGNS})"), re.compile(f"{_BEGIN}'(?={_SIGNS})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE | re.ASCII)


class BrokenTextError(ValueError):
    """Text that is no YAML or JSON, or exceeds a limit; the message says why."""


class _Loader(yaml.SafeLoader):
    """PyYAML's SafeLoader with a limit for merge keys (<<): a few lines of nested merges could fill the memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Expand merge keys, up to the limit."""
        super().flatten_mapping(node)
        if len(node.value) > _MERGED:
            raise yaml.constructor.ConstructorError(None, None, "too much is merged (<<)", node.start_mark)


def load_yaml(text: str) -> Any:
    """Load a YAML text as dicts, lists and plain values.

    Raises:
        BrokenTextError: the text is no YAML, has tags that would build objects, or exceeds a limit.
    """
    if len(text) > _MUCH:
        raise BrokenTextError(f"{len(text):,} characters; at most {_MUCH:,} are allowed")
    if _flow_depth(text) > _DEPTH:  # PyYAML's time grows with the square of this depth
        raise BrokenTextError("nested too deeply")
    try:
        content = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
        raise BrokenTextError(where + " ".join(str(problem).split())[:_QUOTE]) from error
    except RecursionError as error:
        raise BrokenTextError("nested too deeply") from error
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError) as error:  # e.g. a date in month 13
        raise BrokenTextError(f"an invalid value ({' '.join(str(error).split()):.80})") from error
    _count(content, {}, 0)
    return content


def decoded(content: bytes, errors: str = "strict") -> str:
    """Text of a file in UTF-8, or in UTF-16 with a byte order mark, as Windows' programs write it.

    Args:
        content: of the file.
        errors: what `bytes.decode` does with other bytes.

    Raises:
        UnicodeDecodeError: the file is no such text.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors)


def load_json(text: str, changed: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Load a JSON text.

    Args:
        text: the text.
        changed: replaces each object as soon as it is read, inner ones first.

    Raises:
        BrokenTextError: the text is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, object_hook=changed)
    except RecursionError as error:
        raise BrokenTextError("nested too deeply") from error
    except ValueError as error:
        raise BrokenTextError(" ".join(str(error).split())) from error


def leads_out(name: str) -> bool:
    """Whether a file name in an untrusted list leads out of the folder that it belongs to."""
    path = PurePosixPath(name.replace("\\", "/"))
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute() or "\x00" in name or ":" in next(iter(path.parts), "")


def file_name(name: str) -> str:
    """An untrusted name as one part of a path that is valid on any system; the rest is percent-encoded.

    Letters, digits, spaces and most other characters stay. The function encodes separators, characters that a system
    forbids or does not print, a leading dot, dash, tilde or space, a trailing dot or space, and names of devices. A
    hash replaces the end of a name that is too long. Two different names never become one.
    """
    return _without_meaning(_ENCODED.sub("%25", name))


def relative_path(name: str) -> str:
    """An untrusted name with slashes as a path that stays in its folder, see `file_name`."""
    return "/".join(file_name(part) for part in name.split("/"))


def is_relative_path(text: str) -> bool:
    """Whether a text can be a result of `relative_path`."""
    return all(part == _without_meaning(part) for part in text.split("/"))


def csv_cell(value: object) -> object:
    """A value for a cell of a CSV file: a text that a spreadsheet would run as a formula gets a leading quote.

    Numbers, also numbers as text, stay as they are. `csv_text` restores the text.
    """
    return _FORMULA.sub("'", value) if isinstance(value, str) and not _NUMBER.fullmatch(value) else value


def csv_text(cell: str) -> str:
    """The text of a cell that `csv_cell` made."""
    return _QUOTED.sub("", cell)


def is_line(value: object) -> bool:
    """Whether a value is a text that fits on one line of a terminal or a table."""
    return isinstance(value, str) and (value.isprintable() or all(map(_is_printed, value)))


def has_controls(text: str) -> bool:
    """Whether a text has line ends, other control characters or bytes that are no UTF-8; tables cannot hold these."""
    return any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)


def is_text(value: object) -> bool:
    """Whether a value is a text that can be printed once its lines are joined."""
    return isinstance(value, str) and is_line(" ".join(value.split()))


def is_count(value: object, least: int = 0) -> bool:
    """Whether a value is an integer of at least ``least`` that fits into 63 bits."""
    return type(value) is int and least <= value < 1 << 63


def is_number(value: object) -> bool:
    """Whether a value is a finite number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def shown(text: str) -> str:
    """A text on one line; control characters of the terminal are escaped."""
    line = " ".join(text.split())
    return "".join(sign if _is_printed(sign) else ascii(sign)[1:-1] for sign in line)


def _without_meaning(text: str) -> str:
    """A file name whose characters with a meaning for a system, or forbidden by one, are percent-encoded."""
    text = "".join(sign if _is_plain(sign) else _encoded(sign) for sign in text) or "%empty"
    if text[0] in ".-~ " or _DEVICE.match(text):
        text = _encoded(text[0]) + text[1:]
    if text[-1] in ". ":
        text = text[:-1] + _encoded(text[-1])
    if len(text.encode()) > _LONG:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        text = f"{text.encode()[: _LONG - len(digest) - 1].decode(errors='ignore')}%{digest}"
    return text


def _is_plain(sign: str) -> bool:
    """Whether a character is allowed in a file name on any system."""
    return _is_printed(sign) and sign not in '/\\:*?"<>|'


def _is_printed(sign: str) -> bool:
    """Whether a terminal shows a character; spaces of any width count (macOS puts one into names of screenshots)."""
    return sign.isprintable() or unicodedata.category(sign) == "Zs"


def _encoded(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "surrogatepass"))


def _flow_depth(text: str) -> int:
    """The largest number of brackets that are open at one place."""
    depth = most = 0
    for sign in re.findall(r"[\[\]{}]", text):
        depth += 1 if sign in "[{" else -1
        most = max(most, depth)
    return most


def _count(value: Any, known: dict[int, int], depth: int) -> int:
    """Number of values below a value, counted once per reference (YAML aliases multiply values); refuse too many."""
    if depth > _DEPTH:
        raise BrokenTextError("nested too deeply")
    if isinstance(value, str) and "\x00" in value:  # no file name can hold a zero byte
        raise BrokenTextError("a text with a zero byte in it")
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = _NODES  # for a value that contains itself
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(part, known, depth + 1) for part in parts)
    if known[id(value)] > _NODES:
        raise BrokenTextError("aliases that repeat too many values")
    return known[id(value)]
