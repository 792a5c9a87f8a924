"""The table of masks in docs/3-data.md, row by row, in all places that read masks: a region, a label map, or a refusal.

Each mask shows the same object, 8 x 20 pixels of 24 x 40, so that what is right is known without reading anything.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import Folder
from fsseg.errors import FssegError
from fsseg.experiment.support_arguments import supports
from fsseg.files.mask_regions import region_of, region_of_greys
from fsseg.files.masks import read_labels, read_region
from fsseg.segmenter.mask_inputs import as_labels

SHAPE = (24, 40)
OBJECT = np.zeros(SHAPE, dtype=bool)
OBJECT[8:16, 10:30] = True
VOID = np.zeros(SHAPE, dtype=bool)
VOID[20:22] = True
MOST = np.zeros(SHAPE, dtype=bool)
MOST[17:24] = True


def grey(inside: int, outside: int = 0, kind: type = np.uint8) -> np.ndarray:
    return np.where(OBJECT, kind(inside), kind(outside))


def made(pixels: np.ndarray, mode: str | None = None) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(pixels)
    return picture if mode is None else picture.convert(mode)


def indexed(pixels: np.ndarray, *colours: tuple[int, int, int], clear: int | None = None) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(pixels).convert("P")
    picture.putdata(pixels.ravel().tolist())
    picture.putpalette([value for colour in colours for value in colour])
    if clear is not None:
        picture.info["transparency"] = clear
    return picture


def painted(inside: tuple[int, ...], outside: tuple[int, ...]) -> PIL.Image.Image:
    """Of two colours, with or without alpha."""
    return PIL.Image.fromarray(np.where(OBJECT[..., None], np.uint8(inside), np.uint8(outside)))


def soft() -> np.ndarray:
    """An edge of two pixels that is half and a quarter seen."""
    levels = grey(255)
    levels[7, 10:30], levels[16, 10:30], levels[17, 10:30] = 64, 100, 20
    levels[8, 10:30] = 230
    return levels


def compressed() -> PIL.Image.Image:
    data = io.BytesIO()
    PIL.Image.fromarray(grey(255)).convert("RGB").save(data, "JPEG", quality=60)
    return PIL.Image.open(data)


def small(bits: int, inside: int) -> PIL.Image.Image:
    """A grey PNG of 2 or 4 bits a pixel, its rows packed by hand as PNG's specification has them."""
    import struct
    import zlib

    rows = np.where(OBJECT, inside, 0)
    per = 8 // bits
    packed = sum(rows[:, place::per] << (8 - bits * (place + 1)) for place in range(per)).astype(np.uint8)
    content = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return PIL.Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + data))


BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (128, 0, 0), (0, 0, 200)
VOC = (BLACK, RED, (0, 128, 0), *[(i, 128, 64) for i in range(3, 255)], (224, 224, 192))
PHOTO = np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
COLOURS = "colours besides black"
IDS = "class ids need an indexed or 8-bit grey PNG"
TWO = "holds the values"
UNKNOWN = "does not list"  # refused by the data set, whose classes.yaml has no such ids

# Mask; what it is as a mask of one class (folder of a class, support) and as a label map: the label of the object (with
# "void": rows 20 and 21 are not labelled), 0 for nothing, or words of the line that refuses it.
ROWS: dict[str, tuple[Callable[[], PIL.Image.Image], int | str, int | str]] = {
    "grey 0 and 255": (lambda: made(grey(255)), 1, 255),
    "grey 0 and 1": (lambda: made(grey(1)), 1, 1),
    "grey 0 and 7": (lambda: made(grey(7)), 1, 7),
    "grey 0, 7 and 255": (lambda: made(np.where(VOID, np.uint8(255), grey(7))), "void", "void 7"),
    "grey 0, 1 and much 255": (lambda: made(np.where(MOST, np.uint8(255), grey(1))), TWO, "void 1"),
    "grey 0, 128 and 255": (lambda: made(np.where(VOID, np.uint8(255), grey(128))), TWO, "void 128"),
    "grey 0, 1 and 2": (lambda: made(np.where(VOID, np.uint8(2), grey(1))), TWO, 1),
    "grey 3 and 254": (lambda: made(grey(254, 3)), 1, 254),
    "grey 3 and 255": (lambda: made(grey(255, 3)), TWO, 255),
    "soft edge": (lambda: made(soft()), 1, UNKNOWN),
    "soft edge in channels": (lambda: made(soft(), "RGB"), 1, IDS),
    "JPEG": (compressed, 1, "is a JPEG"),
    "all 0": (lambda: made(np.zeros(SHAPE, np.uint8)), 0, 0),
    "1 bit": (lambda: made(grey(255)).convert("1"), 1, 1),
    "2 bits": (lambda: small(2, 1), 1, 1),
    "4 bits": (lambda: small(4, 2), 1, 2),
    "16 bits, 0 and 65535": (lambda: made(grey(65535, kind=np.uint16)), 1, 65535),
    "16 bits, 0 and 300": (lambda: made(grey(300, kind=np.uint16)), 1, 300),
    "16 bits, soft": (lambda: made(soft().astype(np.uint16) * 257), 1, UNKNOWN),
    "fractions": (lambda: made(grey(1).astype(np.float32)), "mode F", "mode F"),
    "indexed, black and white": (lambda: indexed(grey(1), BLACK, WHITE), 1, 1),
    "indexed, white and black": (lambda: indexed(grey(0, 1), WHITE, BLACK), 1, "white first"),
    "quantised": (lambda: made(grey(255), "RGB").quantize(2), 1, "white first"),
    "quantised, soft": (lambda: made(soft(), "RGB").quantize(16), 1, "white first"),
    "web palette": (lambda: made(grey(255), "RGB").convert("P"), 1, 225),
    "colour map": (lambda: indexed(grey(2), *VOC), 1, 2),
    "colour map with void": (lambda: indexed(np.where(VOID, np.uint8(255), grey(2)), *VOC), "void", "void 2"),
    "colour map of two classes": (lambda: indexed(np.where(VOID, np.uint8(1), grey(2)), *VOC), TWO, 2),
    "colour map, clear background": (lambda: indexed(grey(2), *VOC, clear=0), 1, 2),
    "colour map, clear class": (lambda: indexed(grey(0, 2), BLUE, BLACK, RED, clear=2), 1, "transparent pixels"),
    "indexed, red and black": (lambda: indexed(grey(0, 1), RED, BLACK), 1, 0),
    "indexed, white and red": (lambda: indexed(grey(1), WHITE, RED), "which is the object", 1),
    "colours, black and red": (lambda: painted(RED, BLACK), 1, IDS),
    "colours, white and red": (lambda: painted(RED, WHITE), COLOURS, IDS),
    "photo": (lambda: made(PHOTO), COLOURS, IDS),
    "white on clear white": (lambda: painted((255,) * 4, (255, 255, 255, 0)), 1, IDS),
    "white on clear black": (lambda: painted((255,) * 4, (0, 0, 0, 0)), 1, IDS),
    "black on clear black": (lambda: painted((0, 0, 0, 255), (0, 0, 0, 0)), 1, IDS),
    "black on clear white": (lambda: painted((0, 0, 0, 255), (255, 255, 255, 0)), "the opaque region, or", IDS),
    "white hole in black": (lambda: painted((255, 255, 255, 0), (0, 0, 0, 255)), "the opaque region, or", IDS),
    "photo cut out": (lambda: made(np.dstack([PHOTO, grey(255)])), 1, IDS),
    "grey with alpha": (lambda: made(np.dstack([grey(255), np.full(SHAPE, 255, np.uint8)])), 1, 255),
    "grey with clear background": (lambda: made(np.dstack([grey(255), grey(255)])), 1, "transparent pixels"),
    "all clear": (lambda: painted((255, 255, 255, 0), (255, 255, 255, 0)), 0, IDS),
}  # fmt: skip


def saved(folder: Path, picture: PIL.Image.Image) -> Path:
    """The picture as a file; of JPEG and TIFF, with another ending, as people rename them."""
    path = folder / "photo.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = picture.format or ("TIFF" if picture.mode == "F" else "PNG")
    if hasattr(picture, "fp") and picture.fp is not None:  # as it was made
        path.write_bytes(picture.fp.getvalue())
    else:
        picture.save(path, kind)
    return path


def whole(value: int | str) -> np.ndarray:
    """A region as it should be."""
    if value == "void":
        return np.where(VOID, np.uint8(255), OBJECT)
    return OBJECT.astype(np.uint8) if value else np.zeros(SHAPE, dtype=np.uint8)


def folder_of(root: Path, mask: Callable[[Path], Path], classes: str = "") -> Folder:
    """An opened data set of one image."""
    (root / "images").mkdir(parents=True)
    PIL.Image.new("RGB", SHAPE[::-1]).save(root / "images" / "photo.png")
    mask(root / "masks")
    if classes:
        (root / "classes.yaml").write_text(classes)
    dataset = Folder(folds=1, val_share=1)
    dataset.open(root)
    return dataset


@pytest.mark.parametrize("row", ROWS)
def test_a_mask_of_one_class_is_read_by_what_is_seen(tmp_path: Path, row: str) -> None:
    picture, expected, _ = ROWS[row]
    path = saved(tmp_path / "support", picture())
    PIL.Image.new("RGB", SHAPE[::-1]).save(tmp_path / "photo.png")
    (shown,) = supports([f"cat={tmp_path / 'photo.png'}:{path}"])

    def folder() -> np.ndarray:
        """The mask of a class's folder, beside a full mask of another class, so that some class has pixels."""
        other = tmp_path / "mine/masks/dog/photo.png"
        other.parent.mkdir(parents=True)
        PIL.Image.fromarray(np.full(SHAPE, 255, np.uint8)).save(other)
        dataset = folder_of(tmp_path / "mine", lambda masks: saved(masks / "cat", picture()))
        assert dataset.index.pixels[0, 1] == (dataset.episode_mask(0, (1,), 0) == 1).sum()
        return dataset.episode_mask(0, (1,), 0)

    readers = (shown.labels, folder, lambda: as_labels(path, 1, SHAPE), lambda: as_labels(picture(), 1, SHAPE))
    for read in readers:
        if isinstance(expected, str) and expected != "void":
            with pytest.raises(FssegError, match=expected):
                read()
        elif expected == 0 and read not in (shown.labels, folder):
            with pytest.raises(FssegError, match="is empty"):
                read()
        else:
            assert np.array_equal(read(), whole(expected)), row


@pytest.mark.parametrize("row", ROWS)
def test_a_label_map_keeps_its_numbers(tmp_path: Path, row: str) -> None:
    picture, _, expected = ROWS[row]
    path = saved(tmp_path / "support", picture())
    if isinstance(expected, str) and not expected.startswith("void"):
        if expected != UNKNOWN:
            with pytest.raises(FssegError, match=expected):
                read_labels(path)
        with pytest.raises(FssegError, match=expected):
            folder_of(tmp_path / "mine", lambda masks: saved(masks, picture()), "classes: {1: cat, 2: dog, 7: cow}")
        return
    labels = read_labels(path)
    label = int(str(expected).removeprefix("void "))
    assert (labels[OBJECT] == label).all(), row
    if str(expected).startswith("void"):
        assert (labels[VOID] == 255).all()
    void = 65535 if labels.dtype == np.uint16 else 255
    if label in (0, void) or labels[0, 0] != 0:
        return
    (tmp_path / "photo.png").unlink(missing_ok=True)
    PIL.Image.new("RGB", SHAPE[::-1]).save(tmp_path / "photo.png")
    (shown,) = supports([f"cat={tmp_path / 'photo.png'}:{path}:{label}"])
    assert np.array_equal(shown.labels() == 1, OBJECT)
    names = ", ".join(f"{value}: c{value}" for value in sorted({int(v) for v in np.unique(labels)} - {0, void}))
    dataset = folder_of(tmp_path / "mine", lambda masks: saved(masks, picture()), f"classes: {{{names}}}")
    class_id = dataset.class_names.index(f"c{label}") + 1
    assert np.array_equal(dataset.mask(0) == class_id, OBJECT)
    assert dataset.index.pixels[0, class_id] == OBJECT.sum()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1), (255, 1), (254, 1), (0, 0), (3, None), (128, None), (65535, 1), (256, None), (40_000, None)],
)
def test_a_mask_of_one_value(value: int, expected: int | None) -> None:
    levels = np.full(SHAPE, value, dtype=np.uint8 if value < 256 else np.uint16)
    if expected is None:
        with pytest.raises(FssegError, match=f"holds only the value {value}: is all the object, or nothing"):
            region_of_greys(levels, "m")
    else:
        assert (region_of_greys(levels, "m") == expected).all()


def test_greys_with_the_noise_of_a_jpeg_in_colour_are_cut_in_the_middle(tmp_path: Path) -> None:
    """Masks like FSS-1000's: opaque RGBA whose channels differ a little, compared with Pillow's conversion to grey."""
    data = io.BytesIO()
    PIL.Image.fromarray(grey(255)).convert("RGB").save(data, "JPEG", quality=85)
    pixels = np.asarray(PIL.Image.open(data)).astype(int)
    noise = np.random.default_rng(1).integers(-12, 13, (*SHAPE, 3))
    rgb = np.where((pixels < 40) | (pixels > 215), pixels + noise, pixels).clip(0, 255).astype(np.uint8)
    picture = PIL.Image.fromarray(np.dstack([rgb, np.full(SHAPE, 255, np.uint8)]))
    expected = np.asarray(picture.convert("L")) >= 128
    assert np.array_equal(read_region(saved(tmp_path, picture)) == 1, expected)
    assert 150 <= expected.sum() <= 170


def test_a_little_noise_in_colour_beside_white_is_no_colour() -> None:
    pixels = np.repeat(grey(255)[..., None], 3, axis=2)
    pixels[2, ::5] = (9, 20, 4)
    found = region_of(PIL.Image.fromarray(pixels), "m")
    assert np.array_equal(found == 1, OBJECT)
    pixels[20:, :, 0] = 30  # a tenth and more of it is red
    with pytest.raises(FssegError, match="colours besides black"):
        region_of(PIL.Image.fromarray(pixels), "m")


def test_of_one_class_0_and_255_are_refused_and_of_several_noted(tmp_path: Path) -> None:
    with pytest.raises(FssegError, match="holds only 0 and 255: is 255 cat, or not labelled") as error:
        folder_of(tmp_path / "one", lambda masks: saved(masks, made(grey(255))), "classes: [cat]")
    assert "masks/cat/NAME.png, without classes.yaml" in str(error.value)

    def two(masks: Path) -> Path:
        other = tmp_path / "two/images/other.png"
        PIL.Image.new("RGB", SHAPE[::-1]).save(other)
        saved(masks, made(grey(255))).rename(masks / "other.png")
        return saved(masks, made(grey(2)))

    note = folder_of(tmp_path / "two", two, "classes: [cat, dog]").note
    assert "1 masks hold only 0 and 255, background and not labelled: other" in note


def test_the_value_255_of_8_bits_is_no_class(tmp_path: Path) -> None:
    path = saved(tmp_path, made(grey(255)))
    (shown,) = supports([f"cat={path}:{path}:255"])
    with pytest.raises(FssegError, match=r"255 marks ignored pixels. In a black and white mask, leave :255 out"):
        shown.labels()
