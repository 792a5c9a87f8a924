"""The web server of the page: address, start and end."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from fsseg.demo.guard import LOOPBACK, Guard
from fsseg.demo.pictures import Limits
from fsseg.demo.sessions import Sessions
from fsseg.errors import FAILED, SIGNALLED, FssegError
from fsseg.untrusted.text import shown

if TYPE_CHECKING:
    from fsseg.demo.page import Page

_MISSING = 'fsseg demo needs Starlette and uvicorn, which are not installed. Install them: pip install "fsseg[demo]"'
_GRACE = 2.0  # seconds for open requests when the command is stopped
_MINUTE = 60.0


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Context with a bound socket, so that a wrong address is reported before a method is built.

    Raises:
        FssegError: the address does not belong to this machine, or the port is invalid or in use.
    """
    if not 0 <= port <= 65535:
        raise FssegError(f"--port {port}: 0 (any free one) to 65535 is needed.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(found[0], socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FssegError(
            f"--host {shown(host)}: no address of that name. Leave --host out to serve this machine only."
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


def require_server() -> None:
    """Check that the libraries of the page are installed.

    Raises:
        FssegError: a library is missing.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise FssegError(_MISSING) from error


def serve(bound: socket.socket, sessions: Sessions, limits: Limits, about: str, note: str = "") -> None:
    """Serve the page until the command is stopped.

    Args:
        bound: socket of `listening`.
        sessions: sessions of all visitors.
        limits: limits of uploaded images.
        about: one line about the method.
        note: see `fsseg.demo.page.Page`.
    """
    import uvicorn

    from fsseg.demo.connections import CONNECTIONS, Connection
    from fsseg.demo.page import Page

    page = Page(sessions, limits, about, note)
    config = uvicorn.Config(
        application(page, limits, bound.getsockname()[0]), http=Connection, ws="none", loop="asyncio", lifespan="on",
        proxy_headers=False, server_header=False, limit_concurrency=CONNECTIONS, timeout_keep_alive=5,
        timeout_graceful_shutdown=1, h11_max_incomplete_event_size=16_384,
        log_level="critical",  # otherwise an open page is logged as a traceback when the command is stopped
    )  # fmt: skip
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # the command line installs its own handler
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(SIGNALLED + signal.SIGTERM))
    try:
        print(f"  page     http://{_address(bound)}    (Ctrl-C stops it)", file=sys.stdout, flush=True)
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        if page.close():
            _end_soon(_exit_code(sys.exc_info()[1]))


def application(page: "Page", limits: Limits, host: str) -> Guard:
    """The page's application, protected by `Guard`.

    Args:
        page: answers the requests.
        limits: limits of uploaded images.
        host: address of the server.
    """
    from starlette.applications import Starlette

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        ending = asyncio.create_task(_end_idle(page.sessions))
        yield
        ending.cancel()

    app = Starlette(routes=page.routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return Guard(app, limits.bytes, LOOPBACK if host in LOOPBACK else None, file=page.sessions.largest_file)


async def _end_idle(sessions: Sessions) -> None:
    """End idle sessions once a minute, even without requests."""
    while True:
        await asyncio.sleep(_MINUTE)
        sessions.end_idle()


def _exit_code(error: BaseException | None) -> int:
    """Exit code of a command that ends by an exception: 128 plus the signal's number, as in shells."""
    if isinstance(error, KeyboardInterrupt):
        return SIGNALLED + int(error.args[0] if error.args else signal.SIGINT)
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return FAILED if error else 0


def _end_soon(code: int) -> None:
    """End the process after `_GRACE` seconds even if a thread is busy; Python would wait for the thread."""

    def end() -> None:
        sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(_GRACE, end)
    timer.daemon = True
    timer.start()


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
