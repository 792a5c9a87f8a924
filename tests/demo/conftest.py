"""The page in this process and as a command; and a client without a browser, which can send false requests."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pytest
import torch

from fsseg.encoders import ConvNet
from fsseg.methods import PANet
from fsseg.segmenter import Segmenter
from tests.conftest import needs

ROOT = Path(__file__).parents[2]
TAPS, SIZE, MEGABYTES = "features.4", 64, 1
SECONDS = 30  # after which a request that is not answered has failed


class Server(NamedTuple):
    address: str
    process: subprocess.Popen
    said: str
    weights: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`fsseg demo` on a free port, with a small encoder of known weights."""
    needs("starlette", "demo")
    from torchvision.models import squeezenet1_0

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("demo")
    torch.save(squeezenet1_0(weights=None).state_dict(), folder / "weights.pth")
    encoder = "--model.method.encoder"
    options = ["--model.method", "PANet", "--no_refine",
               encoder, "Torchvision", f"{encoder}.architecture", "squeezenet1_0", f"{encoder}.taps=[{TAPS}]",
               f"{encoder}.weights", str(folder / "weights.pth"),
               "--size", str(SIZE), "--device", "cpu", "--port", "0", "--max_mb", str(MEGABYTES)]  # fmt: skip
    with started(folder, "-m", "fsseg", "demo", *options) as (process, said):
        yield Server(re.search(r"http://127\.0\.0\.1:\d+", said)[0], process, said, folder / "weights.pth")
        process.terminate()
        assert process.wait(20) == 143
    assert {path.name for path in folder.iterdir()} == {"weights.pth", "err.txt"}, "what was sent stays behind"
    said = (folder / "err.txt").read_text()
    assert "Traceback" not in said, said
    assert said.splitlines()[-1] == "fsseg: stopped. The signal was SIGTERM."


class started:  # noqa: N801 - a context manager
    """A process that serves a page, after it has printed the address."""

    def __init__(self, folder: Path, *command: str) -> None:
        self._errors = folder / "err.txt"
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TMPDIR": str(folder)}
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-u", *command],
                cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

    def __enter__(self) -> tuple[subprocess.Popen, str]:
        said = ""
        for line in self._process.stdout or ():
            said += line
            if "http://" in line:
                return self._process, said
        raise AssertionError(said + self._errors.read_text())

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def said(self) -> dict[str, Any]:
        """What the answer lets the page show."""
        return json.loads(self.body)


async def asking(
    app: Any, method: str, target: str, body: bytes | list[bytes] = b"", headers: dict[str, str] | None = None
) -> Answer:
    """A request, as uvicorn passes it on; a body in parts has no known length."""
    parts = list(body) if isinstance(body, list) else [body]
    sent: list[dict[str, Any]] = []
    known = {"host": "127.0.0.1:7860", **({} if isinstance(body, list) else {"content-length": str(len(body))})}
    path, _, query = target.partition("?")
    raw = [(name.lower().encode(), value.encode()) for name, value in {**known, **(headers or {})}.items()]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
             "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
             "headers": raw, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 7860)}  # fmt: skip

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.sleep(SECONDS)  # nothing more comes
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await asyncio.wait_for(app(scope, receive, send), SECONDS)
    said = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:]), said)


def ask(app: Any, method: str, target: str, body: bytes | list[bytes] = b"", **headers: str) -> Answer:
    return asyncio.run(asking(app, method, target, body, {n.replace("_", "-"): v for n, v in headers.items()}))


class Visitor:
    """Sends requests to an application like the page."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.key = ask(app, "POST", "/session").said["key"]

    def post(self, target: str, body: bytes = b"") -> Answer:
        return ask(self.app, "POST", target, body, x_session=self.key)

    def drop(self, where: str, name: str, data: bytes) -> dict[str, Any]:
        """Drop an image file; what the page shows then."""
        return self.post(f"/pictures/{where}?name={quote(name)}", data).said

    def cause(self, event: str, sent: Any = None) -> dict[str, Any]:
        """Cause an event; what the page shows after it."""
        return self.post(f"/events/{event}", json.dumps(sent).encode()).said

    def leave(self) -> None:
        assert ask(self.app, "POST", "/leave", self.key.encode()).status == 204


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(PANet(ConvNet(widths=(8, 8), strides=(2, 2))), size=48, device="cpu")


@pytest.fixture(scope="session")
def app(segmenter: Segmenter) -> Iterator[Any]:
    """The page without a network."""
    needs("starlette", "demo")
    from fsseg.demo.page import Page
    from fsseg.demo.pictures import Limits
    from fsseg.demo.server import application
    from fsseg.demo.sessions import Sessions

    limits = Limits(megabytes=MEGABYTES)
    page = Page(Sessions(segmenter), limits, "PANet")
    yield application(page, limits, "127.0.0.1")
    assert not page.close(), "work is still under way"


@pytest.fixture
def visitor(app: Any) -> Iterator[Visitor]:
    made = Visitor(app)
    yield made
    made.leave()
