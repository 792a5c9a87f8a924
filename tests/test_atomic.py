"""Atomic writes: the file is there whole or as it was, whatever happens, and a full disk is a line and exit code 1."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import PIL.Image
import pytest

from fsseg import atomic
from fsseg.errors import FssegError, MachineError
from tests.cli.conftest import small_files

PACKAGE = Path(__file__).parents[1] / "fsseg"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "first, ä")
    assert path.read_bytes() == "first, ä".encode()

    def stopped(file: BinaryIO) -> None:
        file.write(b"sec")
        raise KeyError

    with pytest.raises(KeyError):
        atomic.save(path, stopped)
    with pytest.raises(ZeroDivisionError), atomic.write(path) as part:
        part.write_text(f"sec{1 / 0}")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "first, ä"
    atomic.save(path, lambda file: file.write(b"third"))
    assert path.read_text() == "third"


@pytest.mark.parametrize("how", ["text", "library"])
def test_a_full_disk_leaves_the_file_before_and_nothing_else(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.bmp"
    path.write_text("before")
    picture = PIL.Image.new("RGB", (50, 50))
    write = {
        "text": lambda: atomic.write_bytes(path, b"x" * 2000, "Resume."),
        "library": lambda: atomic.save(path, lambda file: picture.save(file, "BMP"), "Resume."),
    }[how]
    with small_files(1000), pytest.raises(MachineError, match=r"a\.bmp cannot be written: .*\. Make room\. Resume\.$"):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["a.bmp"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("number", [28, 122, 27, 5])
def test_each_fault_of_the_disk_has_exit_code_1_and_others_2(number: int) -> None:
    assert atomic.failure(OSError(number, "full"), "x").code == 1
    assert atomic.failure(OSError(13, "denied"), "x").code == 2


def test_folders_devices_and_missing_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "folder", tmp_path, tmp_path / "pipe", tmp_path / "no" / "x", tmp_path / "pipe" / "x"):
        with pytest.raises(FssegError, match="cannot be written") as refused:
            atomic.write_text(path, "x")
        assert refused.value.code == 2
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "pipe"}
    with pytest.raises(FssegError, match="cannot be written"):
        atomic.make_folder(tmp_path / "pipe" / "x")


def test_a_link_in_place_of_the_hidden_file_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    (tmp_path / ".a.part").symlink_to("other")
    atomic.write_text(tmp_path / "a", "new")
    assert (tmp_path / "other").read_text() == "mine"
    assert (tmp_path / "a").read_text() == "new"


def test_the_longest_names(tmp_path: Path) -> None:
    for name in ("x" * 255, "ä" * 127):
        atomic.write_text(tmp_path / name, "x")
    with pytest.raises(FssegError, match="File name too long"):
        atomic.write_text(tmp_path / ("x" * 256), "x")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_processes_that_write_one_cache_do_not_mix(tmp_path: Path) -> None:
    """Each writes its number many times over; whatever is read is of one of them."""
    code = (
        "import sys, pathlib; from fsseg import atomic\n"
        "for _ in range(200):\n"
        "    with atomic.write(pathlib.Path('cache'), durable=False, shared=True) as part:\n"
        "        part.write_text(sys.argv[1] * 100_000)\n"
    )
    run = [subprocess.Popen([sys.executable, "-c", code, str(number)], cwd=tmp_path) for number in range(3)]
    seen = set()
    while any(process.poll() is None for process in run):
        if (tmp_path / "cache").exists():
            text = (tmp_path / "cache").read_text()
            assert (len(text), len(set(text))) == (100_000, 1)
            seen.add(text[0])
    assert [process.returncode for process in run] == [0, 0, 0]
    assert seen
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


# Files that are written in another way, and why.
OTHERS = {
    "atomic.py": "here",
    "results/rows.py": "into the hidden file that `atomic.write` gives",
    "results/stream.py": "rows are appended as they come; the reader passes over what is cut off",
    "runs/prediction_files.py": "likewise, a line for each query",
    "runs/query_files.py": "likewise",
    "runs/prediction_formats.py": "by the results' folder, which writes atomically",
    "cli/__init__.py": "/dev/null",
    "experiment/option_names.py": "into the hidden file that `atomic.write` gives",
    "feature_cache/map_files.py": "into the hidden file that `atomic.write` gives",
    "disk_cache.py": "into the hidden file that `atomic.write` gives",
    "jobs/local.py": "a lock, and logs of processes",
    "jobs/ray.py": "logs of processes",
    "download.py": "a download that resumes; renamed after its checksum",
    "zoo/fetch.py": "likewise, a copy",
}


def test_all_files_are_written_so_or_have_a_reason() -> None:
    writes = re.compile(
        r"(?<!atomic)\.write_(text|bytes)\(|open\((.*, )?\"[wax]b?\"|\.savefig\(path|(?<!atomic)\.save\(path"
    )
    assert {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if writes.search(p.read_text())} == OTHERS.keys()
