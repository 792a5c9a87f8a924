"""Connections that are closed when the browser neither sends a request nor reads an answer."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 128  # at a time; further requests get status 503
_SECONDS = 10.0  # between two checks; a connection without progress from one check to the next is closed


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 with timeouts: uvicorn alone waits forever for a request's header or for a slow reader."""

    _before: tuple[bool, object, int] = (False, None, 0)

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the checks of a connection; close it at once if there are far too many connections."""
        super().connection_made(transport)
        if len(self.connections) > 2 * CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(_SECONDS, self._check)

    def _check(self) -> None:
        if self not in self.connections:
            return
        silent = self.cycle is None or self.cycle.response_complete  # no open request
        unread = self.transport.get_write_buffer_size()
        was_silent, cycle, was_unread = self._before
        if (silent and was_silent and cycle is self.cycle and not unread) or 0 < was_unread <= unread:
            self.transport.abort()
            return
        self._before = silent, self.cycle, unread
        self.loop.call_later(_SECONDS, self._check)
