"""`fsseg data prepare isic2018`, against miniature archives on a local server."""

from pathlib import Path

import numpy as np

from fsseg.datasets import ISIC2018
from fsseg.prepare import archives
from tests.prepare.conftest import SIZE, Server, sbd_mask

TRUTH, PHOTOS = (archive.name for archive in archives.ISIC2018)
CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


def write_table(root: Path) -> None:
    root.mkdir(exist_ok=True)
    lines = ["ID,Class", *(f"ISIC_{i:07d},{CLASSES[i % 3]}" for i in range(10))]
    (root / "class_id.csv").write_text("\n".join(lines))


def test_isic_from_the_server_to_the_index(server: Server, prepare, tmp_path: Path) -> None:
    root = tmp_path / "data"
    asked = prepare("isic2018", "--root", "data")
    assert asked.code == 2, "the table of classes is not in the archives"
    assert "class_id.csv is missing, which says the class of each photo" in asked.line
    write_table(root)
    ran = prepare("isic2018", "--root", "data")
    assert ran.code == 0, ran.err
    assert "ISIC 2018 subset: 0 train and 10 val images, 3 classes; prepared in" in ran.out
    assert not list(root.rglob("LICENSE.txt"))
    dataset = ISIC2018()
    dataset.open(root)
    assert not dataset.index.fresh
    for i in range(10):
        class_id = ("seborrheic_keratosis", "nevus", "melanoma").index(CLASSES[i % 3]) + 1
        assert np.array_equal(dataset.mask(i), (sbd_mask(i) > 7) * np.uint8(class_id))
        assert dataset.image(i).shape == (*SIZE, 3)
    before = len(server.asked)
    assert "already prepared" in prepare("isic2018", "--root", "data").out
    assert len(server.asked) == before


def test_archives_on_the_disk_are_checked_by_sha256(server: Server, prepare, contents, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / TRUTH).write_bytes(contents[TRUTH][:-1])
    broken = prepare("isic2018", "--root", "data", "--archives", "given")
    assert (broken.code, "is expected: it is damaged. Download it again from" in broken.line) == (2, True)
    (given / TRUTH).write_bytes(contents[TRUTH])
    missing = prepare("isic2018", "--root", "data", "--archives", "given")
    assert f"given/{PHOTOS} is missing. Download it from" in missing.line
    (given / PHOTOS).write_bytes(contents[PHOTOS])
    write_table(tmp_path / "data")
    assert prepare("isic2018", "--root", "data", "--archives", "given").code == 0
    assert server.asked == []


def test_folders_of_another_program_stay(server: Server, prepare, tmp_path: Path) -> None:
    folder = tmp_path / "data/ISIC" / PHOTOS.removesuffix(".zip")
    folder.mkdir(parents=True)
    ran = prepare("isic2018", "--root", "data")
    assert ran.code == 2
    assert "ISIC2018_Task1_Training_GroundTruth is missing. Give the folder" in ran.line
    assert server.asked == []


def test_checksums_have_the_length_of_their_kind() -> None:
    assert [len(archive.checksum) for archive in archives.ISIC2018] == [64, 64]
    assert len(archives.VOC.checksum) == 32
