"""Where a zoo lies: a Hugging Face repository, the URL of an index, or a local folder or file."""

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from fsseg import download
from fsseg.download import Remote
from fsseg.errors import FssegError
from fsseg.untrusted.text import shown

INDEX = "index.json"
_VARIABLE = "FSSEG_ZOO"
_HUB, _ENDPOINT, _TOKEN = "https://huggingface.co", "HF_ENDPOINT", "HF_TOKEN"
_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?", re.ASCII)
_MEANING = "%/:=&?~#+!$,;'@()*[]"  # characters with a meaning in a URL
_MOST = 32 << 20  # bytes of an index; a card has about 4 kB


class Place(NamedTuple):
    """Place of a zoo.

    Attributes:
        where: as the user named it.
        source: URL or path of the index; the zoo's files lie below its folder.
        token: token that only the server of ``source`` receives.
    """

    where: str
    source: str | Path
    token: str = ""

    def file(self, folder: str, name: str) -> Path | str:
        """Path or URL of a file of the zoo.

        Args:
            folder: safe path of a folder below the index; empty for the index's own folder.
            name: safe name of the file.
        """
        inside = f"{folder}/{name}" if folder else name
        return self.source.parent / inside if isinstance(self.source, Path) else urljoin(self.source, inside)

    def remote(self, url: str, name: str, size: int | None = None) -> Remote:
        """A file of the zoo's server."""
        hint = "Try again later, or give another --index."
        if self.where.startswith("hf:"):
            hint = f"Check the network and the repository's name; a private one needs {_TOKEN}."
        return Remote(name, url, hint, size, self.token)


def place(where: str | None) -> Place:
    """The place that a user named.

    Args:
        where: ``hf:OWNER/NAME[@REVISION]``, a URL of HTTP, or a path; None for the environment variable FSSEG_ZOO.

    Raises:
        FssegError: no place is named, or it is none of these.
    """
    where = where or os.environ.get(_VARIABLE) or ""
    if not where:
        raise FssegError(
            "zoo: there is no official zoo yet. Name one: --index hf:OWNER/NAME, a URL of an index.json, or a folder; "
            f"or set {_VARIABLE}."
        )
    if where.startswith("hf:"):
        return _of_hub(where)
    if re.match(r"[A-Za-z][\w+.-]+:", where):
        if not _is_http(where) or shown(where) != where:
            raise FssegError(f"--index {where}: a URL like https://HOST/FOLDER/{INDEX} is needed.")
        url = quote(where, safe=_MEANING)
        is_folder = urlsplit(url).path.endswith("/") or not urlsplit(url).path
        return Place(where, urljoin(url, INDEX) if is_folder else url)
    path = Path(where)
    return Place(where, path / INDEX if path.is_dir() else path)


def _of_hub(where: str) -> Place:
    found = _REPOSITORY.fullmatch(where.removeprefix("hf:"))
    if found is None or ".." in where:
        raise FssegError(f"--index {where}: hf:OWNER/NAME is needed, or hf:OWNER/NAME@REVISION.")
    hub = os.environ.get(_ENDPOINT) or _HUB
    if not _is_http(hub):
        raise FssegError(f"{_ENDPOINT} {hub}: a URL like {_HUB} is needed.")
    token = (os.environ.get(_TOKEN) or "").strip()
    if not (token.isascii() and (token + "x").isprintable()):
        raise FssegError(f"{_TOKEN} has characters that no token has. Set it again, or unset it.")
    revision = quote(found[2] or "main", safe="")
    return Place(where, f"{hub.rstrip('/')}/{found[1]}/resolve/{revision}/{INDEX}", token)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and not parts.username


def index_content(of: Place) -> bytes:
    """Content of the index file.

    Raises:
        FssegError: the file is missing, too large or cannot be reached.
    """
    if isinstance(of.source, str):
        return download.read(of.remote(of.source, INDEX), _MOST)
    try:
        with of.source.open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or "not readable"
        raise FssegError(f"--index {of.source}: {reason}. Make it with fsseg zoo index FOLDER.") from error
    if len(content) > _MOST:
        raise FssegError(f"--index {of.source}: more than {_MOST / 1e6:.0f} MB, which no {INDEX} has.")
    return content
