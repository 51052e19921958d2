"""Limits for connections, request headers and stalled responses, for which uvicorn waits for ever."""

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 1 << 16  # bytes of a request's headers
SECONDS = 30.0  # in which headers have to arrive, and in which a client has to read some of a response
MOST = 512  # connections: a process may usually have about a thousand open files


class Impatient(HttpToolsProtocol):
    """Closes connections whose headers are too long or take too long, whose client stops reading, and beyond MOST."""

    _head: int | None = None  # bytes so far of the headers being received
    _timer: TimerHandle | None = None
    _stalled: TimerHandle | None = None  # while a response waits to be read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse connections beyond MOST; expect the first request's headers."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
            return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeouts."""
        self._forget()
        self._flowing()
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

    def pause_writing(self) -> None:
        """Expect the client to read some of what waits to be sent, which stays in memory until then."""
        super().pause_writing()
        self._flowing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Cancel the timeout."""
        super().resume_writing()
        self._flowing()

    def _watch(self, size: int) -> None:
        self._stalled = self.loop.call_later(SECONDS, self._look, size)

    def _look(self, before: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now < before:
            self._watch(now)
        else:
            self.transport.abort()

    def _flowing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

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
