"""Untrusted requests to the page: each gets a one-line answer, and the page keeps running."""

import io
import json
import zlib

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets.shapes import draw
from tests.demo.conftest import MEGABYTES, ask
from tests.demo.test_session import bomb, chunk, png, url


def photo(form: str = "PNG", size: int = 96, number: int = 0) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(draw(size, 0, number)[0]).save(file, form)
    return file.getvalue()


def text_bomb() -> bytes:
    """A PNG with 100 MB of compressed text before its pixels."""
    whole = photo()
    data = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 1)
    return whole[:33] + chunk(b"zTXt", data) + whole[33:]


def wide() -> bytes:
    """20,000 x 20,000 pixels of a bit, all there, in 50 kB."""
    header = chunk(b"IHDR", 2 * (20_000).to_bytes(4) + bytes([1, 0, 0, 0, 0]))
    pixels = chunk(b"IDAT", zlib.compress(bytes(20_000 * (1 + 20_000 // 8))))
    return photo()[:8] + header + pixels + chunk(b"IEND", b"")


def floating() -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((20, 20), np.nan, np.float32)).save(file, "TIFF")
    return file.getvalue()


BAD = {
    "20000x20000.png": (wide, "cannot be decoded"),
    "bomb.png": (lambda: bomb(60_000, 60_000), "cannot be decoded"),
    "wide.png": (lambda: bomb(8_000, 6_000), "has 8000x6000 pixels; at most 40 million are allowed"),
    "text-bomb.png": (text_bomb, "cannot be decoded"),
    "text.jpg": (lambda: b"this is no picture", "cannot be decoded"),
    "truncated.jpg": (lambda: photo("JPEG", 200)[:3000], "cannot be decoded"),
    "empty.png": (lambda: b"", "cannot be decoded"),
    "figure.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "cannot be decoded"),
    "drawing.svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "cannot be decoded"),
    "nan.tiff": (floating, "8 bits a channel are needed"),
    "small.png": (lambda: bomb(4, 4), "each side needs at least 8"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_a_line_and_the_page_stays_up(visitor, name):
    make, said = BAD[name]
    data = make()
    for where in ("supports", "queries"):
        answer = visitor.drop(where, name, data)
        assert answer["message"].removeprefix("image ").startswith(name)
        assert said in answer["message"]
        assert "fsseg.demo" not in answer["message"]
        assert "data:image/jpeg" in json.dumps(visitor.drop(where, "good.png", photo()))


@pytest.mark.parametrize("form", ["GIF", "JPEG", "WEBP", "BMP"])
def test_other_formats_of_pictures_are_taken(visitor, form):
    answer = visitor.drop("supports", f"a.{form.lower()}", photo(form))
    assert answer["message"] == ""
    assert answer["painter"]["picture"].startswith("data:image/jpeg")


def test_large_files_are_refused(visitor):
    limit, target = MEGABYTES * 2**20, "/pictures/supports?name=a.png"
    assert visitor.post(target, bytes(limit + 1)).status == 413
    parts = [bytes(100_000)] * 80  # a request without a content length
    assert ask(visitor.app, "POST", target, parts, x_session=visitor.key).status == 413
    assert ask(visitor.app, "POST", "/events/stroke", parts, x_session=visitor.key).status == 413
    assert ask(visitor.app, "GET", "/").status == 200


@pytest.mark.parametrize("name", ["../../../escape.png", "/etc/escape.png", "..\\..\\escape.png", "C:\\escape.png"])
def test_names_are_shown_without_folders(visitor, name):
    assert visitor.drop("supports", name, photo())["supports"][0]["name"] == "escape.png"


def test_names_are_text(visitor):
    result = visitor.drop("queries", "<img src=x onerror=alert(1)>.png", photo())["result"]
    assert "data:image/jpeg" in result
    assert "<img src=x" not in result


def test_other_names_and_other_pages_are_refused(app, visitor):
    assert ask(app, "GET", "/", host="evil.example").status == 400
    assert ask(app, "POST", "/session", origin="http://evil.example").status == 403
    assert ask(app, "POST", "/leave", visitor.key.encode(), origin="null").status == 403
    assert "default-src 'none'" in ask(app, "GET", "/").headers["content-security-policy"]
    assert ask(app, "POST", "/events/maps").status == 410
    assert ask(app, "POST", "/events/maps", x_session=visitor.key[:-1]).status == 410


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (None, "did not arrive"),
        (float("nan"), "did not arrive"),
        ("file:///etc/passwd", "did not arrive"),
        (url(photo()[:90]), "no complete PNG"),
        (url(bomb(20_000, 20_000)), "no complete PNG"),
        (url(png(np.zeros((40, 50), np.uint8))), "is 50x40, its image 96x96"),
        (url(png(np.full((96, 96), 99, np.uint8))), "holds the value 99"),
        (url(png(np.zeros((96, 96), np.uint8))), "Paint an object."),
        (url(png(np.ones((96, 96), np.uint8))), "Leave some background"),
    ],
)
def test_what_is_no_layer_is_a_line(visitor, layer, said):
    number = visitor.drop("supports", "a.png", photo())["painter"]["selected"]
    answer = visitor.cause("stroke", {"number": number, "layer": layer, "way": "mask"})
    assert said in answer["message"] + answer["hint"]


@pytest.mark.parametrize("sent", [None, [], "a", {}, {"number": 1}, {"number": 10**30, "way": "mask"}, {"names": "a"}])
@pytest.mark.parametrize("event", ["stroke", "choose", "remove", "rename", "pick", "drop"])
def test_events_that_make_no_sense_are_a_line(visitor, event, sent):
    assert visitor.cause(event, sent)["message"]


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[" * 100_000, b'{"number": ' + b"9" * 5000 + b"}"])
def test_bodies_that_are_no_json_are_a_line(visitor, body):
    assert "not here any more" in visitor.post("/events/choose", body).said["message"]


def test_faults_of_the_code_are_a_line(visitor, monkeypatch, capsys):
    from fsseg.demo import page

    def fail(*_):
        raise RuntimeError("a fault")

    monkeypatch.setitem(page.STEPS, "maps", (fail, False))
    answer = visitor.post("/events/maps")
    assert (answer.status, answer.body) == (500, page._BROKEN.encode())
    assert "RuntimeError: a fault" in capsys.readouterr().err
    monkeypatch.undo()
    assert visitor.cause("maps")["message"] == ""
