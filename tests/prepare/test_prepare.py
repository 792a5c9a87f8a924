"""`fsseg data prepare` end to end, against miniature archives on a local server."""

import hashlib
import io
import shutil
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import PIL.Image
import pytest
import torchvision.datasets.sbd
import torchvision.datasets.voc
from filelock import FileLock

from fsseg import download
from fsseg.datasets import Coco, Pascal
from fsseg.prepare import archives, coco, pascal
from fsseg.prepare.extract import write
from tests.prepare.conftest import SBD_NAMES, VOC_NAMES, Server, sbd_mask, tar, voc_mask, voc_members, zipped

VOC, SBD = archives.VOC.name, archives.SBD.name


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def read(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as picture:
        assert picture.mode == "L", "codes that read colours must find grey levels equal to the ids"
        return np.asarray(picture)


def test_addresses_and_checksums_are_those_that_torchvision_has() -> None:
    voc = torchvision.datasets.voc.DATASET_YEAR_DICT["2012"]
    assert (voc["md5"], voc["filename"]) == (archives.VOC.md5, VOC)
    assert urlparse(voc["url"]).path == urlparse(archives.VOC.url).path  # its host has moved
    sbd = torchvision.datasets.sbd.SBDataset
    assert (sbd.md5, sbd.filename) == (archives.SBD.md5, SBD)
    assert urlparse(sbd.url).path == urlparse(archives.SBD.url).path


def test_pascal_from_the_server_to_the_index(server: Server, prepare, tmp_path: Path) -> None:
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 0, ran.err
    folder = tmp_path / "data/VOCdevkit/VOC2012"
    assert "VOC subset: 42 train and 12 val images, 20 classes; prepared in" in ran.out
    assert "data/archives is no longer needed" in ran.out
    assert f"downloading {VOC}: " in ran.err
    for i, name in enumerate(VOC_NAMES):
        assert np.array_equal(read(folder / f"SegmentationClassAug/{name}.png"), voc_mask(i)), "VOC's mask goes before"
        assert np.array_equal(read(folder / f"SegmentationObjectAug/{name}.png"), np.minimum(voc_mask(i), 3))
    for i, name in enumerate(SBD_NAMES[:30]):
        assert np.array_equal(read(folder / f"SegmentationClassAug/{name}.png"), sbd_mask(i))
        assert set(np.unique(read(folder / f"SegmentationObjectAug/{name}.png")).tolist()) <= {0, 1, 2}
    lists = folder / "ImageSets/SegmentationAug"
    assert (lists / "val.txt").read_text().split() == VOC_NAMES[12:]
    assert (lists / "train_aug.txt").read_text().split() == [*VOC_NAMES[:12], *SBD_NAMES[:30]]
    assert not (folder / "Annotations").exists()
    dataset = Pascal()
    dataset.open(tmp_path / "data")
    assert not dataset.index.fresh
    pairs = (folder / "ImageSets/PASCAL-5i/val/fold2.txt").read_text().split()
    assert pairs == ["2007_000012__13", "2007_000013__14", "2007_000014__15"], "and no 11, 12: those are train images"
    assert [box.pixels for box in dataset.boxes(20, int(np.unique(dataset.mask(20))[1]))]


def test_a_second_run_does_nothing(server: Server, prepare, tmp_path: Path) -> None:
    prepare("pascal", "--root", "data")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*")}
    asked = len(server.asked)
    shutil.rmtree(tmp_path / "data/archives")
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 0, ran.err
    assert "already prepared" in ran.out
    assert len(server.asked) == asked
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*") if p.is_file()} == {
        p: time for p, time in before.items() if p.is_file()
    }


@pytest.mark.parametrize("year", [2017, 2014])
def test_coco_from_the_server_to_the_index(server: Server, prepare, tmp_path: Path, year: int) -> None:
    ran = prepare("coco", "--root", "data", "--year", str(year))
    assert ran.code == 0, ran.err
    assert "6 train and 6 val images, 80 classes; prepared in" in ran.out
    files = {str(p.relative_to(tmp_path / "data")) for p in (tmp_path / "data").rglob("*.json")}
    assert {f"annotations/instances_{split}{year}.json" for split in ("train", "val")} == {
        f for f in files if "annotations" in f
    }
    dataset = Coco(year=year)  # type: ignore[arg-type]
    dataset.open(tmp_path / "data")
    assert not dataset.index.fresh
    assert dataset.image(3).shape == (40, 70, 3)
    assert "already prepared" in prepare("coco", "--root", "data", "--year", str(year)).out


def test_archives_that_lie_on_the_disk_are_taken(server: Server, prepare, contents, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / VOC).write_bytes(contents[VOC])
    missing = prepare("pascal", "--root", "data", "--archives", "given")
    assert (missing.code, f"given/{SBD} is missing. Download it from" in missing.line) == (2, True)
    (given / SBD).write_bytes(contents[SBD][:-1])
    broken = prepare("pascal", "--root", "data", "--archives", "given")
    assert (broken.code, "it is damaged. Download it again from" in broken.line) == (2, True)
    assert (given / SBD).exists(), "a file that we did not make is not deleted"
    (given / SBD).write_bytes(contents[SBD])
    assert prepare("pascal", "--root", "data", "--archives", "given").code == 0
    assert server.asked == []
    assert not (tmp_path / "data/archives").exists()
    assert "no such folder" in prepare("pascal", "--root", "other", "--archives", "nowhere").line


def test_a_vocdevkit_may_be_the_root(server: Server, prepare, tmp_path: Path) -> None:
    assert prepare("pascal", "--root", "VOCdevkit").code == 0
    assert (tmp_path / "VOCdevkit/VOC2012/JPEGImages").is_dir()


# Transfers


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server: Server, prepare, contents) -> None:
    server.broken = {VOC: (len(contents[VOC]) // 3, 2), SBD: (1000, 3)}
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 0, ran.err
    assert [asked for name, asked in server.asked if name == SBD] == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    assert server.sent == len(contents[VOC]) + len(contents[SBD])


def test_a_transfer_that_gets_nowhere_is_given_up_and_what_is_there_kept(server: Server, prepare, tmp_path) -> None:
    server.broken = {SBD: (0, 100)}
    server.files[SBD] = server.files[SBD]
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 2
    assert "breaks off at 0.00 GB (it ended early). Run the command again: it resumes there." in ran.line
    assert (tmp_path / "data/archives" / VOC).is_file()
    part = tmp_path / "data/archives" / f"{SBD}.part"
    part.write_bytes(server.files[SBD][:500])
    server.broken, server.asked = {}, []
    assert prepare("pascal", "--root", "data").code == 0
    assert server.asked == [(SBD, "bytes=500-")]


def test_a_server_without_ranges_sends_all_again(server: Server, prepare, contents) -> None:
    server.ranges = False
    server.broken = {SBD: (1000, 2)}
    assert prepare("pascal", "--root", "data").code == 0
    assert server.sent == len(contents[VOC]) + len(contents[SBD]) + 2000


def test_a_part_that_is_whole_already_is_only_checked(server: Server, prepare, contents, tmp_path: Path) -> None:
    (tmp_path / "data/archives").mkdir(parents=True)
    (tmp_path / "data/archives" / f"{SBD}.part").write_bytes(contents[SBD])
    assert prepare("pascal", "--root", "data").code == 0


def test_a_wrong_checksum_is_said_and_the_file_deleted(server: Server, prepare, tmp_path: Path) -> None:
    server.files[SBD] = server.files[SBD][:-5] + b"xxxxx"
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 2
    assert "has the checksum" in ran.line
    assert "it is damaged. It was deleted; run the command again." in ran.line
    assert [p.name for p in (tmp_path / "data/archives").iterdir()] == [VOC]


def test_a_server_that_cannot_be_reached(server: Server, prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    del server.files[SBD]
    ran = prepare("pascal", "--root", "data")
    assert (
        ran.code,
        f"{SBD} cannot be reached (HTTP 404). Try again later, or download {SBD} otherwise" in ran.line,
    ) == (2, True)
    monkeypatch.setattr(pascal, "SBD", pascal.SBD._replace(url="http://127.0.0.1:9/x"))
    assert "cannot be reached ([Errno 111] Connection refused)" in prepare("pascal", "--root", "data").line
    monkeypatch.setattr(pascal, "SBD", pascal.SBD._replace(url="http://nowhere.invalid/x"))
    assert "cannot be reached (" in prepare("pascal", "--root", "data").line


@pytest.mark.parametrize("fault", ["reset", "silence"])
@pytest.mark.slow
def test_what_a_server_does_wrong_is_not_taken_for_the_disks_fault(
    server: Server, prepare, monkeypatch, fault: str
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)
    server.broken, server.fault = {SBD: (1000, 2)}, fault
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 0, ran.err
    assert [asked for name, asked in server.asked if name == SBD] == [None, "bytes=1000-", "bytes=2000-"]
    server.broken = {"val2017.zip": (0, 100)}
    line = prepare("coco", "--root", "data").line
    assert "val2017.zip breaks off at 0.00 GB (" in line
    assert "cannot be written" not in line


def test_an_archive_that_lies_in_the_folder_is_checked(server: Server, prepare, contents, tmp_path: Path) -> None:
    (tmp_path / "data/archives").mkdir(parents=True)
    path = tmp_path / "data/archives" / VOC
    path.write_bytes(contents[VOC][: len(contents[VOC]) // 2])
    ran = prepare("pascal", "--root", "data")
    assert (ran.code, "it is damaged. Delete it and run the command again." in ran.line) == (2, True)
    path.unlink()
    assert prepare("pascal", "--root", "data").code == 0


# Trees


@pytest.mark.parametrize("name", ["JPEGImages/2008_000007.jpg", "SegmentationClassAug/2007_000003.png",
                                  "SegmentationObjectAug/2008_000009.png", "ImageSets/PASCAL-5i/val/fold2.txt",
                                  "ImageSets/SegmentationAug/val.txt", "ImageSets/Segmentation/val.txt"])  # fmt: skip
@pytest.mark.slow
def test_what_was_lost_is_made_again_and_nothing_else(server: Server, prepare, tmp_path: Path, name: str) -> None:
    assert prepare("pascal", "--root", "data").code == 0
    whole = tree(tmp_path / "data")
    (tmp_path / "data/VOCdevkit/VOC2012" / name).unlink()
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "data") == whole
    shutil.rmtree(tmp_path / "data/VOCdevkit/VOC2012")
    assert prepare("pascal", "--root", "data").code == 0
    assert tree(tmp_path / "data") == whole


def test_lost_photos_of_coco_are_unpacked_again(server: Server, prepare, tmp_path: Path) -> None:
    assert prepare("coco", "--root", "data").code == 0
    whole = tree(tmp_path / "data")
    for path in ("val2017/000000000102.jpg", "annotations/instances_train2017.json"):
        (tmp_path / "data" / path).unlink()
        ran = prepare("coco", "--root", "data")
        assert ran.code == 0, ran.err
        assert "files\n" in ran.err
        assert tree(tmp_path / "data") == whole


def test_a_tree_made_by_other_means_is_left_as_it_is(server: Server, prepare, tmp_path: Path, fake_voc: Path) -> None:
    assert prepare("pascal", "--root", str(fake_voc)).code == 0
    mask = next(iter(sorted(fake_voc.rglob("SegmentationClassAug/*.png"))))
    mask.unlink()
    before = tree(fake_voc)
    ran = prepare("pascal", "--root", str(fake_voc))
    assert (ran.code, f"{mask} is missing" in ran.line) == (2, True), ran.err
    assert tree(fake_voc) == before
    assert server.asked == []


def test_own_files_in_an_unfinished_tree_are_kept(server: Server, prepare, tmp_path: Path) -> None:
    folder = tmp_path / "data/VOCdevkit/VOC2012"
    own = {"JPEGImages/2007_000002.jpg": b"mine", "SegmentationClassAug/2007_000003.png": b"mine too"}
    for name, content in own.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
    prepare("pascal", "--root", "data")
    assert {name: (folder / name).read_bytes() for name in own} == own


def test_two_at_once(server: Server, prepare, tmp_path: Path) -> None:
    (tmp_path / "data/VOCdevkit").mkdir(parents=True)
    with FileLock(tmp_path / "data/VOCdevkit/.fsseg-prepare.lock"):
        ran = prepare("pascal", "--root", "data")
    assert (ran.code, "data/VOCdevkit is being prepared by another `fsseg data prepare`" in ran.line) == (2, True)
    assert prepare("pascal", "--root", "data").code == 0


@pytest.mark.parametrize("stop", range(8))
@pytest.mark.slow
def test_lists_of_pairs_are_written_wherever_it_was_stopped(
    server: Server, prepare, tmp_path: Path, monkeypatch, stop: int
) -> None:
    written = []

    def stopping(path: Path, content: bytes, member: bool = True) -> None:
        if "PASCAL-5i" in path.parts:
            written.append(path)
            if len(written) == stop + 1:
                raise KeyboardInterrupt
        write(path, content, member)

    monkeypatch.setattr(pascal, "write", stopping)
    assert prepare("pascal", "--root", "data").code == 130
    monkeypatch.setattr(pascal, "write", write)
    assert prepare("pascal", "--root", "data").code == 0
    assert len(list((tmp_path / "data/VOCdevkit/VOC2012/ImageSets/PASCAL-5i").rglob("*.txt"))) == 8


# Disks


def test_a_disk_with_too_little_space_is_refused_first(server: Server, prepare, monkeypatch) -> None:
    monkeypatch.setattr("fsseg.prepare.pascal._UNPACKED", 1e6)
    ran = prepare("pascal", "--root", "data")
    assert ran.code == 2
    assert "data needs about 1000000.0 GB, its disk has" in ran.line
    assert server.asked == []


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@full
def test_a_disk_that_is_full_while_downloading(server: Server, prepare, tmp_path: Path) -> None:
    (tmp_path / "data/archives").mkdir(parents=True)
    part = tmp_path / "data/archives" / f"{VOC}.part"
    part.symlink_to("/dev/full")
    ran = prepare("pascal", "--root", "data")
    assert (ran.code, "archives" in ran.line, "No space left on device. Make room." in ran.line) == (1, True, True)
    part.unlink()
    assert prepare("pascal", "--root", "data").code == 0


@pytest.mark.parametrize("file", ["JPEGImages/2008_000007.jpg", "SegmentationClassAug/2008_000009.png"])
def test_a_disk_that_is_full_while_unpacking(server: Server, prepare, tmp_path: Path, monkeypatch, file: str) -> None:
    reference = prepare("pascal", "--root", "whole")
    assert reference.code == 0
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.name == f".{Path(file).name}.part":
            raise OSError(28, "No space left on device")
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        ran = prepare("pascal", "--root", "data")
    assert ran.code == 1
    assert (
        f"{file} cannot be written: No space left on device. Make room. Run the same command again: it resumes."
        in ran.line
    )
    asked = len(server.asked)
    assert prepare("pascal", "--root", "data").code == 0
    assert {name for name, _ in server.asked[asked:]} <= {SBD}, "what was downloaded is not downloaded again"
    assert tree(tmp_path / "data") == tree(tmp_path / "whole")


@pytest.mark.parametrize("stop", [3, 40, 70, 95])
@pytest.mark.slow
def test_it_goes_on_wherever_it_was_stopped(server: Server, prepare, tmp_path: Path, monkeypatch, stop: int) -> None:
    assert prepare("pascal", "--root", "whole").code == 0
    written = 0
    replace = Path.replace

    def counted(self: Path, target: Path) -> Path:
        nonlocal written
        written += 1
        if written == stop:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", counted)
    assert prepare("pascal", "--root", "data").code == 130
    monkeypatch.setattr(Path, "replace", replace)
    assert prepare("pascal", "--root", "data").code == 0
    assert tree(tmp_path / "data") == tree(tmp_path / "whole")


# Archives of strangers


EVIL = "VOCdevkit/VOC2012/JPEGImages/../../../../evil.jpg"
LINKS = {
    "symlink": {"type": b"2", "linkname": "/etc/passwd"},
    "hardlink": {"type": b"1", "linkname": "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"},
    "device": {"type": b"3"},
    "fifo": {"type": b"6"},
}


def hostile(server: Server, prepare, monkeypatch, content: bytes):
    server.files[VOC] = content
    monkeypatch.setattr(pascal, "VOC", pascal.VOC._replace(md5=hashlib.md5(content).hexdigest()))
    return prepare("pascal", "--root", "data")


@pytest.mark.parametrize("name", [EVIL, "/tmp/fsseg-evil.jpg", "..\\..\\evil.jpg", "C:/evil.jpg", "../evil"])
def test_a_path_that_leads_out_is_refused(server: Server, prepare, monkeypatch, tmp_path: Path, name: str) -> None:
    ran = hostile(server, prepare, monkeypatch, tar({**voc_members(), name: b"evil"}, False))
    assert ran.code == 2
    assert "leads out of the folder; refused. It is not the official archive." in ran.line
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/fsseg-evil.jpg").exists()


@pytest.mark.parametrize("kind", LINKS)
def test_links_and_devices_are_refused(server: Server, prepare, monkeypatch, tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("VOCdevkit/VOC2012/JPEGImages/2007_000000.jpg")
        for field, value in LINKS[kind].items():
            setattr(info, field, value)
        archive.addfile(info)
    ran = hostile(server, prepare, monkeypatch, buffer.getvalue())
    assert (ran.code, "2007_000000.jpg is a link or no file at all; refused." in ran.line) == (2, True)
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_symlink()]
    assert not (tmp_path / "data/VOCdevkit/VOC2012").exists()


def test_a_zip_may_not_lead_out_nor_link(server: Server, prepare, monkeypatch, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("val2017/000000000100.jpg")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    for content, words in (
        (zipped({"../evil.jpg": b"x"}), "leads out of the folder"),
        (buffer.getvalue(), "is a link or no file at all"),
        (b"PK\x03\x04 no zip at all", "is no archive, or is damaged"),
    ):
        server.files["val2017.zip"] = content
        every = tuple(
            a._replace(md5=hashlib.md5(content).hexdigest()) if a.name == "val2017.zip" else a for a in coco.COCO[2017]
        )
        monkeypatch.setattr(coco, "COCO", {2017: every})
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        ran = prepare("coco", "--root", "data")
        assert (ran.code, words in ran.line) == (2, True), ran.line
        assert not list(tmp_path.rglob("evil*"))
        assert not [p for p in (tmp_path / "data").rglob("*") if p.is_symlink()]


def test_a_mask_of_sbd_that_is_none(server: Server, prepare, monkeypatch) -> None:
    content = tar({"benchmark_RELEASE/dataset/cls/2008_000000.mat": b"MATLAB 5.0 nothing"}, True)
    server.files[SBD] = content
    monkeypatch.setattr(pascal, "SBD", pascal.SBD._replace(md5=hashlib.md5(content).hexdigest()))
    ran = prepare("pascal", "--root", "data")
    assert (ran.code, "cls/2008_000000.mat is no mask of SBD" in ran.line) == (2, True)


def test_a_member_as_large_as_a_bomb_is_refused(server: Server, prepare, monkeypatch) -> None:
    monkeypatch.setattr("fsseg.prepare.extract._LARGEST", 100)
    ran = prepare("pascal", "--root", "data")
    assert (ran.code, "unpacks to 0.0 GB; refused. It is not the official archive." in ran.line) == (2, True)


@pytest.mark.parametrize(
    ("limit", "words"), [("_ALL", "it unpacks to 0.0 GB; refused."), ("_MANY", "has more than 100")]
)
def test_an_archive_that_is_a_bomb_as_a_whole_is_refused(
    server: Server, prepare, monkeypatch, limit: str, words: str
) -> None:
    monkeypatch.setattr(f"fsseg.prepare.extract.{limit}", 100)
    many = {f"VOCdevkit/VOC2012/JPEGImages/{i}.jpg": b"x" for i in range(101)}
    ran = hostile(server, prepare, monkeypatch, tar({**many, **voc_members()}, False))
    assert (ran.code, words in ran.line) == (2, True), ran.line


def test_what_is_passed_over_counts_too(server: Server, prepare, monkeypatch) -> None:
    monkeypatch.setattr("fsseg.prepare.extract._LARGEST", 2_000_000)
    ran = hostile(server, prepare, monkeypatch, tar({"unwanted": bytes(3_000_000), **voc_members()}, True))
    assert (ran.code, "unwanted unpacks to 0.0 GB; refused" in ran.line) == (2, True), ran.line
