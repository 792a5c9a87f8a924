"""Connections that end when a browser neither sends a request nor reads its answer."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 128  # at a time; further requests are answered by 503
_SECONDS = 10.0  # between two looks; what stands still from one to the next ends


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1, which by itself waits without end for a request's header and for an answer to be read."""

    _before: tuple[bool, object, int] = (False, None, 0)

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to look after the connection; one of far too many ends at once."""
        super().connection_made(transport)
        if len(self.connections) > 2 * CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(_SECONDS, self._look)

    def _look(self) -> None:
        if self not in self.connections:
            return
        silent = self.cycle is None or self.cycle.response_complete  # no request that is to be answered
        unread = self.transport.get_write_buffer_size()
        was_silent, cycle, was_unread = self._before
        if (silent and was_silent and cycle is self.cycle and not unread) or 0 < was_unread <= unread:
            self.transport.abort()
            return
        self._before = silent, self.cycle, unread
        self.loop.call_later(_SECONDS, self._look)
