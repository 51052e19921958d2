"""Limits for connections and request headers: uvicorn waits for headers for ever, however long they grow."""

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 1 << 16  # bytes of a request's headers
SECONDS = 30.0  # in which headers have to arrive
MOST = 512  # connections: a process may usually have about a thousand open files


class Impatient(HttpToolsProtocol):
    """Closes connections whose request headers are too long or take too long, and those beyond MOST."""

    _head: int | None = None  # bytes so far of the headers being received
    _timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse connections beyond MOST; expect the first request's headers."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
            return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count header bytes, except in a chunk that may start with the previous request's body."""
        expected = self._head is not None
        super().data_received(data)
        if expected and self._head is not None:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                self._end(431, "the request headers are longer than 64 KB")

    def on_message_begin(self) -> None:
        """Expect the headers of a request."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """Cancel the timeout: the body has its own limits."""
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
