"""Routes of the page. No request can open a file: it sends only bytes, numbers and names."""

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fsseg.datasets.shapes import draw
from fsseg.demo import drawing, html
from fsseg.demo.painting import read_layer, way_of
from fsseg.demo.pictures import SIDE, Limits, Picture, read_picture
from fsseg.demo.session import Session
from fsseg.demo.sessions import PageFullError, SessionEndedError, Sessions, Visit
from fsseg.errors import FssegError

# Changes the session by an event and the data that the browser sends with it.
Step = Callable[[Session, dict[str, Any]], None]

_WORKERS = 2  # events that are processed at a time
_WAITING = 4  # most requests of one visitor at a time; the page itself sends one at a time
_IMAGE = 4 * SIDE * SIDE  # most bytes of an image and its painted layer
_SHAPES = 256  # side of an example in pixels
# Numbers of built-in images with a plain disc and a striped star: supports, queries.
_EXAMPLES = ((1202, 1288), (1340, 1402))
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_STATIC = {
    name: (Path(__file__).parent / name).read_bytes() for name in ("page.css", "page.js", "painter.js", "result.js")
}
_BROKEN = "an error occurred. The terminal of fsseg demo shows the reason."


class Page:
    """Answers requests; the requests of one visitor are answered in order.

    Args:
        sessions: Sessions of all visitors.
        limits: Limits of uploaded images.
        about: One line about the method.
        note: A note about the method, e.g. that it is untrained.
    """

    def __init__(self, sessions: Sessions, limits: Limits, about: str, note: str = "") -> None:
        self.sessions, self._limits = sessions, limits
        self._page = html.page(limits, about, note).encode()
        self._workers = ThreadPoolExecutor(_WORKERS, "page")
        self._under_way = set[Future[bytes]]()

    @property
    def routes(self) -> list[Route]:
        """All routes."""
        static = [Route(f"/{name}", _serving(data, _TYPES[Path(name).suffix])) for name, data in _STATIC.items()]
        return [
            Route("/", _serving(self._page, "text/html")),
            *static,
            Route("/session", self.open, methods=["POST"]),
            Route("/leave", self.leave, methods=["POST"]),
            Route("/events/{name}", self.event, methods=["POST"]),
            Route("/pictures/{where}", self.picture, methods=["POST"]),
        ]

    def close(self) -> bool:
        """Accept no more work; return whether some work is still running."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        return any(work.running() for work in list(self._under_way))

    async def open(self, request: Request) -> Response:
        """Begin a session and answer with its key."""
        try:
            key = self.sessions.open()
        except PageFullError as error:
            return _plain(str(error), 503)
        return await self._answer(request, key, lambda session, body: _answer(session, "", key=key))

    async def leave(self, request: Request) -> Response:
        """End the session. The key is in the body, because a browser that leaves the page cannot send a header."""
        self.sessions.end((await request.body()).decode("latin-1"))
        return Response(status_code=204)

    async def event(self, request: Request) -> Response:
        """Handle an event: an entry of `STEPS`, or ``all``, which requests all masks."""
        name = request.path_params["name"]
        if name == "all":
            return await self._answer(request, _key(request), lambda session, body: _archive(session))
        if name not in STEPS:
            return _plain("not found", 404)
        step, repaints = STEPS[name]
        return await self._answer(
            request,
            _key(request),
            lambda session, body: _run_step(session, lambda: step(session, _content(body)), repaints),
        )

    async def picture(self, request: Request) -> Response:
        """Add an uploaded image; its file name is used in messages only."""
        add = {"supports": Session.add_support, "queries": Session.add_query}.get(request.path_params["where"])
        if add is None:
            return _plain("not found", 404)
        name = request.query_params.get("name", "")

        def take(session: Session, body: bytes) -> dict[str, Any]:
            def step() -> None:
                picture = read_picture(body, self._limits, name)
                self.sessions.make_room(_IMAGE)
                add(session, picture)

            return _run_step(session, step)

        return await self._answer(request, _key(request), take)

    async def _answer(self, request: Request, key: str, work: Callable[[Session, bytes], dict[str, Any]]) -> Response:
        """Run work for a visitor in a thread."""
        try:
            visit = self.sessions.visit(key)
        except SessionEndedError as error:
            return _plain(str(error), 410)
        if visit.requests >= _WAITING:
            return _plain("this page sends too many requests at a time. Wait a moment.", 429)
        visit.requests += 1
        try:
            body = await request.body()
            async with visit.turn:
                return await self._work(visit, body, work)
        finally:
            visit.requests -= 1

    async def _work(self, visit: Visit, body: bytes, work: Callable[[Session, bytes], dict[str, Any]]) -> Response:
        def locked() -> bytes:
            with visit.session.lock:
                return json.dumps(work(visit.session, body)).encode()

        future = self._workers.submit(locked)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        try:
            content = await asyncio.wrap_future(future)
        except FssegError as error:
            return _plain(str(error), 422)
        except Exception:
            traceback.print_exc()
            return _plain(_BROKEN, 500)
        return Response(content, media_type="application/json")


def _key(request: Request) -> str:
    return str(request.headers.get("x-session", ""))


def _plain(text: str, status: int) -> Response:
    return Response(text, status, media_type="text/plain")


def _serving(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return Response(data, media_type=kind)

    return serve


def _content(body: bytes) -> dict[str, Any]:
    """Data of an event; empty if the body is no JSON object."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _run_step(session: Session, step: Callable[[], None], repaints: bool = True) -> dict[str, Any]:
    """Run a step and answer with the new state; an error becomes the message, and the session stays unchanged."""
    since, message = session.now(), ""
    try:
        step()
    except FssegError as error:
        message = str(error)
    return _answer(session, message, since, repaints)


def _answer(
    session: Session, message: str, since: tuple[float, int] | None = None, repaints: bool = True, **more: str
) -> dict[str, Any]:
    """The new state for the browser, see page.js."""
    try:
        found = session.result(since)
    except FssegError as error:
        found, message = None, message or str(error)
    painter = html.painter(session) if repaints else None
    shown = {"message": message, "painter": painter, "hint": session.hint(), "result": html.result(session, found)}
    return {**shown, **more}


def _archive(session: Session) -> dict[str, Any]:
    found = [result for number in session.queries if (result := session.result(number=number))]
    files = [(drawing.mask_name(one.query.name), drawing.mask_file(one.mask, one.query.size)) for one in found]
    return {"message": "", "archive": drawing.archive(files)}


def _stroke(session: Session, sent: dict[str, Any]) -> None:
    layer, way = sent.get("layer"), way_of(sent.get("way"))
    session.paint(sent.get("number"), lambda size: read_layer(layer, size), way)


def _example(session: Session, _: dict[str, Any]) -> None:
    for add, numbers in zip((session.add_support, session.add_query), _EXAMPLES, strict=True):
        for number in numbers[::-1]:
            image = draw(_SHAPES, 0, number)[0]
            add(Picture(f"shapes-{number:05d}.png", image, (_SHAPES, _SHAPES)))


def _maps(session: Session, _: dict[str, Any]) -> None:
    session.maps = not session.maps


# Events by name: the step, and whether the canvas gets a new state.
STEPS: dict[str, tuple[Step, bool]] = {
    "stroke": (_stroke, False),
    "choose": (lambda session, sent: session.choose_support(sent.get("number")), True),
    "remove": (lambda session, sent: session.remove_support(sent.get("number")), True),
    "rename": (lambda session, sent: session.rename(sent.get("names")), False),
    "pick": (lambda session, sent: session.choose_query(sent.get("number")), False),
    "drop": (lambda session, sent: session.remove_query(sent.get("number")), False),
    "maps": (_maps, False),
    "example": (_example, True),
}
