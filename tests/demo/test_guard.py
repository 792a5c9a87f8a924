"""What the guard lets pass, and how long and large a request may be."""

import asyncio
from typing import Any

import pytest

from fsseg.demo.guard import LOOPBACK, Guard
from tests.demo.conftest import Answer, ask, asking


async def reader(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An application that reads the whole body; on an error it answers 500 and raises again, like Starlette."""
    fault = None
    try:
        while (await receive()).get("more_body"):
            pass
    except Exception as error:
        fault = error
    await send({"type": "http.response.start", "status": 500 if fault else 200, "headers": []})
    await send({"type": "http.response.body", "body": b"read"})
    if fault:
        raise fault


def asked(target: str, headers: dict[str, str], length: int = 6_000_000, hosts: Any = LOOPBACK) -> Answer:
    parts: Any = [bytes(length // 6)] * 6
    return ask(Guard(reader, 7_000_000, hosts, patience=0.2), "POST", target, parts, **headers)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/pictures/supports", {"host": "127.0.0.1:7860"}, 200),
        ("/pictures/supports", {"host": "localhost"}, 200),
        ("/pictures/supports", {"host": "[::1]:7860"}, 200),
        ("/pictures/supports", {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860"}, 200),
        ("/pictures/supports", {"host": "127.0.0.1:7860", "origin": "http://evil.example"}, 403),
        ("/pictures/supports", {"host": "127.0.0.1:7860", "origin": "null"}, 403),
        ("/pictures/supports", {"host": "evil.example"}, 400),
        ("/pictures/supports", {"host": ""}, 400),
        ("/pictures/supports", {"content-length": "7000001"}, 413),
        ("/pictures/supports", {"content-length": "-1"}, 413),
        ("/events/stroke", {}, 413),
    ],
)
def test_the_guard_lets_pass_what_the_page_needs(path, headers, status):
    assert asked(path, headers).status == status


def test_a_page_for_others_may_be_called_by_any_name():
    assert asked("/pictures/supports", {"host": "my-machine:80"}, hosts=None).status == 200
    assert asked("/pictures/supports", {"host": "my-machine:80"}).status == 400


def test_a_whole_body_is_read():
    answer = ask(Guard(reader, 1000, LOOPBACK, patience=0.2), "POST", "/pictures/a", bytes(1000))
    assert (answer.status, answer.body) == (200, b"read")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.slow
def test_slow_bodies_end():
    """Each byte earns time; without further bytes the request ends, and its bytes are freed."""

    async def ended(rate: float, guard: Guard) -> tuple[int, float]:
        loop, sent = asyncio.get_running_loop(), []
        began = loop.time()

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": bytes(int(0.05 * rate)), "more_body": loop.time() < began + 0.6}

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        scope = {"type": "http", "path": "/pictures/a", "headers": [(b"host", b"localhost")]}
        await guard(scope, receive, send)
        return sent[0]["status"], loop.time() - began

    guard = Guard(reader, 10_000_000, LOOPBACK, patience=0.2)
    status, seconds = asyncio.run(ended(1000, guard))
    assert (status, seconds < 0.5) == (408, True)
    assert asyncio.run(ended(500_000, guard))[0] == 200
    assert guard._held == 0


def test_all_bodies_together_are_bounded(monkeypatch):
    monkeypatch.setattr("fsseg.demo.guard._BODIES", 10_000)

    async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    guard = Guard(slow, 4_000, LOOPBACK)

    async def every() -> list[int]:
        answers = (asking(guard, "POST", "/pictures/a", bytes(4_000)) for _ in range(4))
        return [answer.status for answer in await asyncio.gather(*answers)]

    assert sorted(asyncio.run(every())) == [200, 200, 503, 503]
    assert guard._held == 0
