"""`fsseg data prepare lvis`, from miniature archives on the disk."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fsseg.prepare import lvis
from fsseg.prepare.archives import LVIS
from tests.cli.conftest import fsseg  # noqa: F401 - a fixture
from tests.federated import write_lvis

PREPARE = ("data", "prepare", "lvis", "--root", "data", "--archives", "given")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the four archives, whose checksums replace the official ones."""
    folder, files = tmp_path / "given", tmp_path / "files"
    folder.mkdir()
    write_lvis(files)
    records = []
    for archive in LVIS:
        with zipfile.ZipFile(folder / archive.name, "w") as made:
            if archive.folder == "annotations":
                name = archive.name.removesuffix(".zip")
                made.write(files / "annotations" / name, name)
            else:
                for path in sorted((files / archive.folder).iterdir()):
                    made.write(path, f"{archive.folder}/{path.name}")
                made.writestr(f"{archive.folder}/", "")
        checksum = hashlib.sha256((folder / archive.name).read_bytes()).hexdigest()
        records.append(archive._replace(md5="", sha256=checksum, gigabytes=0.0))
    shutil.rmtree(files)
    monkeypatch.setattr(lvis, "LVIS", tuple(records))
    return folder


def test_from_the_archives_to_the_index(fsseg: Callable, given: Path, tmp_path: Path) -> None:  # noqa: F811
    ran = fsseg(*PREPARE)
    assert ran.code == 0, ran.err
    assert "LVIS subset: 12 train and 16 val images, 24 classes; prepared in" in ran.out
    assert sorted(path.name for path in (tmp_path / "data").iterdir() if path.name[0] != ".") == [
        "annotations", "train2017", "val2017",
    ]  # fmt: skip
    assert "already prepared" in fsseg(*PREPARE).out
    shutil.rmtree(tmp_path / "data/val2017")
    assert "prepared in" in fsseg(*PREPARE).out, "lost files are unpacked again"


def test_images_of_coco_are_not_unpacked_again(fsseg: Callable, given: Path, tmp_path: Path) -> None:  # noqa: F811
    assert fsseg(*PREPARE).code == 0
    (tmp_path / "data/.fsseg-prepared.json").unlink()
    for name in ("annotations/lvis_v1_train.json", "annotations/lvis_v1_val.json"):
        (tmp_path / "data" / name).unlink()
    for name in ("train2017.zip", "val2017.zip"):
        (given / name).unlink()
    assert fsseg(*PREPARE).code == 0


def test_archives_that_are_missing_or_damaged_are_one_line(fsseg: Callable, given: Path) -> None:  # noqa: F811
    path = given / "lvis_v1_train.json.zip"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "it is damaged. Download it again from https://dl.fbaipublicfiles.com/LVIS" in fsseg(*PREPARE).line
    path.unlink()
    assert "lvis_v1_train.json.zip is missing. Download it from" in fsseg(*PREPARE).line
    path.write_bytes(content)
    assert fsseg(*PREPARE).code == 0
