"""Records: one type for each file that fsseg writes and reads again; broken files and foreign files are refused.

A record is a dataclass. Its annotations are the schema: msgspec checks plain values against them, without conversions.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from math import isnan
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from fsseg.untrusted.text import BrokenTextError, is_line, load_json

T = TypeVar("T")
_LARGEST = (1 << 63) - 1
Natural = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]


def convert(content: Any, kind: type[T], free: Collection[str] = ()) -> T:
    """A record from plain values; unknown keys are left out.

    Args:
        content: plain values, as JSON or YAML hold them.
        kind: dataclass of the record.
        free: keys whose text may hold anything. All other text must be printable on one line.

    Raises:
        BrokenTextError: a field is missing, has another type, or its text has control characters.
    """
    try:
        record = msgspec.convert(content, kind, strict=True)
        checked = {name: value for name, value in plain(record).items() if name not in free}
        if not all(map(is_line, _texts(checked))):
            raise BrokenTextError("text with control characters")
    except (msgspec.ValidationError, RecursionError) as error:
        raise BrokenTextError(" ".join(str(error).split())) from error
    return record


def read_json(path: Path, kind: type[T], free: Collection[str] = ()) -> T:
    """Read a record from a JSON file, see `convert`.

    Raises:
        OSError: the file cannot be read.
        BrokenTextError: the file holds no such record; a ValueError.
    """
    try:
        return convert(load_json(path.read_text(encoding="utf-8")), kind, free)
    except UnicodeDecodeError as error:
        raise BrokenTextError("no UTF-8") from error


def as_json(content: Any) -> str:
    """A record, or plain values, as indented JSON; NaN, which JSON lacks, becomes null."""
    return json.dumps(plain(content), indent=2) + "\n"


def plain(value: Any) -> Any:
    """The value with dicts instead of dataclasses and NamedTuples, and None instead of NaN."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict) or hasattr(value, "_asdict"):  # a NamedTuple
        items = value if isinstance(value, dict) else value._asdict()
        return {key: plain(item) for key, item in items.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value


def _texts(value: Any) -> Iterator[str]:
    """All texts below a value, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
