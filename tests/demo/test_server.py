"""The page over real connections: slow and silent ones end, memory is bounded, and the command can be stopped."""

import io
import json
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fsseg.demo.guard import LOOPBACK, Guard
from tests.conftest import needs
from tests.demo.conftest import Server, started
from tests.demo.test_session import png, url

pytestmark = pytest.mark.skipif(find_spec("uvicorn") is None, reason="needs fsseg[demo]: uvicorn is not installed")


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def head(length: int, target: str = "/events/a", **headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """The guard and the connections of the page in this process, with little patience; answers are 8 MB."""
    uvicorn = needs("uvicorn", "demo")
    from fsseg.demo import connections

    monkeypatch.setattr(connections, "_SECONDS", 0.2)
    monkeypatch.setattr(connections, "CONNECTIONS", 8)

    async def large(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(8_000_000)})

    config = uvicorn.Config(
        Guard(large, 1000, LOOPBACK, patience=0.3), http=connections.Connection, lifespan="off", log_level="critical"
    )
    made = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=made.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", made
        made.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def quick(running: tuple[str, Any]) -> str:
    return running[0]


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ", head(9, "/none", Host="b")]
)
@pytest.mark.slow
def test_connections_that_ask_for_nothing_are_closed(quick, sent):
    with connected(quick) as one:
        one.sendall(sent)
        with suppress(ConnectionResetError):
            while one.recv(100_000):
                pass


def test_bodies_that_never_come_are_answered(quick):
    with connected(quick) as one:
        one.sendall(head(900) + b"some")
        assert one.recv(1000).startswith(b"HTTP/1.1 408")


def test_answers_that_nobody_reads_are_dropped(running):
    address, server = running
    with ExitStack() as opened:
        for _ in range(3):
            one = opened.enter_context(connected(address))
            one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert one.recv(4) == b"HTTP"
        assert len(server.server_state.connections) == 3
        end = time.monotonic() + 20
        while server.server_state.connections and time.monotonic() < end:
            time.sleep(0.05)
        assert not server.server_state.connections


def test_connections_are_few(quick):
    with ExitStack() as opened:
        every = [opened.enter_context(connected(quick)) for _ in range(40)]
        time.sleep(0.1)
        ended = 0
        for one in every:
            one.settimeout(0.01)
            with suppress(TimeoutError):
                try:
                    ended += one.recv(1) == b""
                except ConnectionResetError:
                    ended += 1
        assert ended >= 40 - 2 * 8
    with urllib.request.urlopen(quick, timeout=20) as answer:  # others are served then
        assert len(answer.read()) == 8_000_000


def memory(process: Any, kind: str = "VmRSS") -> float:
    """MB of a process now; or its most, by ``VmHWM``."""
    return int(re.search(rf"{kind}:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) / 1024


def post(address: str, target: str, body: bytes, key: str) -> bytes:
    request = urllib.request.Request(address + target, body, {"X-Session": key})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


@pytest.mark.slow
def test_three_hundred_events_stay_within_a_bound(server: Server):
    """The first visitor's memory is not counted: late imports of an unused server are no growth."""
    with ExitStack() as opened:
        visit(server.address, 4, 20, opened)
    began = memory(server.process)
    with ExitStack() as opened:
        events = sum(visit(server.address, visitor, 75, opened) for visitor in range(4))
    most, now = memory(server.process, "VmHWM") - began, memory(server.process) - began
    print(f"{events} events: {began:.0f} MB before, {most:.0f} MB more at most, {now:.0f} MB more afterwards")
    assert events == 300
    assert most < 120  # a visitor's images are 32 MB; all that were sent, 190 MB; all answers, more
    assert now < 80


def visit(address: str, visitor: int, events: int, opened: ExitStack) -> int:
    """Send as many images as one may, paint, read half of the answers, and leave; how many events there were."""
    layer = json.dumps({"number": 1, "way": "mask", "layer": url(png(np.eye(512, dtype=np.uint8)))}).encode()
    key = json.loads(post(address, "/session", b"", ""))["key"]
    for number in range(events):
        where = "queries" if number % 3 else "supports"
        target, body = (f"/pictures/{where}?name=a.jpg", noise(100 * visitor + number))
        if number % 5 == 4:
            target, body = "/events/stroke", layer
        if number % 2:
            one = opened.enter_context(connected(address))
            one.sendall(head(len(body), target, **{"X-Session": key}) + body)
            one.recv(1)  # the answer is there; the rest stays unread
        else:
            post(address, target, body, key)
    post(address, "/leave", key.encode(), key)
    return events


def noise(number: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
    PIL.Image.fromarray(pixels).resize((512, 512)).save(file, "JPEG")
    return file.getvalue()


HANGING = """
import threading, torch
from fsseg.demo import page, server, sessions
from fsseg.demo.pictures import Limits
from fsseg.encoders import ConvNet
from fsseg.methods import PANet
from fsseg.segmenter import Segmenter
page.STEPS["maps"] = (lambda *_: threading.Event().wait(), False)
made = Segmenter(PANet(ConvNet(widths=(8, 8), strides=(2, 2))), size=48, device="cpu")
with server.listening("127.0.0.1", 0) as bound:
    server.serve(bound, sessions.Sessions(made), Limits(), "PANet")
"""


@pytest.mark.slow
def test_the_command_ends_on_sigterm_although_an_event_hangs(tmp_path):
    with started(tmp_path, "-c", HANGING) as (process, said), ExitStack() as opened:
        address = re.search(r"http://\S+", said)[0]
        key = json.loads(post(address, "/session", b"", ""))["key"]
        for sent in (head(2, "/events/maps", **{"X-Session": key}) + b"{}", head(900) + b"some", b"GET / HT", b""):
            opened.enter_context(connected(address)).sendall(sent)
        time.sleep(0.5)
        with urllib.request.urlopen(address, timeout=20) as answer:  # others are served meanwhile
            assert answer.status == 200
        other = json.loads(post(address, "/session", b"", ""))["key"]
        assert json.loads(post(address, "/events/example", b"{}", other))["painter"]["selected"]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert time.monotonic() - began < 15
    assert (tmp_path / "err.txt").read_text() == ""
