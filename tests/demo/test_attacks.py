"""What strangers send to a running page: a line for each, and the page stays up."""

import io
import json
import socket
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.data.shapes import draw
from tests.demo.conftest import MEGABYTES, Visitor
from tests.demo.test_session import bomb, png, url

pytestmark = pytest.mark.slow


def photo(form: str = "PNG", size: int = 96, number: int = 0) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(draw(size, 0, number)[0]).save(file, form)
    return file.getvalue()


def text_bomb() -> bytes:
    """A PNG with 100 MB of compressed text before its pixels."""
    whole = photo()
    data = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    chunk = len(data).to_bytes(4) + b"zTXt" + data + zlib.crc32(b"zTXt" + data).to_bytes(4)
    return whole[:33] + chunk + whole[33:]


def wide() -> bytes:
    """20,000 x 20,000 pixels, all there, in 50 kB."""
    file = io.BytesIO()
    PIL.Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


def deep() -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros((20, 20), np.uint16)).save(file, "PNG")
    return file.getvalue()


def floating() -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((20, 20), np.nan, np.float32)).save(file, "TIFF")
    return file.getvalue()


BAD = {
    "20000x20000.png": (wide, "cannot be decoded"),
    "bomb.png": (lambda: bomb(60_000, 60_000), "cannot be decoded"),
    "wide.png": (lambda: bomb(8_000, 6_000), "has 8000x6000 pixels, 40 million are the most"),
    "text-bomb.png": (text_bomb, "cannot be decoded"),
    "text.jpg": (lambda: b"this is no picture", "cannot be decoded"),
    "truncated.jpg": (lambda: photo("JPEG", 200)[:3000], "cannot be decoded"),
    "empty.png": (lambda: b"", "cannot be decoded"),
    "figure.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "cannot be decoded"),
    "drawing.svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "cannot be decoded"),
    "depth.png": (deep, "8 bits a channel are needed"),
    "nan.tiff": (floating, "8 bits a channel are needed"),
    "small.png": (lambda: bomb(4, 4), "8 a side are needed"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("where", ["supports", "queries"])
def test_what_is_no_picture_is_a_line_and_the_page_stays_up(visitor, server, where, name):
    make, said = BAD[name]
    answer = visitor.drop(where, name, make())
    assert name in answer
    assert said in answer
    assert "/tmp" not in answer
    assert server.process.poll() is None
    assert "data:image/jpeg" in visitor.drop(where, "good.png", photo())


@pytest.mark.parametrize("form", ["GIF", "JPEG", "WEBP", "BMP"])
def test_other_formats_of_pictures_are_taken(visitor, form):
    assert "data:image/jpeg" in visitor.drop("supports", f"a.{form.lower()}", photo(form))


def test_large_files_are_refused_by_the_server(visitor, server):
    code, said = visitor.upload("large.png", bytes(MEGABYTES * 2**20 + 1))
    assert code == 413, said
    left, body = socket.create_connection(server.address.removeprefix("http://").split(":")), bytes(100_000)
    with left:  # a request that does not say how long it is
        left.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):  # it hangs up
            for _ in range(80):
                left.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        left.settimeout(20)
        with suppress(ConnectionResetError):
            assert left.recv(1000).split()[1] in (b"413", b"400")
    assert visitor.get("/")[0] == 200


@pytest.mark.parametrize("name", ["../../../escape.png", "/etc/escape.png", "..\\..\\escape.png", "C:\\escape.png"])
def test_names_lead_nowhere(visitor, server, name):
    answer = visitor.drop("supports", name, photo())
    assert "data:image/jpeg" in answer
    assert not list(server.weights.parent.parent.rglob("*escape*"))
    assert not Path("/etc/escape.png").exists()


def test_names_are_text(visitor):
    answer = json.loads(visitor.drop("queries", "<img src=x onerror=alert(1)>.png", photo()))
    page = json.dumps(answer["data"][2])
    assert "data:image/jpeg" in page
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../../../etc/passwd", "http://127.0.0.1:1/a", "https://example.com/a.png"]
)
def test_files_of_the_machine_cannot_be_dropped(visitor, path):
    answer = visitor.drop_path("supports", path, url=path)
    assert "root:" not in answer
    assert "data:image/jpeg" not in answer
    assert "only pictures that were sent" in answer or "://" not in path
    assert Path("/etc/passwd").exists()
    assert "data:image/jpeg" in visitor.drop("supports", "good.png", photo())


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../../../etc/passwd",
        "/gradio_api/file%3D/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "//file=/etc/passwd",
        "/gradio_api/./file=/etc/passwd",
        "/gradio_api/queue/../file=/etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/assets/../../../../../../../etc/passwd",
        "/static//etc/passwd",
        "/svelte/../../../../../../etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/custom_component/1/client/component/..%2f..%2f..%2fetc%2fpasswd",
        "/monitoring",
        "/gradio_api/openapi.json",
    ],
)
def test_no_file_of_the_machine_is_served(visitor, path):
    code, said = visitor.get(path)
    assert code in (403, 404)
    assert "root:" not in said


def test_what_was_sent_is_not_served_either(visitor, server):
    _, (path,) = visitor.upload("mine.png", photo())
    assert visitor.get(f"/gradio_api/file={path}")[0] == 404
    Path(path).unlink()


def test_other_names_and_other_pages_are_refused(visitor):
    assert visitor.get("/", Host="evil.example")[0] == 400
    assert visitor.get("/config", Origin="http://evil.example")[0] == 403


def support_number(answer: str) -> int:
    return json.loads(answer)["data"][1]["value"]["selected"]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (None, "did not arrive"),
        (float("nan"), "did not arrive"),
        ("file:///etc/passwd", "did not arrive"),
        (url(photo()[:90]), "no whole PNG"),
        (url(bomb(20_000, 20_000)), "no whole PNG"),
        (url(png(np.zeros((40, 50), np.uint8))), "is 50x40, its picture 96x96"),
        (url(png(np.full((96, 96), 99, np.uint8))), "holds the value 99"),
        (url(png(np.zeros((96, 96), np.uint8))), "Paint an object."),
        (url(png(np.ones((96, 96), np.uint8))), "Leave some background"),
    ],
)
def test_what_is_no_layer_is_a_line(visitor, layer, said):
    number = support_number(visitor.drop("supports", "a.png", photo()))
    answer = visitor.call("painter", "stroke", sent={"number": number, "layer": layer, "way": "mask"})
    assert said in answer


@pytest.mark.parametrize("sent", [None, [], "a", {}, {"number": 1}, {"number": 10**30, "way": "mask"}, {"names": "a"}])
@pytest.mark.parametrize("event", ["stroke", "choose", "remove", "rename"])
def test_events_that_make_no_sense_are_a_line(visitor, event, sent):
    answer = json.loads(visitor.call("painter", event, sent=sent))
    assert "message error" in answer["data"][0], answer


def test_what_one_visitor_drops_another_does_not_see(server):
    one, other = Visitor(server.address), Visitor(server.address)
    number = support_number(one.drop("supports", "a.png", photo()))
    assert "not here any more" in other.call("painter", "choose", sent={"number": number})
    assert "data:image/jpeg" not in other.call("result", "maps", sent={})
