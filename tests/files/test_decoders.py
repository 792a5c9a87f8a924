"""Images of a folder: no hidden or system files, and those of formats that can be decoded here."""

import shutil
from pathlib import Path

import numpy as np
import PIL.features
import PIL.Image
import pytest

from fsseg.datasets import Folder
from fsseg.errors import UnreadableError
from fsseg.files import decoders as files
from fsseg.files.images import read_image

SYSTEM = (
    ".ipynb_checkpoints/a-checkpoint.png", ".thumbnails/a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.png",
    "__MACOSX/._a.png",
    "lost+found/a.png", "$RECYCLE.BIN/a.png", "System Volume Information/a.png", "#recycle/a.png", "._a.png",
    ".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini",
)  # fmt: skip


def litter(folder: Path) -> None:
    """Files that a file manager, a NAS, an archiver and Jupyter leave in a folder; each is a valid image."""
    for name in SYSTEM:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("L", (30, 26)).save(path, "PNG")


def test_hidden_and_system_files_are_never_listed(tmp_path: Path) -> None:
    litter(tmp_path)
    (tmp_path / "below" / "deep").mkdir(parents=True)
    litter(tmp_path / "below")
    for name in ("a.png", "b.TXT", "below/c.jpg", "below/deep/lost and found.png"):
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    listed = [str(path.relative_to(tmp_path)) for path in files.list_files(tmp_path, below=True)]
    assert listed == ["a.png", "b.TXT", "below/c.jpg", "below/deep/lost and found.png"]
    assert [path.name for path in files.list_files(tmp_path)] == ["a.png", "b.TXT"]
    assert [path.name for path in files.list_folders(tmp_path)] == ["below", "link"]


def test_what_is_left_out_is_counted_by_ending() -> None:
    paths = [Path(name) for name in ("a.txt", "b.TXT", "c.json", "README", "d.heic")]
    assert files.count_endings(paths) == "2 .txt, 1 .heic, 1 .json, 1 without ending"
    assert files.count_endings([]) == ""
    assert files.first_names(paths) == "a.txt, b.TXT, c.json, ..."


PILLOW = {"jfif": "JPEG", "jpe": "JPEG", "gif": "GIF", "ppm": "PPM", "jp2": "JPEG2000", "AVIF": "AVIF", "webp": "WEBP"}


@pytest.mark.parametrize("ending", PILLOW)
def test_formats_that_pillow_reads(tmp_path: Path, ending: str) -> None:
    path, form = tmp_path / f"a.{ending}", PILLOW[ending]
    if form == "AVIF" and not (form in PIL.Image.OPEN and PIL.features.check("avif")):
        assert files.is_undecodable(path)
        pytest.skip("this Pillow reads no AVIF")
    picture = PIL.Image.new("RGB", (9, 7), (200, 30, 40))
    picture.save(path, form)
    assert files.is_image(path)
    assert f".{ending.lower()}" in files.endings()
    assert np.abs(read_image(path).astype(int) - [200, 30, 40]).max() < 12


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    """Otherwise the line says what to install."""
    path = tmp_path / "a.HEIC"
    if "HEIF" in files.decoders():
        PIL.Image.new("RGB", (64, 48), (200, 30, 40)).save(path, "HEIF")
        assert np.abs(read_image(path, upright=True).astype(int) - [200, 30, 40]).max() < 12
        assert read_image(path).shape == (48, 64, 3)
        return
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    assert (files.is_image(path), files.is_undecodable(path)) == (False, True)
    with pytest.raises(UnreadableError, match=r"a.HEIC cannot be decoded .*pip install \"fsseg\[heif\]\""):
        read_image(path)


def test_dangerous_formats_are_no_images(tmp_path: Path) -> None:
    assert not {"EPS", "WMF", "PSD", "ICNS", "SPIDER", "FITS"} & set(files.decoders())
    for ending in (".eps", ".svg", ".pdf", ".wmf", ".psd", ""):
        assert not files.is_image(Path(f"a{ending}"))
        assert not files.is_undecodable(Path(f"a{ending}"))


def test_a_folders_litter_is_no_class_and_no_image(own_classes: Path, own_maps: Path) -> None:
    for root in (own_classes, own_maps):
        known = Folder()
        known.open(root)
        for name in ("images", "masks"):
            litter(root / name)
        if root == own_classes:
            litter(root / "masks" / "cat")
        dataset = Folder()
        dataset.open(root)
        assert dataset.class_names == known.class_names
        assert (dataset.index.pixels == known.index.pixels).all()
        assert dataset.note == known.note


def test_what_a_folder_leaves_out_is_in_its_note(own_maps: Path) -> None:
    shutil.copy(own_maps / "images" / "photo01.png", own_maps / "images" / "extra.heic")
    for name in ("images/notes.txt", "images/more.txt", "masks/photo01.xml"):
        (own_maps / name).write_text("")
    dataset = Folder()
    dataset.open(own_maps)
    assert "other files are left out: 2 .txt, 1 .xml" in dataset.note.replace("1 .heic, ", "")


def test_spaces_of_any_width_may_stand_in_names(own_maps: Path) -> None:
    """As macOS has them in the names of screenshots."""
    name = "Screenshot at 9.41.00\u202fAM"
    (own_maps / "images" / "photo01.png").rename(own_maps / "images" / f"{name}.png")
    (own_maps / "masks" / "photo01.png").rename(own_maps / "masks" / f"{name}.png")
    dataset = Folder()
    dataset.open(own_maps)
    assert "Screenshot at 9.41.00 AM" in {
        dataset.image_name(i) for split in ("train", "val") for i in dataset.numbers(split)
    }
