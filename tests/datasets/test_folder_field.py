"""Folders of images and masks as programs and systems leave them: names, formats of masks, lists, labelme, CVAT."""

import base64
import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import Folder, Pascal
from fsseg.errors import FssegError

SIZE = (20, 30)
MASK = np.zeros(SIZE, dtype=np.uint8)
MASK[2:12, 4:14], MASK[12:18, 20:28] = 1, 2


def write(root: Path, names: list[str], images: str = "images", masks: str = "masks") -> Path:
    for name in names:
        for folder, array in ((images, np.dstack([MASK * 90] * 3)), (masks, MASK)):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(array).save(path)
    (root / "classes.yaml").write_text("classes: [cat, dog]")
    return root


def opened(root: Path, **options: Any) -> Folder:
    """The data set, read as `fsseg data verify` does too."""
    dataset = Folder(**({"val_share": 1, "folds": 1} | options))
    dataset.open(root)
    for number in (*dataset.numbers("train"), *dataset.numbers("val")):
        dataset.check(number)
    return dataset


def counts(dataset: Folder) -> list[list[int]]:
    return [dataset.index.pixels[i, 1:].tolist() for i in dataset.numbers("val")]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (unicodedata.normalize("NFD", "Tür"), "Tür"),
        ("Tür", unicodedata.normalize("NFD", "Tür")),
        ("at 9.41\u202fAM", "at 9.41 AM"),
        ("a\u3000b", "a\u00a0b"),
    ],
)
def test_image_mask_and_list_may_write_one_name_in_two_ways(tmp_path: Path, image: str, mask: str) -> None:
    write(tmp_path, [image, "other"])
    (tmp_path / "masks" / f"{image}.png").rename(tmp_path / "masks" / f"{mask}.png")
    (tmp_path / "val.txt").write_text(f"{mask}\n", encoding="utf-8")
    dataset = opened(tmp_path)
    assert len(dataset.numbers("val")) == 1
    assert counts(dataset) == [[100, 48]]


def test_names_of_classes_may_be_composed_or_decomposed(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "Tür") for form in ("NFC", "NFD")]
    write(tmp_path, ["a"])
    (tmp_path / "masks" / names[1]).mkdir()
    (tmp_path / "masks/a.png").unlink()
    PIL.Image.fromarray(MASK == 1).save(tmp_path / "masks" / names[1] / "a.png")
    (tmp_path / "classes.yaml").write_text(f"classes: [{names[0]}]", encoding="utf-8")
    dataset = opened(tmp_path)
    assert (dataset.class_names, counts(dataset)) == ((names[0],), [[100]])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line", ["Tür", "Tür.png", "images/Tür.png", "D:\\images\\Tür.png", "/images/Tür.png"])
def test_lists_may_come_from_windows(tmp_path: Path, encoding: str, line: str) -> None:
    write(tmp_path, ["Tür", "b.c", "d"])
    (tmp_path / "val.txt").write_bytes(f"{line}\r\nb.c\r\n".encode(encoding))
    (tmp_path / "classes.yaml").write_bytes("classes: [cat, dog]\r\n".encode(encoding))
    dataset = opened(tmp_path)
    assert [dataset.image_name(i) for i in range(3)] == ["d", "Tür", "b.c"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_of_voc_may_have_a_byte_order_mark(fake_voc: Path, encoding: str) -> None:
    dataset = Pascal()
    dataset.locate(fake_voc)
    before = [dataset.image_name(i) for i in (*dataset.numbers("train"), *dataset.numbers("val"))]
    for path in fake_voc.rglob("ImageSets/*/*.txt"):
        path.write_bytes("\r\n".join(path.read_text().splitlines()).encode(encoding))
    dataset.locate(fake_voc)
    assert [dataset.image_name(i) for i in (*dataset.numbers("train"), *dataset.numbers("val"))] == before


@pytest.mark.parametrize("ending", [".tif", ".tiff", ".bmp", ".gif", ".TIF"])
def test_masks_may_have_other_formats_without_loss(tmp_path: Path, ending: str) -> None:
    write(tmp_path, ["a"])
    (tmp_path / "masks/a.png").unlink()
    PIL.Image.fromarray(MASK).save(tmp_path / f"masks/a{ending}", compression="tiff_lzw" if "ti" in ending else None)
    assert counts(opened(tmp_path)) == [[100, 48]]


def test_a_tiff_that_loses_ids_or_has_two_pages_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["a"])
    (tmp_path / "masks/a.png").unlink()
    picture = PIL.Image.fromarray(MASK)
    for options, words in (
        ({"compression": "jpeg"}, "is a JPEG, whatever its ending"),
        ({"save_all": True, "append_images": [picture]}, "has 2 pages; which one is the mask"),
        ({"tiffinfo": {262: 0}}, "a TIFF in which 0 is white"),
    ):
        picture.save(tmp_path / "masks/a.tif", **options)
        with pytest.raises(FssegError, match=words):
            opened(tmp_path)


def tiff_of_bits(bits: int, values: np.ndarray) -> bytes:
    """A grey TIFF of 2 or 4 bits (TIFF 6.0, section 4), which Pillow does not write."""
    height, width = values.shape
    shifts = np.arange(8 - bits, -1, -bits)
    padded = np.pad(values, ((0, 0), (0, -width % len(shifts)))).reshape(height, -1, len(shifts))
    data = (padded << shifts).sum(axis=2).astype(np.uint8).tobytes()
    tags = ((256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height),
            (279, len(data)))  # fmt: skip
    entries = b"".join(
        tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, value in tags
    )
    at = 8 + len(data)
    return b"II*\0" + at.to_bytes(4, "little") + data + len(tags).to_bytes(2, "little") + entries + bytes(4)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_tiffs_of_few_bits_are_ids(tmp_path: Path, bits: int) -> None:
    write(tmp_path, ["a"])
    (tmp_path / "masks/a.png").unlink()
    (tmp_path / "masks/a.tif").write_bytes(tiff_of_bits(bits, MASK))
    assert counts(opened(tmp_path)) == [[100, 48]]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_turned_tiff_is_turned_once(tmp_path: Path, compression: str | None) -> None:
    write(tmp_path, ["a"])
    (tmp_path / "images/a.png").unlink()
    lying = PIL.Image.fromarray(np.rot90(np.dstack([MASK * 90] * 3)))  # orientation 6 turns it by 90 degrees clockwise
    lying.save(tmp_path / "images/a.tif", tiffinfo={274: 6}, compression=compression)
    dataset = opened(tmp_path)
    assert np.array_equal(dataset.image(0)[..., 0], MASK * 90)


def labelme(root: Path, *shapes: dict[str, Any]) -> Path:
    write(root, ["a"])
    (root / "masks/a.png").unlink()
    content = {"version": "5.5.0", "shapes": [*shapes], "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (root / "masks/a.json").write_text(json.dumps(content))
    return root


def region(values: np.ndarray, label: str = "cat", corner: tuple[int, int] = (4, 2)) -> dict[str, Any]:
    buffer = io.BytesIO()
    PIL.Image.fromarray(values).save(buffer, format="PNG")
    (x, y), (height, width) = corner, values.shape
    points = [[x, y], [x + width - 1, y + height - 1]]
    text = base64.b64encode(buffer.getvalue()).decode()
    return {"label": label, "shape_type": "mask", "points": points, "mask": text}


def test_a_mask_of_labelme_is_exact(tmp_path: Path) -> None:
    ring = np.pad(np.zeros((3, 4), dtype=bool), 2, constant_values=True)
    dog = {"label": "dog", "shape_type": None, "points": [[20, 12], [27, 12], [27, 17], [20, 17]]}
    dataset = opened(labelme(tmp_path, region(ring), dog))
    expected = np.zeros(SIZE, dtype=np.uint8)
    expected[2:9, 4:12][ring], expected[12:18, 20:28] = 1, 2
    assert np.array_equal(dataset.mask(0), expected)
    assert dataset.weak == frozenset()
    first = np.ones((1, 1), dtype=bool)
    assert counts(opened(labelme(tmp_path, region(first, corner=(0, 0))))) == [[1, 0]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": None}, "a mask of cat has no image as base64 text"),
        ({"mask": "abcd"}, "a mask of cat: its region cannot be decoded"),
        ({"points": [[4, 2], [25, 12]]}, "a mask of cat is 8x7, its corners are not"),
    ],
)
def test_a_broken_mask_of_labelme_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(FssegError, match=words):
        opened(labelme(tmp_path, region(np.ones((7, 8), dtype=bool)) | change))


COLOURS = {0: (0, 0, 0), 1: (250, 50, 83), 2: (52, 209, 183), 255: (224, 224, 192)}


def cvat(root: Path, names: list[str], labelmap: str) -> Path:
    """CVAT's export "Segmentation mask 1.1"."""
    write(root, names, "JPEGImages", "SegmentationClass")
    (root / "classes.yaml").unlink()
    (root / "labelmap.txt").write_text(f"# label:color_rgb:parts:actions\n{labelmap}")
    mask = MASK.copy()
    mask[0, :5] = 255
    coloured = np.zeros((*SIZE, 3), dtype=np.uint8)
    for value, colour in COLOURS.items():
        coloured[mask == value] = colour
    for name in names:
        PIL.Image.fromarray(coloured).save(root / f"SegmentationClass/{name}.png")
    return root


LABELS = "background:0,0,0::\ncat:250,50,83::\ndog:52,209,183::\n"


def test_colour_masks_of_cvat_are_a_data_set(tmp_path: Path) -> None:
    dataset = opened(cvat(tmp_path, ["a", "day1/b"], LABELS))
    assert dataset.class_names == ("cat", "dog")
    assert [dataset.image_name(i) for i in range(2)] == ["a", "day1/b"]
    assert dataset.index.pixels.tolist() == [[600 - 148 - 5, 100, 48]] * 2
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("day1/b\n")
    (lists / "train.txt").write_text("a\n")
    assert opened(tmp_path).image_name(0) == "a"
    assert len(opened(tmp_path).numbers("train")) == 1
    PIL.Image.open(tmp_path / "SegmentationClass/a.png").quantize(8).save(tmp_path / "SegmentationClass/a.png")
    assert opened(tmp_path).index.pixels[0, 1:].tolist() == [100, 48]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            LABELS.replace("dog:52,209,183", "dog:52,209,184"),
            "holds the colour 52,209,183, which labelmap.txt",
        ),
        (LABELS.replace("dog:52,209,183", "dog:250,50,83"), "has the name or the colour of another label"),
        (LABELS.replace("dog:52,209,183", "dog:520,209,183"), "is no line such as cat:128,0,0::"),
        ("background:0,0,0::", "labelmap.txt has 0 classes"),
    ],
)
def test_a_labelmap_that_does_not_fit_is_refused(tmp_path: Path, labels: str, words: str) -> None:
    with pytest.raises(FssegError, match=words):
        opened(cvat(tmp_path, ["a"], labels))


def test_arrays_are_masks(tmp_path: Path) -> None:
    """NumPy's files, as label maps and in a folder of one class."""
    labels = np.zeros((20, 30), dtype=np.int64)
    labels[2:6, 3:9], labels[10:], labels[0] = 1, 2, 255
    for root, below, mask in (("maps", "masks", labels), ("classes", "masks/cat", labels == 1)):
        (tmp_path / root / "images").mkdir(parents=True)
        (tmp_path / root / below).mkdir(parents=True)
        for i in range(2):
            PIL.Image.new("RGB", (30, 20)).save(tmp_path / root / f"images/{i}.png")
            np.save(tmp_path / root / below / f"{i}.npy", mask)
    (tmp_path / "maps/classes.yaml").write_text("classes: [cat, dog]\n")
    for root in ("maps", "classes"):
        dataset = opened(tmp_path / root)
        assert (dataset.episode_mask(0, (1,)) == 1).sum() == 4 * 6
    np.testing.assert_array_equal(opened(tmp_path / "maps").mask(0), labels)
    np.save(tmp_path / "maps/masks/0.npy", labels * 0.5)
    with pytest.raises(FssegError, match=r"0\.npy holds fractions"):
        opened(tmp_path / "maps")
