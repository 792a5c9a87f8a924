import os
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import Pascal, pascal
from fsseg.errors import FssegError
from tests.conftest import SHARED


def opened(root: Path) -> Pascal:
    dataset = Pascal()
    dataset.open(root)
    return dataset


def refused(root: Path | None, *words: str) -> None:
    """Opening fails with one line that has all the words."""
    with pytest.raises(FssegError) as error:
        Pascal().open(root)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.fixture
def voc(fake_voc: Path) -> Path:
    return fake_voc / "VOC2012"


def mask_path(voc: Path, number: int = 3) -> Path:
    return voc / "SegmentationClassAug" / f"2007_{number:06d}.png"


def write_mask(path: Path, mask: np.ndarray) -> None:
    PIL.Image.fromarray(mask).save(path)


def test_images_and_masks_are_those_of_the_lists(voc: Path) -> None:
    dataset = opened(voc.parent)
    assert (dataset.numbers("train"), dataset.numbers("val")) == (range(60), range(60, 120))
    assert (dataset.image_name(3), dataset.image_name(63)) == ("2007_000003", "2008_000003")
    assert np.array_equal(dataset.mask(3), np.asarray(PIL.Image.open(mask_path(voc))))
    assert set(np.unique(dataset.mask(3))) == {0, 4, 5, 255}
    assert np.array_equal(dataset.image(3), np.asarray(PIL.Image.open(voc / "JPEGImages" / "2007_000003.jpg")))


def test_a_subset_says_that_it_is_one(voc: Path) -> None:
    assert re.search("60 of 10,582 train.*60 of 1,449 val", opened(voc.parent).note)
    assert opened(voc.parent).name == "VOC subset", "its numbers must not stand beside those of PASCAL-5i"
    assert Pascal().note == ""


def test_root_may_be_above_or_below_voc2012(voc: Path) -> None:
    devkit = voc.parent / "VOCdevkit"
    for root in (voc.parent, voc):
        assert len(opened(root).numbers("train")) == 60
    devkit.mkdir()
    voc.rename(devkit / "VOC2012")
    assert len(opened(voc.parent).numbers("train")) == 60


def test_lists_may_have_deeplabs_two_columns(voc: Path) -> None:
    path = voc / "ImageSets" / "SegmentationAug" / "train_aug.txt"
    lines = [f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png" for n in path.read_text().split()]
    path.write_text("\n".join(lines) + "\n\n")
    dataset = opened(voc.parent)
    assert len(dataset.numbers("train")) == 60
    assert dataset.image_name(59) == "2007_000059"


def test_lists_may_stand_in_vocs_own_folder(voc: Path) -> None:
    (voc / "ImageSets" / "SegmentationAug").rename(voc / "ImageSets" / "Segmentation")
    assert len(opened(voc.parent).numbers("val")) == 60


def test_an_index_is_scanned_once_and_again_after_a_change(
    voc: Path, no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> np.ndarray:
        read.append(path.name)
        return read_labels(path)

    read_labels = pascal.read_labels
    mask = np.asarray(PIL.Image.open(mask_path(voc))).copy()
    PIL.Image.fromarray(mask).save(mask_path(voc), compress_level=0)
    size = mask_path(voc).stat().st_size
    monkeypatch.setattr(pascal, "read_labels", counted)
    first = opened(voc.parent).index.pixels
    assert len(read) == 120
    assert np.array_equal(opened(voc.parent).index.pixels, first)
    assert len(read) == 120
    mask[:] = 20
    PIL.Image.fromarray(mask).save(mask_path(voc), compress_level=0)
    assert mask_path(voc).stat().st_size == size  # the time alone tells
    assert opened(voc.parent).index.pixels[3, 20] == mask.size
    assert len(read) == 240
    assert len(list(no_cache.iterdir())) == 2


def test_a_cut_off_cache_is_made_anew(voc: Path, no_cache: Path) -> None:
    pixels = opened(voc.parent).index.pixels
    (cache,) = no_cache.iterdir()
    content = cache.read_bytes()
    for size in (0, 40, len(content) // 2):
        cache.write_bytes(content[:size])
        assert np.array_equal(opened(voc.parent).index.pixels, pixels)
    assert cache.read_bytes() != b""


def test_a_cache_folder_that_cannot_be_made_does_no_harm(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(mask_path(voc)))  # a file
    assert len(opened(voc.parent).index.pixels) == 120


def test_no_root(tmp_path: Path) -> None:
    refused(None, "`data.root`", "FSSEG_DATA_ROOT")
    refused(tmp_path / "nowhere", "nowhere", "no VOC2012/JPEGImages")


def test_not_a_voc_tree(tmp_path: Path) -> None:
    (tmp_path / "VOC2012").mkdir()
    refused(tmp_path, str(tmp_path), "is no VOCdevkit")


def test_no_augmented_masks(voc: Path) -> None:
    (voc / "SegmentationClassAug").rename(voc / "SegmentationClass")
    refused(voc.parent, str(voc), "SegmentationClassAug")


@pytest.mark.parametrize("name", ["train_aug", "val"])
def test_no_list(voc: Path, name: str) -> None:
    (voc / "ImageSets" / "SegmentationAug" / f"{name}.txt").unlink()
    refused(voc.parent, "ImageSets", f"SegmentationAug/{name}")


def test_an_empty_list(voc: Path) -> None:
    (voc / "ImageSets" / "SegmentationAug" / "val.txt").write_text("\n")
    refused(voc.parent, "val.txt", "empty")


def test_a_missing_mask(voc: Path) -> None:
    mask_path(voc).unlink()
    refused(voc.parent, str(mask_path(voc)), "is missing")


def test_a_missing_image(voc: Path) -> None:
    image = voc / "JPEGImages" / "2008_000007.jpg"
    image.unlink()
    refused(voc.parent, str(image), "is missing")


def test_an_image_that_vanishes_later(voc: Path) -> None:
    dataset = opened(voc.parent)
    (voc / "JPEGImages" / "2008_000007.jpg").unlink()
    with pytest.raises(FssegError, match=r"2008_000007.jpg is missing"):
        dataset.image(67)


def test_a_mask_of_another_size(voc: Path) -> None:
    write_mask(mask_path(voc), np.zeros((9, 11), dtype=np.uint8))
    refused(voc.parent, str(mask_path(voc)), "11x9", "its image 27x27")


def test_alien_ids_are_named(voc: Path) -> None:
    mask = np.asarray(PIL.Image.open(mask_path(voc))).copy()
    mask[0, :2] = 21, 77
    write_mask(mask_path(voc), mask)
    refused(voc.parent, str(mask_path(voc)), "[21, 77]", "0 to 20")


def test_a_mask_in_colours(voc: Path) -> None:
    write_mask(mask_path(voc), np.zeros((27, 27, 3), dtype=np.uint8))
    refused(voc.parent, str(mask_path(voc)), "RGB", "indexed")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_mask(voc: Path, share: float) -> None:
    content = mask_path(voc).read_bytes()
    mask_path(voc).write_bytes(content[: int(share * len(content))])
    refused(voc.parent, str(mask_path(voc)), "cannot be decoded")


def test_a_truncated_image_is_named_on_reading(voc: Path) -> None:
    image = voc / "JPEGImages" / "2007_000003.jpg"
    os.truncate(image, image.stat().st_size // 2 + 300)
    dataset = opened(voc.parent)
    with pytest.raises(FssegError, match=re.escape(str(image))):
        dataset.image(3)


def test_a_grey_image_is_read_as_rgb(voc: Path) -> None:
    grey = np.arange(27 * 27, dtype=np.uint16).reshape(27, 27).astype(np.uint8)
    PIL.Image.fromarray(grey).save(voc / "JPEGImages" / "2007_000003.jpg", quality=100)
    image = opened(voc.parent).image(3)
    assert image.shape == (27, 27, 3)
    assert (image == image[..., :1]).all()


def test_official_pairs_follow_oslsms_size_rule(voc: Path) -> None:
    """More than two pixels of the class among every 32nd row and column, counted from the second on."""
    dataset = opened(voc.parent)
    write_mask(mask_path(voc, 3), grid_mask(range(1, 4)))  # three of class 9, at (1, 1), (1, 33), (1, 65)
    write_mask(mask_path(voc, 4), grid_mask(range(1, 3)))  # two only
    beside = np.zeros((70, 100), dtype=np.uint8)
    beside[2:33, 2:33] = beside[34:65, 34:65] = 9  # 1,922 pixels, none of the grid
    write_mask(mask_path(voc, 5), beside)
    for number in (3, 4, 5):
        image = np.zeros((70, 100, 3), dtype=np.uint8)
        PIL.Image.fromarray(image).save(voc / "JPEGImages" / f"2007_{number:06d}.jpg")
    dataset = opened(voc.parent)
    assert dataset.index.images(9, [3, 4, 5]).tolist() == [3, 4, 5]
    assert dataset.index.images(9, [3, 4, 5], pairs="official").tolist() == [3]
    assert dataset.index.images(9, [3, 4, 5], min_pixels=4, pairs="official").tolist() == []


def grid_mask(columns: range) -> np.ndarray:
    mask = np.zeros((70, 100), dtype=np.uint8)
    mask[1, [32 * (column - 1) + 1 for column in columns]] = 9
    return mask


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data/VOCdevkit").is_dir(), reason="no photos at hand")
def test_official_pairs_of_real_photos_near_the_threshold() -> None:
    """The lists of HSNet and PMMs have the former and lack the latter, though they show the class."""
    dataset = Pascal()
    dataset.open(SHARED / "data/VOCdevkit")
    numbers = {dataset.image_name(i): i for i in dataset.numbers("val")}
    official = {
        c: set(dataset.index.images(c, dataset.numbers("val"), pairs="official").tolist()) for c in range(1, 21)
    }
    listed = [
        "2007_007748 15", "2009_002346 12", "2010_001563 12", "2011_001530 10", "2011_001862 11", "2011_001862 12",
        "2011_002298 9", "2007_005114 13", "2008_006036 13", "2009_000156 12", "2010_000309 17", "2011_000436 17",
    ]  # fmt: skip
    missing = [
        "2007_009084 15", "2009_004099 8", "2011_001020 17", "2007_001594 12", "2007_008802 15", "2007_009841 15",
        "2008_004687 15", "2011_003085 15", "2010_002512 9", "2007_008110 8", "2011_001862 16", "2010_005160 17",
    ]  # fmt: skip
    for text in [*listed, *missing]:
        name, class_id = text.split()
        assert numbers[name] in dataset.index.images(int(class_id), dataset.numbers("val")).tolist(), (
            "it shows the class"
        )
        assert (numbers[name] in official[int(class_id)]) == (text in listed), text
