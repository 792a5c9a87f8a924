"""The sessions of all who look at the page; nothing is common to them but the method and what it has encoded."""

import threading
from collections import OrderedDict

from fsseg.demo.passes import Passes
from fsseg.demo.session import Session
from fsseg.segmenter import Segmenter

_SESSIONS = 8  # that are kept; the one that was not used for longest is forgotten for another


class Sessions:
    """Sessions by their keys; a few, so that memory is bounded.

    Args:
        segmenter: where each begins.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter, self._passes = segmenter, Passes(segmenter.method.encoder)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: str) -> Session:
        """The session of a key, or a new one."""
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = Session(self._segmenter, self._passes)
                while len(self._sessions) > _SESSIONS:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end(key)
            return self._sessions[key]

    def forget(self, key: str) -> None:
        """Drop a session."""
        with self._lock:
            self._sessions.pop(key, None)
