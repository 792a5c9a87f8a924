"""Files from HTTP servers: interrupted downloads resume, and a token is sent to its own server only."""

import http.client
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import fsseg
from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.progress import Progress

ROOM = "Run the same command again: it resumes."  # repair after a full disk
_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without an answer
_TRIES = 5  # tries without new bytes before giving up
_PAUSE = 0.5  # seconds, doubled with every try without new bytes
_AUTHORIZATION = "Authorization"


class Remote(NamedTuple):
    """A file on a server.

    Attributes:
        name: name of the file in messages.
        url: address, of HTTP or HTTPS.
        repair: sentence of an error that says what to do if the server does not give the file.
        size: bytes of the file, if they are known; another size is refused before the file is downloaded.
        token: token that only the server of ``url`` receives.
    """

    name: str
    url: str
    repair: str
    size: int | None = None
    token: str = ""


class _BrokenError(Exception):
    """A transfer was interrupted; the next try may resume it."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTP servers, but not from HTTPS to HTTP; only the server of a token receives the token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """The next request; None if the redirect is not followed."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        made = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        token = req.get_header(_AUTHORIZATION)
        if made and token and (before.scheme, before.netloc) == (after.scheme, after.netloc):
            made.add_unredirected_header(_AUTHORIZATION, token)
        return made

    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message) -> Any:
        """Follow a redirect; the answer is closed where the next address cannot be parsed."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type]
        except ValueError:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302  # type: ignore[assignment]


def download(remote: Remote, part: Path) -> None:
    """Download a file; an incomplete file at ``part`` is resumed.

    Args:
        remote: the file.
        part: path to write to. The caller checks the content, and then gives the file its name.

    Raises:
        FssegError: the server cannot be reached, breaks off repeatedly or has a file of another size, or the disk is
            full. An incomplete file stays.
    """
    if remote.size is not None and file_size(part) > remote.size:
        part.unlink()
    tries, size, total = 0, file_size(part), remote.size
    while total is None or size < total:
        before = size
        try:
            total = _transfer(remote, part)
        except _BrokenError as error:
            reason = str(error)
        else:
            reason = "it ended early"
        size = file_size(part)
        if size == before:
            tries += 1
            time.sleep(_PAUSE * 2**tries)
        else:
            tries = 0
        if tries >= _TRIES:
            raise FssegError(
                f"{remote.url} breaks off at {size / 1e9:.2f} GB ({reason}). Run the command again: it resumes there."
            )


def read(remote: Remote, most: int) -> bytes:
    """Content of a small file.

    Args:
        remote: the file.
        most: bytes that the file may have.

    Raises:
        FssegError: the server cannot be reached or breaks off, or the file is larger.
    """
    try:
        with _open(remote, {}) as response:
            content: bytes = response.read(most + 1)
    except (_BrokenError, http.client.HTTPException, OSError) as error:
        raise FssegError(f"{remote.url} breaks off ({_words(error)}). Run the command again.") from error
    if len(content) > most:
        raise FssegError(f"{remote.url} has more than {most / 1e6:.0f} MB, which no {remote.name} has. {remote.repair}")
    return content


def file_size(path: Path) -> int:
    """Bytes of a file; 0 without a file."""
    return path.stat().st_size if path.is_file() else 0


def _open(remote: Remote, headers: dict[str, str]) -> http.client.HTTPResponse:
    """The server's answer.

    Raises:
        FssegError: the server cannot be reached, or does not give the file.
        _BrokenError: the connection was interrupted.
        HTTPError: the requested range is beyond the file's end.
    """
    request = urllib.request.Request(remote.url, headers={"User-Agent": f"fsseg/{fsseg.__version__}", **headers})
    if remote.token:
        request.add_unredirected_header(_AUTHORIZATION, f"Bearer {remote.token}")
    try:
        response: http.client.HTTPResponse = _opener().open(request, timeout=_TIMEOUT)
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # the error holds the connection of a response
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
                raise
        raise FssegError(f"{remote.url} cannot be reached ({_reason(error)}). {remote.repair}") from error
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(_words(error)) from error
    except ValueError as error:  # of an address that cannot be parsed, also one that a server redirects to
        raise FssegError(f"{remote.url} cannot be reached ({_words(error)}). {remote.repair}") from error
    return response


def _opener() -> urllib.request.OpenerDirector:
    """An opener for HTTP alone: urllib's own also reads files and FTP."""
    made = urllib.request.OpenerDirector()
    for kind in (urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler, _Redirects,
                 urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler,
                 urllib.request.HTTPErrorProcessor):  # fmt: skip
        made.add_handler(kind())
    return made


def _transfer(remote: Remote, part: Path) -> int:
    """Append the missing bytes; returns the size of the complete file."""
    size = file_size(part)
    try:
        response = _open(remote, {"Range": f"bytes={size}-"} if size else {})
    except urllib.error.HTTPError:
        return size  # the file is complete, or the checksum will differ
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        start = size if resumed else 0  # a server without ranges sends the complete file again
        length = response.headers.get("Content-Length") or ""
        total = start + int(length) if length.isdecimal() else None
        if remote.size is not None and total not in (None, remote.size):
            raise _other_size(remote, total)
        with atomic.writing(part.parent, ROOM), part.open("ab" if resumed else "wb") as file, \
                Progress(f"downloading {remote.name}:", total or remote.size or start, "GB") as step:  # fmt: skip
            step.to(start)
            _copy(response, file, step, remote)
    return file_size(part) if total is None else total


def _copy(source: http.client.HTTPResponse, file: BinaryIO, step: Progress, remote: Remote) -> None:
    while chunk := _read(source):
        if remote.size is not None and step.done + len(chunk) > remote.size:
            raise _other_size(remote, None)
        file.write(chunk)
        step.add(len(chunk))


def _other_size(remote: Remote, found: int | None) -> FssegError:
    bytes_ = "more" if found is None else f"{found:,}"
    return FssegError(f"{remote.url} has {bytes_} bytes, {remote.size:,} are expected. {remote.repair}")


def _read(source: http.client.HTTPResponse) -> bytes:
    """Read from the server; its OSErrors become `_BrokenError`, to separate them from those of the disk."""
    try:
        return source.read1(_CHUNK)  # read1 returns the bytes that have arrived and does not wait for a full chunk
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(_words(error)) from error


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _reason(error: urllib.error.URLError) -> str:
    if not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    refused = ", to an address that is refused" if error.code // 100 == 3 else ""
    return f"HTTP {error.code}{refused}"
