"""Sessions of all visitors: keys cannot be guessed; number, memory and idle time of the sessions are limited."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fsseg.demo.passes import Passes
from fsseg.demo.session import Session
from fsseg.errors import FssegError
from fsseg.segmenter import Segmenter

SESSIONS = 32  # at a time
BYTES = 1_000_000_000  # of all sessions together, see `memory`
IDLE = 1800  # seconds without a request after which a session ends
SPARE = 300  # seconds without a request after which a session ends if another visitor needs its place or memory
_FEATURES = 100_000_000  # most bytes of the supports in a segmenter's file
_FULL = "the page is in use by too many visitors. Try again in some minutes."


class SessionEndedError(FssegError):
    """No session has this key, or the session has ended."""


class PageFullError(FssegError):
    """No place or memory is left, and no session is idle."""


@dataclass
class Visit:
    """A session and its open requests.

    Attributes:
        session: the visitor's session.
        used: time of the latest request.
        requests: number of open requests.
        turn: held by the request that is processed; other requests of the visitor wait without a thread.
    """

    session: Session
    used: float
    requests: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sessions:
    """Sessions by key. All sessions share the method and the latest 64 feature maps.

    Args:
        segmenter: initial state of each session.
        clock: returns seconds; replaced in tests.
    """

    def __init__(self, segmenter: Segmenter, clock: Callable[[], float] = time.monotonic) -> None:
        self._segmenter, self._passes, self._clock = segmenter, Passes(segmenter.method.encoder), clock
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visits)

    @property
    def largest_file(self) -> int:
        """Largest size of a segmenter's file in bytes: its weights, and features of many supports."""
        weights: int = sum(value.nbytes for value in self._segmenter.method.state_dict().values())
        return weights + _FEATURES

    def open(self) -> str:
        """Start a session and return its key.

        Raises:
            PageFullError: there are `SESSIONS` sessions, and none is idle.
        """
        with self._lock:
            self._end_idle(IDLE)
            if len(self._visits) >= SESSIONS:
                self._end_longest_idle()
            key = secrets.token_urlsafe(32)
            self._visits[key] = Visit(Session(self._segmenter, self._passes), self._clock())
            return key

    def visit(self, key: str) -> Visit:
        """The session of a key.

        Raises:
            SessionEndedError: no session has this key.
        """
        with self._lock:
            self._end_idle(IDLE)
            visit = self._visits.get(key)
            if visit is None:
                raise SessionEndedError("your session has ended: it was idle for too long. Reload the page.")
            visit.used = self._clock()
            return visit

    def make_room(self, more: int) -> None:
        """End idle sessions until ``more`` bytes fit into the memory limit.

        Raises:
            PageFullError: the memory does not suffice, and no session is idle.
        """
        with self._lock:
            while sum(memory(visit.session) for visit in self._visits.values()) + more > BYTES:
                self._end_longest_idle()

    def end(self, key: str) -> None:
        """End a session and free its memory."""
        with self._lock:
            self._visits.pop(key, None)

    def end_idle(self) -> None:
        """End sessions without a request for `IDLE` seconds."""
        with self._lock:
            self._end_idle(IDLE)

    def _idle(self) -> dict[str, float]:
        """Seconds since the latest request, for each session without an open request."""
        now = self._clock()
        return {key: now - visit.used for key, visit in self._visits.items() if not visit.requests}

    def _end_idle(self, seconds: float) -> None:
        for key, idle in self._idle().items():
            if idle >= seconds:
                del self._visits[key]

    def _end_longest_idle(self) -> None:
        idle = self._idle()
        longest = max(idle, key=idle.__getitem__, default=None)
        if longest is None or idle[longest] < SPARE:
            raise PageFullError(_FULL)
        del self._visits[longest]


def memory(session: Session) -> int:
    """Bytes of a session: its images, its layers, and the features and states of its segmenter."""
    supports, state = [*session.supports.values()], session.segmenter.known[0]
    pictures = [*session.queries.values(), *(support.picture for support in supports)]
    arrays = [picture.image for picture in pictures] + [support.layer for support in supports]
    return sum(array.nbytes for array in arrays) + _nbytes([*state.supports.values(), *state.adapted.values()])


def _nbytes(value: Any) -> int:
    """Bytes of the tensors in nested tuples and lists."""
    if isinstance(value, Tensor):
        return value.nbytes
    return sum(map(_nbytes, value)) if isinstance(value, tuple | list) else 0
