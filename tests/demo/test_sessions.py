"""Sessions of several visitors: separate, and limited in number, memory and time."""

import asyncio
import gc
import re
import weakref

import numpy as np
import pytest

from fsseg.demo import sessions as module
from fsseg.demo.pictures import Picture
from fsseg.demo.sessions import IDLE, SPARE, PageFullError, SessionEndedError, Sessions, memory
from tests.demo.conftest import Visitor, ask, asking
from tests.demo.test_attacks import photo
from tests.demo.test_session import paint, picture


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_sessions_share_the_method_and_nothing_else(segmenter):
    sessions = Sessions(segmenter)
    one, other = (sessions.visit(sessions.open()).session for _ in range(2))
    assert one.segmenter.method is other.segmenter.method
    for session in (one, other):
        session.add_support(picture(0)[0])
        session.add_query(picture(40)[0])
    paint(one, 1, picture(0)[1])
    assert other.known_labels == []
    assert segmenter.classes == ()
    assert other.result() is None


def test_keys_cannot_be_guessed_and_end_with_their_session(segmenter):
    sessions = Sessions(segmenter)
    keys = {sessions.open() for _ in range(5)}
    assert len(keys) == 5
    assert all(re.fullmatch(r"[\w-]{43}", key) for key in keys)  # 32 random bytes
    key = keys.pop()
    session = sessions.visit(key).session
    assert sessions.visit(key).session is session
    sessions.end(key)
    for wrong in (key, "", key[:-1], "somebody"):
        with pytest.raises(SessionEndedError, match="Reload the page"):
            sessions.visit(wrong)
    assert len(sessions) == 4


def test_idle_sessions_end(segmenter, clock):
    sessions = Sessions(segmenter, clock)
    first, second = sessions.open(), sessions.open()
    clock.now += IDLE - 1
    sessions.visit(second)
    working = sessions.visit(first)
    working.requests = 1  # under way
    clock.now += IDLE
    sessions.end_idle()
    assert len(sessions) == 1
    working.requests = 0
    sessions.end_idle()
    assert len(sessions) == 0


def test_a_full_page_ends_no_session_that_is_in_use(segmenter, clock, monkeypatch):
    monkeypatch.setattr(module, "SESSIONS", 3)
    sessions = Sessions(segmenter, clock)
    keys = []
    for _ in range(3):
        keys.append(sessions.open())
        clock.now += 1
    with pytest.raises(PageFullError, match="too many visitors"):
        sessions.open()
    clock.now += SPARE
    sessions.visit(keys[0])
    sessions.open()
    assert len(sessions) == 3
    sessions.visit(keys[0])
    with pytest.raises(SessionEndedError):
        sessions.visit(keys[1])  # idle for longest


@pytest.mark.slow
def test_all_sessions_have_a_budget_of_bytes(segmenter, clock, monkeypatch):
    sessions = Sessions(segmenter, clock)
    keys = [sessions.open() for _ in range(2)]
    session = sessions.visit(keys[0]).session
    assert memory(session) == 0
    session.add_query(Picture("a.png", np.zeros((100, 50, 3), np.uint8), (100, 50)))
    assert memory(session) == 15_000
    session.add_support(picture(0)[0])
    assert memory(session) == 15_000 + 96 * 96 * 4
    paint(session, session.support, picture(0)[1])
    maps = segmenter.feature(picture(0)[0].image)
    assert memory(session) - 15_000 - 96 * 96 * 4 >= sum(one.nbytes for one in maps) + 48 * 48
    monkeypatch.setattr(module, "BYTES", memory(session) + 100)
    sessions.make_room(100)
    with pytest.raises(PageFullError, match="too many visitors"):
        sessions.make_room(101)
    clock.now += SPARE
    sessions.visit(keys[1])
    sessions.make_room(101)
    assert len(sessions) == 1


def test_a_picture_that_no_memory_is_left_for_is_a_line(visitor, monkeypatch):
    monkeypatch.setattr(module, "BYTES", 4_000_000)
    answer = visitor.drop("supports", "a.png", photo())
    assert "too many visitors" in answer["message"]
    assert answer["supports"] == []


def test_no_place_is_a_line(app, monkeypatch):
    monkeypatch.setattr(module, "SESSIONS", 0)
    answer = ask(app, "POST", "/session")
    assert (answer.status, answer.body) == (503, module._FULL.encode())


def test_drops_at_the_same_time_keep_every_image(app):
    """A drop of one visitor does not cancel the upload of another visitor."""
    visitors = [Visitor(app) for _ in range(4)]

    async def slowly(visitor: Visitor, number: int) -> dict:
        data = photo(number=number)
        target = f"/pictures/queries?name={number}.png"
        parts = [data[:50], data[50:]]
        return (await asking(app, "POST", target, parts, {"x-session": visitor.key})).said

    async def every() -> list[dict]:
        return await asyncio.gather(*(slowly(visitor, n) for n in range(3) for visitor in visitors))

    said = asyncio.run(every())
    assert [one["message"] for one in said] == [""] * 12
    for visitor in visitors:
        shown = visitor.cause("maps")["queries"]["all"]
        assert {one["name"] for one in shown} == {"0.png", "1.png", "2.png"}
        visitor.leave()


def test_a_visitor_s_requests_wait_for_each_other_and_are_few(app, visitor):
    async def every() -> list[int]:
        body, headers = b'{"number": 1}', {"x-session": visitor.key}
        asked = (asking(app, "POST", "/events/choose", body, headers) for _ in range(20))
        return [answer.status for answer in await asyncio.gather(*asked)]

    assert sorted(asyncio.run(every())) == [200] * 4 + [429] * 16
    assert visitor.post("/events/choose").status == 200


@pytest.mark.slow
def test_a_session_that_ended_is_freed(segmenter):
    sessions = Sessions(segmenter)
    key = sessions.open()
    session = sessions.visit(key).session
    session.add_support(picture(0)[0])
    paint(session, 1, picture(0)[1])
    gone = weakref.ref(session)
    del session
    sessions.end(key)
    gc.collect()
    assert gone() is None
