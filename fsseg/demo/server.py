"""The server: what reaches the page, from where, and how large it may be."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsseg.demo.pictures import Limits
from fsseg.demo.session import QUERIES
from fsseg.demo.sessions import Sessions
from fsseg.errors import FssegError
from fsseg.safe import shown

_MISSING = 'fsseg demo needs Gradio, which is not installed. Install it: pip install "fsseg[demo]"'
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
# Routes of Gradio's that the page needs; none that serves files, other machines' pages or recordings.
_PAGE = (
    "config",
    "static",
    "assets",
    "svelte",
    "theme.css",
    "favicon.ico",
    "manifest.json",
    "robots.txt",
    "pwa_icon",
)
_CALLS = ("queue", "upload", "upload_progress", "heartbeat", "startup-events", "reset", "cancel", "login_check", "info",
          "app_id", "theme.css")  # fmt: skip
_UPLOAD = "/gradio_api/upload"
_AROUND = 100_000  # bytes of a request beside the files in it
_MOST = 5_000_000  # bytes of any other request: what was painted, see `fsseg.demo.painting`
_TERMINATED = 143  # exit code, as shells have it
_QUEUE = 32  # events that wait at a time


class Guard:
    """Between the network and Gradio: no route that serves files, no large request, none that other pages make.

    Args:
        app: the application behind.
        upload: bytes of a request that brings pictures.
        hosts: names by which it may be called; None for any. Another one is a page in the reader's browser that calls
            itself by a name which it lets point here.
    """

    def __init__(self, app: Any, upload: int, hosts: tuple[str, ...] | None) -> None:
        self._app, self._upload, self._hosts = app, upload, hosts

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        most = self._upload if path == _UPLOAD else _MOST
        refusal = self._refusal(path, dict(scope["headers"]), most)
        if refusal:
            await _refuse(send, *refusal)
            return
        read, began = 0, False

        async def limited() -> Any:
            nonlocal read
            got = await receive()
            read += len(got.get("body", b""))
            if read > most:  # told a lie about its length, or nothing
                raise _TooLargeError
            return got

        async def sending(event: Any) -> None:
            nonlocal began
            began = True
            await send(event)

        try:
            await self._app(scope, limited, sending)
        except _TooLargeError:
            if not began:
                await _refuse(send, 413, "too large")

    def _refusal(self, path: str, headers: dict[bytes, bytes], most: int) -> tuple[int, str] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts is not None and name not in self._hosts:
            return 400, "unknown host"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
            return 403, "asked by another page"
        _, first, *rest = [*path.split("/"), ""]
        if not (path == "/" or first in _PAGE or (first == "gradio_api" and rest[0] in _CALLS)):
            return 404, "not found"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            return 413, "too large"
        return None


class _TooLargeError(Exception):
    """A body is longer than it may be."""


async def _refuse(send: Any, status: int, why: str) -> None:
    body = why.encode()
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound, so that what is wrong with the address is known before a method is built.

    Raises:
        FssegError: it is no address of this machine, or taken.
    """
    if not 0 <= port <= 65535:
        raise FssegError(f"--port {port}: 0 (any free one) to 65535 is needed.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(found[0], socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FssegError(
            f"--host {shown(host)}: no address of that name. Leave it out for this machine alone."
        ) from error
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(found[4])
            bound.listen(128)
        except OSError as error:
            raise FssegError(
                f"{shown(host)}, port {port}: {error.strerror or error}. Choose another --port, or 0 for any free one."
            ) from error
        yield bound


def require_gradio() -> None:
    """Refuse to go on without Gradio; and keep it from calling home.

    Raises:
        FssegError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise FssegError(_MISSING) from error


def serve(bound: socket.socket, sessions: Sessions, limits: Limits, about: str, note: str = "") -> None:
    """Serve the page until it is stopped.

    Args:
        bound: of `listening`.
        sessions: of all who look at it.
        limits: of pictures that are sent.
        about: the method, in a line.
        note: see `fsseg.demo.page.build`.
    """
    import uvicorn

    from fsseg.demo.page import build

    folder = Path(tempfile.mkdtemp(prefix="fsseg-demo-"))  # what is sent lies there until it is read
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that the folder goes then too
    try:
        app = application(build(sessions, limits, folder, about, note), limits, bound.getsockname()[0])
        # Critical: a page that is open when the command is stopped would be a traceback. Gradio prints its events' own.
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, server_header=False)
        print(f"  page     http://{_address(bound)}    (Ctrl-C stops it)", file=sys.stdout, flush=True)
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def application(blocks: Any, limits: Limits, host: str) -> Guard:
    """The page behind its guard.

    Args:
        blocks: of `fsseg.demo.page.build`.
        limits: of pictures that are sent.
        host: address that it is served at.
    """
    import fastapi
    import gradio

    from fsseg.demo.page import CSS, theme

    app = gradio.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks.queue(max_size=_QUEUE, api_open=False),
        "/", footer_links=[], run_history=False, allowed_paths=[], max_file_size=limits.bytes, ssr_mode=False,
        enable_monitoring=False, pwa=False, mcp_server=False, theme=theme(), css=CSS,
    )  # fmt: skip
    return Guard(app, QUERIES * limits.bytes + _AROUND, _LOOPBACK if host in _LOOPBACK else None)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
