"""Connections that bring no request: uvicorn waits for the rest of a request's head for ever, however long it grows."""

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 1 << 16  # bytes, as h11 has it
SECONDS = 30.0  # in which a head has to arrive
MOST = 512  # connections, of some thousand files that a process may usually have open


class Impatient(HttpToolsProtocol):
    """Ends a connection whose request's head is too long or takes too long, and those beyond MOST."""

    _head: int | None = None  # bytes of the one that is on its way
    _timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
            return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes, but not those of a body before it."""
        expected = self._head is not None
        super().data_received(data)
        if expected and self._head is not None:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                self._end(431, "the request headers are longer than 64 KB")

    def on_message_begin(self) -> None:
        """Wait for the head of the next request."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """Wait no longer: a body has limits of its own."""
        self._forget()
        super().on_headers_complete()

    def _expect(self) -> None:
        self._forget()
        self._head = 0
        self._timer = self.loop.call_later(SECONDS, self._end, 408, "the request headers did not arrive in time")

    def _forget(self) -> None:
        self._head = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, status: int, said: str) -> None:
        self._forget()
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status} \r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {len(said)}"
            self.transport.write(f"{head}\r\n\r\n{said}".encode("ascii"))
            self.transport.close()
