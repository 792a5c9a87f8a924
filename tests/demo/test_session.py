"""How a session adapts to painted supports, without a page."""

import base64
import io
import zlib

import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.datasets.shapes import draw
from fsseg.demo import drawing, html
from fsseg.demo.painting import BACK, lacks, painted, read_layer, to_labels, way_of
from fsseg.demo.passes import Passes
from fsseg.demo.pictures import SIDE, Limits, Picture, file_name, fitted, read_picture
from fsseg.demo.session import QUERIES, SUPPORTS, Session
from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.methods import CANet, PMMs
from fsseg.segmenter import Segmenter

SIZE = 48


def begun(segmenter: Segmenter) -> Session:
    return Session(segmenter, Passes(segmenter.method.encoder))


def picture(number: int) -> tuple[Picture, np.ndarray]:
    """An image of shapes, and a layer on which its class is painted as the first class."""
    image, mask = draw(96, 0, number)
    return Picture(f"shapes-{number}.png", image, (96, 96)), (mask == number % 20 + 1).astype(np.uint8)


@pytest.fixture
def session(segmenter: Segmenter) -> Session:
    """With two supports (1, 2), not painted on, and a query (3)."""
    made = begun(segmenter)
    for number in (0, 20):
        made.add_support(picture(number)[0])
    made.add_query(picture(40)[0])
    return made


def paint(session: Session, number: int, layer: np.ndarray, way: str = "mask") -> None:
    session.paint(number, lambda size: layer, way)


def expected(segmenter: Segmenter, image: np.ndarray, supports: list, labels: list, names=("a",)) -> np.ndarray:
    """The prediction of a segmenter of the same method that adapts to all supports at once."""
    other = Segmenter(segmenter.method, size=SIZE, device="cpu")
    other.learn(supports, labels, names)
    return other.segment(image)


def test_painting_costs_no_encoder_pass_and_gives_what_the_segmenter_gives(session, segmenter):
    layers = [picture(0)[1], picture(20)[1]]
    for number, layer in enumerate(layers, 1):
        since = session.now()
        paint(session, number, layer)
        assert session.result(since).passes == 0
    images = [session.supports[number].picture.image for number in (1, 2)]
    query = session.queries[3].image
    np.testing.assert_array_equal(session.result().mask, expected(segmenter, query, images, layers))
    more = layers[0].copy()
    more[:20] = 1
    paint(session, 1, more)
    result = session.result()
    np.testing.assert_array_equal(result.mask, expected(segmenter, query, images, [more, layers[1]]))
    assert list(result.scores) == [1]
    assert 0 <= result.scores[1] <= 1


def test_pictures_are_encoded_when_they_come(segmenter):
    session = begun(segmenter)
    fresh = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    since = session.now()
    session.add_query(Picture("a.png", fresh, (64, 64)))
    assert session.now()[1] - since[1] == 1
    session.add_query(Picture("b.png", fresh, (64, 64)))
    assert session.now()[1] - since[1] == 1


@pytest.mark.parametrize("way", ["mask", "scribble", "box"])
def test_each_way_of_painting_teaches_the_mask_that_it_means(session, segmenter, way):
    layer = picture(0)[1] * 2
    layer[:4] = BACK
    paint(session, 1, layer, way)
    labels = to_labels(layer, way)
    assert set(np.unique(labels)) == ({0, 2, 255} if way == "scribble" else {0, 2})
    found = expected(segmenter, session.queries[3].image, [session.supports[1].picture.image],
                     [np.where(labels == 2, 1, labels)])  # fmt: skip
    np.testing.assert_array_equal(session.result().mask, 2 * found)
    assert session.known_labels == [2]


def test_a_box_is_the_bounds_of_what_is_painted_and_the_smaller_one_is_seen():
    layer = np.zeros((10, 12), dtype=np.uint8)
    layer[1, 2], layer[8, 9] = 1, 1
    layer[3, 4], layer[5, 6] = 2, 2
    boxes = np.zeros_like(layer)
    boxes[1:9, 2:10] = 1
    boxes[3:6, 4:7] = 2
    np.testing.assert_array_equal(to_labels(layer, "box"), boxes)


def test_classes_that_come_and_go_keep_their_colours(session, segmenter):
    layer = picture(0)[1] * 3
    paint(session, 1, layer)
    assert session.known_labels == [3]
    both = layer.copy()
    both[:6] = 1
    paint(session, 1, both)
    assert session.known_labels == [1, 3]
    images = [session.supports[1].picture.image]
    found = expected(segmenter, session.queries[3].image, images, [np.where(both == 3, 2, both)], ("a", "c"))
    np.testing.assert_array_equal(session.result().mask, np.array([0, 1, 3], dtype=np.uint8)[found])
    moved = both.copy()
    moved[6:9] = 1
    paint(session, 1, moved)  # the same classes: repainted
    found = expected(segmenter, session.queries[3].image, images, [np.where(moved == 3, 2, moved)], ("a", "c"))
    np.testing.assert_array_equal(session.result().mask, np.array([0, 1, 3], dtype=np.uint8)[found])
    paint(session, 1, layer)
    assert session.known_labels == [3]
    paint(session, 1, layer * 0)
    assert session.known_labels == []
    assert session.result() is None


def test_a_picture_that_shows_none_is_rejected(session):
    paint(session, 1, picture(0)[1])
    before = session.result().mask
    session.paint(2, lambda size: np.zeros(size, dtype=np.uint8), "nothing")
    assert session.known_labels == [1]
    assert (session.result().mask != before).any()
    session.remove_support(2)
    np.testing.assert_array_equal(session.result().mask, before)


def test_what_is_still_to_be_painted_is_said(session):
    assert session.hint() == "Click on the object, or paint on it."
    layer = np.zeros((96, 96), dtype=np.uint8)
    layer[30:50, 30:50] = 1
    paint(session, 2, layer, "scribble")
    assert session.hint().startswith("Now background")
    assert session.result() is None
    layer[:9] = BACK
    paint(session, 2, layer, "scribble")
    assert session.hint() == ""
    paint(session, 2, np.ones_like(layer))
    assert session.hint() == "Leave some background around the object."
    dot = np.zeros_like(layer)
    dot[0, 0] = 1
    paint(session, 2, dot)
    assert session.hint().startswith("Paint more")
    assert lacks(dot * 0, "nothing") == ""


@pytest.mark.parametrize("method", [PMMs, CANet])
def test_maps_are_those_of_look_and_cost_no_pass(method):
    torch.manual_seed(0)
    made = Segmenter(method(ConvNet(widths=(8, 8), strides=(2, 2))), size=SIZE, device="cpu")
    session = begun(made)
    session.add_support(picture(0)[0])
    session.add_query(picture(40)[0])
    paint(session, 1, picture(0)[1])
    session.maps = True
    result = session.result()
    assert result.passes == 0
    if method is CANet:
        assert result.maps == []
        assert "no prototypes" in html.result(session, result)
        return
    assert [one.name for one in result.maps][:2] == ["object 1", "object 2"]
    total = sum(one.probability for one in result.maps)
    np.testing.assert_allclose(total, np.ones_like(total), atol=1e-4)
    assert html.result(session, result).count("<figure>") == len(result.maps)


def test_maps_of_several_classes_are_held_against_their_own_episode(session, segmenter):
    both = picture(0)[1].copy()
    both[:8] = 2
    paint(session, 1, both)
    session.maps = True
    maps = session.result().maps
    assert [(one.label, one.name) for one in maps] == [(n, what) for n in (1, 2) for what in ("object", "background")]
    for first, second in zip(maps[::2], maps[1::2], strict=True):
        np.testing.assert_allclose(first.probability + second.probability, 1, atol=1e-5)


def test_pictures_are_limited_in_number(session):
    for _ in range(SUPPORTS - 2):
        session.add_support(picture(0)[0])
    with pytest.raises(FssegError, match=f"at most {SUPPORTS} supports are allowed"):
        session.add_support(picture(0)[0])
    for _ in range(QUERIES - 1):
        session.add_query(picture(0)[0])
    with pytest.raises(FssegError, match=f"at most {QUERIES} queries are allowed"):
        session.add_query(picture(0)[0])


def test_a_segmenter_that_has_learnt_begins_with_its_classes(segmenter):
    known = Segmenter(segmenter.method, size=SIZE, device="cpu")
    known.learn(picture(0)[0].image, picture(0)[1], "cat")
    session = begun(known)
    session.add_query(picture(40)[0])
    assert session.names[:2] == ["cat", "class 2"]
    np.testing.assert_array_equal(session.result().mask, known.segment(picture(40)[0].image))
    session.add_support(picture(20)[0])
    paint(session, session.support, picture(20)[1])
    assert len(known.known[0].showing(1)) == 1
    assert len(session.segmenter.known[0].showing(1)) == 2
    known.learn([picture(0)[0].image] * 6, [picture(0)[1]] * 6, "dog")
    for name in "abcde":
        known.learn(picture(0)[0].image, picture(0)[1], name)
    with pytest.raises(FssegError, match="knows 7 classes; the page has colours for 6"):
        begun(known)


def test_names_are_text_and_shown_as_such(session):
    paint(session, 1, picture(0)[1])
    session.classes.rename(["<b>cat</b>\n", "", *"cdef"])
    assert session.names[:2] == ["<b>cat</b>", "class 2"]
    page = html.result(session, session.result())
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert "<b>cat</b>" not in page
    for wrong in (None, ["a"], [1] * 6, {"a": 1}):
        with pytest.raises(FssegError, match="6 names"):
            session.classes.rename(wrong)


@pytest.mark.parametrize("number", [0, 99, None, "1", -1, [1], float("nan")])
def test_numbers_that_nobody_gave_are_refused(session, number):
    for act in (session.choose_support, session.choose_query, session.remove_support, session.remove_query):
        with pytest.raises(FssegError, match="not here any more"):
            act(number)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes whose header promises many pixels."""
    header = chunk(b"IHDR", width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def png(labels: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(labels).save(file, "PNG")
    return file.getvalue()


def test_a_layer_comes_back_as_it_was_sent():
    layer = np.random.default_rng(0).integers(0, BACK + 1, (20, 30), dtype=np.uint8)
    np.testing.assert_array_equal(read_layer(drawing.layer(layer), (20, 30)), layer)
    assert painted(layer) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (None, "did not arrive"),
        (float("nan"), "did not arrive"),
        (["a"], "did not arrive"),
        ("file:///etc/passwd", "did not arrive"),
        ("data:image/png;base64," + "A" * 5_000_000, "did not arrive"),
        ("data:image/png;base64,@@@", "no complete PNG"),
        (url(b"GIF89a"), "no complete PNG"),
        (url(bomb(20_000, 20_000)), "no complete PNG"),
        (url(png(np.zeros((20, 30), np.uint8))[:40]), "no complete PNG"),
        (url(png(np.zeros((30, 20), np.uint8))), "is 20x30, its image 30x20"),
        (url(png(np.full((20, 30), 200, np.uint8))), "holds the value 200"),
    ],
)
def test_layers_that_are_none_are_refused(sent, said):
    with pytest.raises(FssegError, match=said):
        read_layer(sent, (20, 30))


def test_ways_that_are_none_are_refused():
    assert way_of("box") == "box"
    for wrong in (None, "", "Mask", 3, ["mask"]):
        with pytest.raises(FssegError, match="no way"):
            way_of(wrong)


def test_large_pictures_are_worked_on_smaller_and_their_masks_given_back_at_their_size():
    file = io.BytesIO()
    PIL.Image.new("RGB", (3000, 1500), "red").save(file, "PNG")
    read = read_picture(file.getvalue(), Limits(), "large.png")
    assert read.image.shape == (SIDE // 2, SIDE, 3)
    assert read.size == (1500, 3000)
    with PIL.Image.open(io.BytesIO(drawing.mask_file(np.ones((512, 1024), np.uint8), read.size))) as picture:
        assert picture.size == (3000, 1500)
        assert picture.mode == "P"
        assert set(np.unique(picture)) == {1}
    assert fitted(np.zeros((4000, 10, 3), np.uint8)).shape == (SIDE, 8, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (bomb(20_000, 20_000), "cannot be decoded"),
        (bomb(8_000, 6_000), "has 8000x6000 pixels; at most 40 million are allowed"),
        (bomb(4, 4), "has 4x4 pixels; each side needs at least 8"),
        (bomb(40, 40), "cannot be decoded"),
        (b"", "cannot be decoded"),
        (b"some text", "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "cannot be decoded"),
        (bytes(21 * 2**20), r"has 21.0 MB; at most 20 MB are allowed"),
    ],
)
def test_pictures_that_are_none_are_refused_by_their_sender_s_name(data, said):
    with pytest.raises(FssegError, match=f"photo.png.* {said}"):
        read_picture(data, Limits(), "/home/me/photo.png")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("..", "picture"),
        ("", "picture"),
        ("a\x1b[31m\n.png", "a\\x1b[31m .png"),
        ("x" * 300 + ".png", "x" * 56 + ".png"),
    ],
)
def test_names_of_files_are_names(name, shown):
    assert file_name(name) == shown


def test_downloads_are_named_after_their_queries():
    assert drawing.mask_name("cat.v2.jpg") == "cat.v2_mask.png"
    data = drawing.archive([("a_mask.png", b"1"), ("a_mask.png", b"2")])
    packed = base64.b64decode(data.partition(",")[2])
    assert b"a_mask.png" in packed
    assert b"a_mask-2.png" in packed


def test_overlays_show_each_class_in_its_colour():
    mask = np.zeros((40, 40), np.uint8)
    mask[5:25, 5:25] = 3
    data = base64.b64decode(drawing.overlay(mask).partition(",")[2])
    with PIL.Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    assert pixels[0, 0, 3] == 0
    assert tuple(pixels[15, 15, :3]) == (204, 121, 167)
    assert 0 < pixels[15, 15, 3] < 255
    assert tuple(pixels[5, 15]) == (204, 121, 167, 255)
    assert tuple(pixels[4, 15]) == (255, 255, 255, 255)
