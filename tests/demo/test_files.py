"""No path that a request names is opened, looked at or fetched: the file system is watched meanwhile."""

import base64
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.demo.conftest import Visitor, ask
from tests.demo.test_attacks import photo

_AUDITED = {"open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "shutil.rmtree", "socket.connect",
            "socket.getaddrinfo", "subprocess.Popen", "os.posix_spawn", "os.system"}  # fmt: skip
_seen: list[tuple[str, str]] = []
_watching: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _AUDITED:
        _seen.append((event, str(arguments[0])))


@pytest.fixture(scope="module", autouse=True)
def hooked() -> None:
    sys.addaudithook(_hook)  # Python cannot remove the hook; it does nothing unless `watched` is active


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """All calls of this process to the file system and the network."""
    for name in ("stat", "lstat", "access", "readlink"):  # which Python does not audit
        real = getattr(os, name)

        def told(path: Any, *more: Any, real: Callable = real, name: str = name, **options: Any) -> Any:
            if _watching:
                _seen.append((name, str(path)))
            return real(path, *more, **options)

        monkeypatch.setattr(os, name, told)
    _seen.clear()
    _watching.append(True)
    yield _seen
    _watching.clear()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the machine with an image, links to it, a FIFO and a folder."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "there.png").write_bytes(photo())
    (folder / "link.png").symlink_to(folder / "there.png")
    (folder / "linked").symlink_to(folder)
    (folder / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo.png")
    before = Path.cwd()
    os.chdir(folder)  # relative names would be found
    yield folder
    os.chdir(before)


NAMES = [
    "{outside}/there.png", "there.png", "./there.png", "../{folder}/there.png", "{outside}/link.png",
    "{outside}/linked/there.png", "{outside}/fifo.png", "fifo.png", "{outside}/zero.png", "{outside}", "/dev/zero",
    "/dev/random", "/dev/stdin", "/proc/self/environ", "/proc/self/fd/0", "/proc/self/root{outside}/there.png",
    "/proc/self/cwd/there.png", "/etc/passwd", "../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "{quoted}", "file://{outside}/there.png", "file:there.png",
    "http://127.0.0.1:{port}/there.png", "//127.0.0.1:{port}/there.png", "ftp://127.0.0.1:{port}/a.png",
    "data:image/png;base64,{data}", "~/there.png", "C:\\there.png", "\\\\127.0.0.1\\there.png", "there.png\0.jpg",
]  # fmt: skip
# Routes of this page, and of Gradio.
ROUTES = [
    "/{name}", "//{name}", "/page.css/../{name}", "/page.css/{name}", "/static/{name}", "/assets/{name}",
    "/file={name}", "/file/{name}", "/gradio_api/file={name}", "/gradio_api/file/{name}", "/gradio_api/stream/{name}",
    "/gradio_api/proxy={name}", "/gradio_api/upload", "/gradio_api/upload?upload_id={name}", "/gradio_api/queue/join",
    "/gradio_api/queue/data?session_hash={name}", "/gradio_api/run/predict", "/gradio_api/call/upload",
    "/gradio_api/component_server", "/gradio_api/deep_link", "/gradio_api/custom_component/1/client/component/{name}",
    "/upload", "/run/predict", "/config", "/theme.css", "/monitoring", "/docs", "/openapi.json", "/session/{name}",
    "/leave/{name}", "/events/{name}", "/events/../{name}", "/pictures/{name}", "/pictures/supports/{name}",
]  # fmt: skip


def forged(name: str) -> dict[str, Any]:
    """An event's data that names a path wherever a path could be taken for one."""
    file = {"path": name, "url": name, "orig_name": name, "name": name, "meta": {"_type": "gradio.FileData"}}
    return {"number": name, "way": name, "layer": name, "names": [name] * 6, "path": name, "url": name, "file": file,
            "files": [file], "data": [[file]], "event_data": file, "fn_index": 0, "session_hash": name}  # fmt: skip


def requests(name: str) -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    """Requests that name a path: method, target, body, headers."""
    from fsseg.demo.page import STEPS

    body = json.dumps(forged(name)).encode()
    layer = "data:image/png;base64," + base64.b64encode(name.encode()).decode()
    for event in [*STEPS, "all", "upload", quote(name, safe="")]:
        yield "POST", f"/events/{event}", body, {}
    yield "POST", "/events/stroke", json.dumps({"number": 1, "way": "mask", "layer": name}).encode(), {}
    yield "POST", "/events/stroke", json.dumps({"number": 1, "way": "mask", "layer": layer}).encode(), {}
    for where in ("supports", "queries", quote(name, safe="")):
        for content in (b"", body, name.encode(), json.dumps([name]).encode()):
            yield "POST", f"/pictures/{where}?name={quote(name)}&path={quote(name)}", content, {}
    plain = name.replace("\0", "%00").encode().decode("latin-1")
    yield "POST", "/leave", name.encode(), {}
    yield "POST", "/session", body, {"x-path": plain}
    yield "POST", "/events/maps", b"{}", {"x-session": plain}
    for method in ("GET", "POST", "HEAD"):
        for route in ROUTES:
            yield method, route.format(name=quote(name, safe="/=:%")), body if method == "POST" else b"", {}


@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.slow
def test_no_path_that_a_request_names_is_opened(app, visitor, outside, watched, pattern):
    _watching.clear()
    support = visitor.drop("supports", "a.png", photo())["painter"]["selected"]
    visitor.cause("stroke", {"number": support, "way": "nothing", "layer": ""})
    visitor.cause("maps")  # loads late imports
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        data = base64.b64encode(photo(number=7)).decode()
        name = pattern.format(
            outside=outside, folder=outside.name, quoted=quote(f"{outside}/there.png", safe=""),
            port=listening.getsockname()[1], data=data,
        )  # fmt: skip
        _seen.clear()
        _watching.append(True)
        for method, target, body, headers in requests(name):
            answer = ask(app, method, target, body, **{"x-session": visitor.key, **headers})
            if answer.status == 200 and "/session" in target:
                ask(app, "POST", "/leave", answer.said["key"].encode())
            assert answer.status in (200, 204, 404, 405, 410), (method, target)
            assert b"root:" not in answer.body
            if target.startswith("/pictures") and answer.status == 200:
                assert answer.said["message"], target
                shown = {one["name"] for one in answer.said["supports"]}
                assert all(one == "a.png" or one.startswith("shapes-") for one in shown)  # the latter: the examples
        _watching.clear()
        assert watched == []
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("route", ROUTES)
def test_whether_a_file_exists_cannot_be_told(app, outside, route):
    there, missing = (f"{outside}/{name}.png" for name in ("there", "thera"))
    assert Path(there).exists()
    assert not Path(missing).exists()

    def said(name: str) -> list[tuple[str, int, bytes]]:
        visitor = Visitor(app)
        forgeries = [one for one in requests(name) if one[1] != "/session"] if route == ROUTES[0] else []
        asked = [("GET", route.format(name=name), b"", {}),
                 ("POST", route.format(name=name), json.dumps(forged(name)).encode(), {}), *forgeries]  # fmt: skip
        found = []
        for method, target, body, headers in asked:
            answer = ask(app, method, target, body, **{"x-session": visitor.key, **headers})
            found.append((f"{method} {target}".replace("thera", "there"), answer.status,
                          answer.body.replace(b"thera", b"there")))  # fmt: skip
        visitor.leave()
        return found

    assert said(there) == said(missing)


def test_files_of_the_machine_cannot_be_dropped(app, visitor, outside):
    """A true image: with the right to open it, it would be shown."""
    path = str(outside / "there.png")
    before = visitor.drop("supports", "mine.png", photo(number=3))["painter"]
    for body in (path.encode(), json.dumps(forged(path)).encode(), b""):
        answer = visitor.drop("supports", path, body)
        assert "there.png cannot be decoded" in answer["message"]
        assert answer["painter"] == before
    shown = visitor.drop("supports", path, Path(path).read_bytes())  # bytes of one's own, under any name
    assert shown["message"] == ""
    assert [one["name"] for one in shown["supports"]] == ["mine.png", "there.png"]


def test_a_session_s_images_are_its_own(app):
    one, other = Visitor(app), Visitor(app)
    number = one.drop("supports", "a.png", photo())["painter"]["selected"]
    query = one.drop("queries", "b.png", photo())
    assert "b_mask" not in query["result"]
    for event in ("choose", "remove", "stroke"):
        sent = {"number": number, "way": "nothing", "layer": ""}
        assert "not here any more" in other.cause(event, sent)["message"] or event == "stroke"
    assert "not here any more" in other.cause("pick", {"number": number + 1})["message"]
    assert "data:image/jpeg" not in other.cause("maps")["result"]
    other.leave()
    assert "data:image/jpeg" in one.cause("choose", {"number": number})["painter"]["picture"]
    one.leave()
    for visitor in (one, other):
        assert visitor.post("/events/maps").status == 410
        assert visitor.post("/pictures/supports?name=a.png", photo()).status == 410
