"""What reaches the page: from where, how large, how slowly; and the headers that browsers act on."""

import asyncio
from time import monotonic
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_SMALL = 5_000_000  # bytes of any request but a picture's: what was painted, see `fsseg.demo.painting`
_BODIES = 100_000_000  # bytes of all requests that are under way
_PATIENCE = 10.0  # seconds that a body may take,
_RATE = 50_000  # and one more for each so many bytes
_HEADERS = {
    # Markup that came through all the same could load and run nothing.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_RAW = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


class Guard:
    """ASGI middleware: refuses large and slow requests, and those that other pages make.

    Args:
        app: the application behind.
        picture: bytes of an image file at most.
        hosts: names by which it may be called; None for any. Another name is a page in the visitor's browser whose
            owner lets the name point here (DNS rebinding).
        patience: seconds that a body may take, beside those that its bytes earn.
    """

    def __init__(self, app: Any, picture: int, hosts: tuple[str, ...] | None, patience: float = _PATIENCE) -> None:
        self._app, self._picture, self._hosts, self._patience = app, picture, hosts, patience
        self._held = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        most = self._picture if scope["path"].startswith("/pictures/") else _SMALL
        body = _Body(self, receive, most)
        body.refusal = self._refusal(dict(scope["headers"]), most)
        began = False

        async def sending(event: dict[str, Any]) -> None:
            nonlocal began
            if body.refusal and not began:  # what the application says of a body that broke off
                return
            began = True
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event["headers"], *_RAW]}
            await send(event)

        try:
            if not body.refusal:
                await self._app(scope, body.receive, sending)
        except _RefusedError:
            pass
        finally:
            self._held -= body.read
        if body.refusal and not began:
            await _refuse(send, *body.refusal)

    def busy(self, count: int) -> bool:
        """Count bytes of a body that were read; whether all bodies together are too large now."""
        self._held += count
        return self._held > max(_BODIES, 2 * self._picture)

    @property
    def patience(self) -> float:
        """Seconds that a body may take, beside those that its bytes earn."""
        return self._patience

    def _refusal(self, headers: dict[bytes, bytes], most: int) -> tuple[int, str] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts is not None and name not in self._hosts:
            return 400, "unknown host"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
            return 403, "asked by another page"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            return 413, "too large"
        return None


class _Body:
    """A request's body, as it arrives.

    Attributes:
        read: bytes so far.
        refusal: status and reason, once the request is refused.
    """

    def __init__(self, guard: Guard, receive: Any, most: int) -> None:
        self._guard, self._receive, self._most = guard, receive, most
        self._since, self._complete, self.read = monotonic(), False, 0
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> dict[str, Any]:
        """The next part; after the last one, that the visitor has gone.

        Raises:
            _RefusedError: it is larger or slower than it may be, see `refusal`.
        """
        if self._complete:
            event: dict[str, Any] = await self._receive()
            return event
        left = self._since + self._guard.patience + self.read / _RATE - monotonic()
        try:
            event = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            event, self.refusal = {}, (408, "too slow")
        part = len(event.get("body", b""))
        self.read += part
        if self._guard.busy(part):
            self.refusal = 503, "the page is busy. Try again in a moment."
        if self.read > self._most:  # told a lie about its length, or nothing
            self.refusal = 413, "too large"
        if self.refusal:
            raise _RefusedError
        self._complete = not event.get("more_body", False)
        return event


class _RefusedError(Exception):
    """A body broke off."""


async def _refuse(send: Any, status: int, why: str) -> None:
    body = why.encode()
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"text/plain"), length, (b"connection", b"close"), *_RAW]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
