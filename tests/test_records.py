"""Records: what a file holds is held against a dataclass, without conversions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fsseg.untrusted.records import Natural, Positive, as_json, convert, read_json
from fsseg.untrusted.text import BrokenTextError


@dataclass(frozen=True)
class Inner:
    words: str


@dataclass(frozen=True)
class Example:
    step: Natural
    way: Positive = 1
    names: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    inner: Inner | None = None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = Example(4, 2, ("a", "ä"), {"x": 0.1}, Inner("b c"))
    (tmp_path / "x.json").write_text(as_json(record), encoding="utf-8")
    assert read_json(tmp_path / "x.json", Example) == record
    assert (tmp_path / "x.json").read_text().startswith('{\n  "step": 4,\n')


def test_nan_is_null() -> None:
    assert json.loads(as_json({"a": [float("nan"), 1.5], "b": Inner("x")})) == {"a": [None, 1.5], "b": {"words": "x"}}


def test_other_keys_are_left_out() -> None:
    assert convert({"step": 1, "later": object}, Example) == Example(1)


@pytest.mark.parametrize(
    "content",
    [
        {}, [], None, "step", {"step": "1"}, {"step": 1.0}, {"step": True}, {"step": -1}, {"step": 10**30},
        {"step": 1, "way": 0}, {"step": 1, "names": "ab"}, {"step": 1, "names": [1]}, {"step": 1, "values": {"a": "1"}},
        {"step": 1, "inner": {}}, {"step": 1, "names": ["\x1b[2J"]}, {"step": 1, "names": ["a\nb"]},
        {"step": 1, "values": {"\x07": 1}}, {"step": 1, "inner": {"words": "\u2028"}},
    ],
)  # fmt: skip
def test_other_content_is_refused(content: object) -> None:
    with pytest.raises(BrokenTextError):
        convert(content, Example)


def test_text_of_a_free_field_may_be_anything() -> None:
    assert convert({"step": 1, "names": ["a\nb"]}, Example, free=("names",)).names == ("a\nb",)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"step": 1}}', b'{"step": NaN}'])
def test_a_broken_file_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(BrokenTextError):
        read_json(tmp_path / "x.json", Example)
