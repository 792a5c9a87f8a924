"""Rows that are read back: those of other hands are refused, and take no memory for what they claim."""

import json
from pathlib import Path

import pytest

from fsseg.errors import FssegError
from fsseg.results.results import find_results
from tests.results.folders import make_test


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, "1000000000000"), (0, "-1"), (0, "2"), (1, "-1"), (2, "99"), (4, "1" * 30), (4, "nan"), (4, "1" * 5000),
     (9, "a\x1b[31m"), (9, "x" * 200_000)],
)  # fmt: skip
def test_a_row_of_other_hands_is_refused(tmp_path: Path, column: int, value: str) -> None:
    folder = make_test(tmp_path / "test")
    lines = (folder / "rows.csv").read_text().splitlines()
    for number, line in enumerate(lines):
        cells = line.split(",")
        if number and (column != 0 or cells[0] == "1"):  # run 1 becomes another, so that its place is empty
            cells[column] = value
        lines[number] = ",".join(cells)
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(FssegError) as error:
        assert find_results([folder])[0].rows
    assert "rows.csv" in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "a\x1b[2J"), ("dataset", 5), ("way", "1"), ("way", 0), ("fold", -1), ("fold", 4), ("folds", 10**30),
     ("classes", []), ("classes", [{"class_id": 1, "name": "x\ny"}]), ("classes", None), ("notes", "x"), ("seed", True),
     ("protocol", {"runs": "5"}), ("protocol", {"seed": 10**30}), ("protocol", []), ("checkpoint", []),
     ("checkpoint", {"name": "a", "path": "a", "step": 1, "selection": "first"}), ("rows", -1), ("departures", ["K=5"]),
     ("trained_shot", {})],
)  # fmt: skip
def test_a_table_of_other_hands_is_refused(tmp_path: Path, name: str, value: object) -> None:
    folder = make_test(tmp_path / "test")
    content = json.loads((folder / "table.json").read_text())
    (folder / "table.json").write_text(json.dumps({**content, name: value}))
    with pytest.raises(FssegError, match=r"table.json is broken, or another version of fsseg wrote it"):
        find_results([folder])
