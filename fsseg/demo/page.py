"""Routes of the page. No request can open a file: it sends only bytes, numbers and names."""

import asyncio
import io
import json
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fsseg.demo import html, saving
from fsseg.demo.events import ANSWERS, STEPS, answer, content_of, run_step
from fsseg.demo.pictures import FINE, SIDE, Limits, Upload, file_name, read_picture
from fsseg.demo.session import SUPPORTS, Session
from fsseg.demo.sessions import PageFullError, SessionEndedError, Sessions, Visit
from fsseg.demo.supports_file import read_supports
from fsseg.errors import FssegError
from fsseg.segmenter.persistence import content_of as segmenter_file
from fsseg.segmenter.persistence import load_state

Work = dict[str, Any] | bytes  # an answer: JSON, or a file

_WORKERS = 2  # events that are processed at a time
_WAITING = 4  # most requests of one visitor at a time; the page itself sends one at a time
_QUERY, _SUPPORT = 3 * SIDE * SIDE, 4 * FINE * FINE  # most bytes of an image and its painted layer
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_STATIC = {path.name: path.read_bytes() for path in sorted(Path(__file__).parent.iterdir()) if path.suffix in _TYPES}
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
        self._page = html.page(limits, about, note, sessions.largest_file).encode()
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
            Route("/files/{kind}", self.file, methods=["POST"]),
            Route("/learnt", self.learnt, methods=["POST"]),
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
        return await self._answer(request, key, lambda session, body: answer(session, "", key=key))

    async def leave(self, request: Request) -> Response:
        """End the session. The key is in the body, because a browser that leaves the page cannot send a header."""
        self.sessions.end((await request.body()).decode("latin-1"))
        return Response(status_code=204)

    async def event(self, request: Request) -> Response:
        """Handle an event: an entry of `STEPS` or of `ANSWERS`."""
        name = request.path_params["name"]
        if name in ANSWERS:
            asked = ANSWERS[name]
            return await self._answer(request, _key(request), lambda session, body: asked(session, content_of(body)))
        if name not in STEPS:
            return _plain("not found", 404)
        step, repaints = STEPS[name]
        return await self._answer(
            request,
            _key(request),
            lambda session, body: run_step(session, lambda: step(session, content_of(body)), repaints),
        )

    async def picture(self, request: Request) -> Response:
        """Add an uploaded image; its file name is used in messages only."""
        added = {"supports": (Session.add_support, FINE, _SUPPORT), "queries": (Session.add_query, SIDE, _QUERY)}
        if request.path_params["where"] not in added:
            return _plain("not found", 404)
        (add, side, most), name = added[request.path_params["where"]], request.query_params.get("name", "")

        def take(session: Session, body: bytes) -> None:
            picture = read_picture(body, self._limits, name, side)
            self.sessions.make_room(most)
            add(session, picture)

        return await self._step(request, take)

    async def file(self, request: Request) -> Response:
        """Take a file of supports, or of a segmenter; its file name is used in messages only."""
        name = file_name(request.query_params.get("name", ""))

        def supports(session: Session, body: bytes) -> None:
            self.sessions.make_room(SUPPORTS * _SUPPORT)
            saving.add_annotated(session, read_supports(body, self._limits, name))

        def segmenter(session: Session, body: bytes) -> None:
            self.sessions.make_room(len(body))
            saving.begin_with(session, *load_state(session.segmenter, Upload(body, name)))

        take = {"supports": supports, "segmenter": segmenter}.get(request.path_params["kind"])
        return _plain("not found", 404) if take is None else await self._step(request, take)

    async def learnt(self, request: Request) -> Response:
        """Answer with a file of the segmenter that `fsseg predict --ckpt_path` takes."""

        def work(session: Session, _: bytes) -> bytes:
            file = io.BytesIO()
            torch.save(segmenter_file(saving.learnt(session)), file)
            return file.getvalue()

        return await self._answer(request, _key(request), work)

    async def _step(self, request: Request, take: Callable[[Session, bytes], None]) -> Response:
        def work(session: Session, body: bytes) -> dict[str, Any]:
            return run_step(session, partial(take, session, body))

        return await self._answer(request, _key(request), work)

    async def _answer(self, request: Request, key: str, work: Callable[[Session, bytes], Work]) -> Response:
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

    async def _work(self, visit: Visit, body: bytes, work: Callable[[Session, bytes], Work]) -> Response:
        def locked() -> bytes:
            with visit.session.lock:
                done = work(visit.session, body)
            return done if isinstance(done, bytes) else json.dumps(done).encode()

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
        return Response(content, media_type="application/json" if content[:1] == b"{" else "application/octet-stream")


def _key(request: Request) -> str:
    return str(request.headers.get("x-session", ""))


def _plain(text: str, status: int) -> Response:
    return Response(text, status, media_type="text/plain")


def _serving(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return Response(data, media_type=kind)

    return serve
