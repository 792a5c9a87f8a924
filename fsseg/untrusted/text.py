"""Text of strangers as data: YAML and JSON in bounded time and memory, and what is wrong with it in one line.

A file that a user names on the command line is trusted as code is; all others are read by what stands here.
"""

import hashlib
import json
import math
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Any

import yaml

_NODES = 200_000  # values of a YAML text, each counted as often as it is referred to
_DEPTH = 60  # of nesting
_MUCH = 1 << 18  # letters of a YAML text; PyYAML is slow, and no such text is longer
_SAID = 100  # letters of PyYAML's error, which may quote the text
_MERGED = 10_000  # keys of a dict
_LONG = 160  # bytes of a file's name, with room for an ending and what stands around it
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE)  # of Windows
_ENCODED = re.compile(r"%(?=[0-9A-Fa-f]{2})")  # what a reader would decode
# Where a cell begins, also for a program that splits at semicolons, tabs or line ends; wide signs are Excel's too.
_BEGIN, _SIGNS = r"(?:^|(?<=[;\t\r\n]))", r"'*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"
_FORMULA, _QUOTED = re.compile(f"{_BEGIN}(?={_SIGNS})"), re.compile(f"{_BEGIN}'(?={_SIGNS})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE | re.ASCII)


class BrokenTextError(ValueError):
    """Text that is no YAML or JSON, or none that a person wrote; the message says why."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, of plain values, with a limit to what merge keys make: a few lines of them could take all memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in what is merged."""
        super().flatten_mapping(node)
        if len(node.value) > _MERGED:
            raise yaml.constructor.ConstructorError(None, None, "too much is merged (<<)", node.start_mark)


def load_yaml(text: str) -> Any:
    """What a YAML text holds: nothing but dicts, lists and plain values.

    Raises:
        BrokenTextError: it is no YAML, has tags that would build objects, or is nested or repeated beyond all measure.
    """
    if len(text) > _MUCH:
        raise BrokenTextError(f"{len(text):,} letters, of which {_MUCH:,} are the most")
    if _flow_depth(text) > _DEPTH:  # over which PyYAML takes a time that grows with its square
        raise BrokenTextError("nested too deeply")
    try:
        content = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
        raise BrokenTextError(where + " ".join(str(problem).split())[:_SAID]) from error
    except RecursionError as error:
        raise BrokenTextError("nested too deeply") from error
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError) as error:  # e.g. of a 13th month
        raise BrokenTextError(f"a value that is none ({' '.join(str(error).split()):.80})") from error
    _count(content, {}, 0)
    return content


def load_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        BrokenTextError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BrokenTextError("nested too deeply") from error
    except ValueError as error:
        raise BrokenTextError(" ".join(str(error).split())) from error


def leads_out(name: str) -> bool:
    """Whether a relative file name in a stranger's list leads out of the folder that it is to be in."""
    path = PurePosixPath(name.replace("\\", "/"))
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute() or "\x00" in name or ":" in next(iter(path.parts), "")


def file_name(name: str) -> str:
    """A name from a file as one part of a path, on any system: what none may have in it is percent-encoded.

    Names of letters, digits, spaces and most signs stay as they are, and two names never become one. Encoded are
    separators, signs that a system forbids or does not print, a leading dot, dash, tilde or space, a trailing dot or
    space, and names of devices. Of a name that is too long, a hash takes the place of the end.
    """
    return _without_meaning(_ENCODED.sub("%25", name))


def relative_path(name: str) -> str:
    """A name with slashes as a path that stays in its folder, see `file_name`."""
    return "/".join(file_name(part) for part in name.split("/"))


def is_relative_path(text: str) -> bool:
    """Whether a text is a path as `relative_path` makes them."""
    return all(part == _without_meaning(part) for part in text.split("/"))


def csv_cell(value: object) -> object:
    """A value for a cell of a CSV file: a text that a spreadsheet would take for a formula gets a quote in front.

    Numbers stay as they are, also as text. `csv_text` gives the text back.
    """
    return _FORMULA.sub("'", value) if isinstance(value, str) and not _NUMBER.fullmatch(value) else value


def csv_text(cell: str) -> str:
    """The text of a cell that `csv_cell` made."""
    return _QUOTED.sub("", cell)


def is_line(value: object) -> bool:
    """Whether a value is text that can be printed on one line of a terminal or a table."""
    return isinstance(value, str) and (value.isprintable() or all(map(_is_printed, value)))


def has_controls(text: str) -> bool:
    """Whether a text has line ends, other control characters, or bytes that are no UTF-8: no table holds these."""
    return any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)


def is_text(value: object) -> bool:
    """Whether a value is text that can be printed once its lines are put behind each other."""
    return isinstance(value, str) and is_line(" ".join(value.split()))


def is_count(value: object, least: int = 0) -> bool:
    """Whether a value is a whole number from ``least`` on that fits into 63 bits."""
    return type(value) is int and least <= value < 1 << 63


def is_number(value: object) -> bool:
    """Whether a value is a finite number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def shown(text: str) -> str:
    """A text on one line, with what a terminal would act on written out."""
    line = " ".join(text.split())
    return "".join(sign if _is_printed(sign) else ascii(sign)[1:-1] for sign in line)


def _without_meaning(text: str) -> str:
    """A file's name with all encoded that has a meaning to a system, or is forbidden there."""
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
    """Whether a sign may stand in the name of a file on any system."""
    return _is_printed(sign) and sign not in '/\\:*?"<>|'


def _is_printed(sign: str) -> bool:
    """Whether a terminal shows a sign: also a space of any width, such as macOS has in names of screenshots."""
    return sign.isprintable() or unicodedata.category(sign) == "Zs"


def _encoded(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "surrogatepass"))


def _flow_depth(text: str) -> int:
    """The most brackets that are open at a time."""
    depth = most = 0
    for sign in re.findall(r"[\[\]{}]", text):
        depth += 1 if sign in "[{" else -1
        most = max(most, depth)
    return most


def _count(value: Any, known: dict[int, int], depth: int) -> int:
    """Values below a value; aliases make many out of few."""
    if depth > _DEPTH:
        raise BrokenTextError("nested too deeply")
    if isinstance(value, str) and "\x00" in value:  # no name of a file, nor anything that a person writes
        raise BrokenTextError("a text with a zero byte in it")
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = _NODES  # of one that holds itself
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(part, known, depth + 1) for part in parts)
    if known[id(value)] > _NODES:
        raise BrokenTextError("aliases that make too much of it")
    return known[id(value)]
