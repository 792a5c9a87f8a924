"""Text of strangers as data: YAML and JSON in bounded time and memory, and what is wrong with it in one line.

A file that a user names on the command line is trusted as code is; all others are read by what stands here.
"""

import json
import math
import re
from pathlib import PurePosixPath
from typing import Any

import yaml

_NODES = 200_000  # values of a YAML text, each counted as often as it is referred to
_DEPTH = 60  # of nesting
_MUCH = 1 << 18  # letters of a YAML text; PyYAML is slow, and no such text is longer
_SAID = 100  # letters of PyYAML's error, which may quote the text
_MERGED = 10_000  # keys of a dict


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


def is_line(value: object) -> bool:
    """Whether a value is text that can be printed on one line of a terminal or a table."""
    return isinstance(value, str) and (value.isprintable() or not value)


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
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


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
