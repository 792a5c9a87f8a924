"""Private words stay out of the package and its pages; CONTRIBUTING.md names the field's words."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [
    *(path for ending in ("py", "html", "js") for path in (ROOT / "fsseg").rglob(f"*.{ending}")),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
PRIVATE = re.compile(
    r"\b(mend(s|ed|ing)?|strangers?|affairs?|lessons?|taught|teach(es|ing)?|told|go(es)? on from)\b", re.IGNORECASE
)


def private_words(text: str) -> list[tuple[int, str]]:
    """Line numbers and words of a text."""
    return [(text.count("\n", 0, found.start()) + 1, found[0]) for found in PRIVATE.finditer(text)]


def test_private_words_are_found_by_line() -> None:
    text = "Mends a file.\nThe recommended step; a totold.\nIt goes on from there, as `told` by a stranger's file."
    assert private_words(text) == [(1, "Mends"), (3, "goes on from"), (3, "told"), (3, "stranger")]


def test_no_file_has_private_words() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in sorted(FILES)
        for line, word in private_words(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
