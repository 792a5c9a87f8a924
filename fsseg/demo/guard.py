"""Protection of the page: origin, size and speed of requests, and security headers of answers."""

import asyncio
from time import monotonic
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_SMALL = 5_000_000  # bytes of a request other than an image upload, e.g. a painted layer, see `fsseg.demo.painting`
_BODIES = 100_000_000  # bytes of the bodies of all open requests, and of a file of supports
_PATIENCE = 10.0  # seconds that every body may take
_RATE = 50_000  # received bytes that earn a body one more second
_HEADERS = {
    # A second defence: injected markup could load and run nothing.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_RAW = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


class Guard:
    """ASGI middleware that refuses large and slow requests, and requests from other web pages.

    Args:
        app: the protected application.
        picture: largest size of an image file in bytes.
        hosts: allowed names in the Host header; None for any. This prevents DNS rebinding, in which another page lets
            its own name point to this server.
        patience: seconds that every body may take, in addition to those that its bytes earn.
        file: largest size of a file of supports or of a segmenter in bytes.
    """

    def __init__(
        self,
        app: Any,
        picture: int,
        hosts: tuple[str, ...] | None,
        patience: float = _PATIENCE,
        file: int = 0,
    ) -> None:
        self._app, self._hosts, self._patience = app, hosts, patience
        self._most = {"/pictures/": picture, "/files/": max(file, _BODIES)}
        self._held = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        most = next((most for start, most in self._most.items() if scope["path"].startswith(start)), _SMALL)
        body = _Body(self, receive, most)
        body.refusal = self._refusal(dict(scope["headers"]), most)
        began = False

        async def sending(event: dict[str, Any]) -> None:
            nonlocal began
            if body.refusal and not began:  # the application's answer to an incomplete body is dropped
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
        """Count received bytes of a body; return whether all open bodies together are too large."""
        self._held += count
        return self._held > max(2 * self._most["/pictures/"], self._most["/files/"])

    @property
    def patience(self) -> float:
        """Seconds that every body may take, in addition to those that its bytes earn."""
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
    """The body of a request while it arrives.

    Attributes:
        read: bytes received so far.
        refusal: status and reason of a refused request; None otherwise.
    """

    def __init__(self, guard: Guard, receive: Any, most: int) -> None:
        self._guard, self._receive, self._most = guard, receive, most
        self._since, self._complete, self.read = monotonic(), False, 0
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> dict[str, Any]:
        """The next ASGI event: a part of the body, or the disconnect after the last part.

        Raises:
            _RefusedError: the body is too large or too slow, see `refusal`.
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
        if self.read > self._most:  # the content-length header was wrong or missing
            self.refusal = 413, "too large"
        if self.refusal:
            raise _RefusedError
        self._complete = not event.get("more_body", False)
        return event


class _RefusedError(Exception):
    """The body of a request was refused before its end."""


async def _refuse(send: Any, status: int, why: str) -> None:
    body = why.encode()
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"text/plain"), length, (b"connection", b"close"), *_RAW]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
