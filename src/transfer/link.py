"""A link of limited rate: an HTTP server on this machine that sends no faster, and a client that fetches from it."""

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType

from imagier.errors import DataError

_SEGMENT = 1460  # bytes of a file that one TCP segment carries over Ethernet


class Link:
    """A context manager that transfers files, one at a time.

    Args:
        megabits: per second, 10^6 bits each, of the files' content; None: unlimited. No latency is added.
    """

    def __init__(self, megabits: float | None) -> None:
        self.name = "loopback" if megabits is None else f"{megabits:g} Mbit/s"
        self._server = _Server(megabits)

    def __enter__(self) -> "Link":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name=self.name).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fetch(self, data: bytes) -> float:
        """Transfer `data`, and return the seconds from connecting for the request to the last byte.

        Raises:
            DataError: other bytes have arrived.
        """
        self._server.file = data
        began = time.perf_counter()
        with closing(HTTPConnection("127.0.0.1", self._server.server_port, timeout=3600)) as connection:
            connection.request("GET", "/")
            with connection.getresponse() as answer:  # closed even if interrupted, or the server would keep sending
                arrived = answer.read()
            seconds = time.perf_counter() - began
        if arrived != data:
            raise DataError(f"{len(data)} bytes were sent over {self.name}, but {len(arrived)} different ones arrived.")
        return seconds


class _Server(HTTPServer):
    def __init__(self, megabits: float | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bytes_per_second = None if megabits is None else megabits * 1e6 / 8
        self.file = b""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    disable_nagle_algorithm = True  # or the last segment might wait for the acknowledgement of the one before

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.file)))
        self.end_headers()
        with suppress(ConnectionError):  # the client has gone
            if self.server.bytes_per_second is None:
                self.wfile.write(self.server.file)
            else:
                send_paced(self.wfile.write, self.server.file, self.server.bytes_per_second)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing, instead of a line per file."""


def send_paced(send: Callable[[bytes], object], data: bytes, bytes_per_second: float) -> None:
    """Send `data` in TCP segments, each at the time when a link of this rate would have delivered its last byte."""
    began = time.perf_counter()
    for start in range(0, len(data), _SEGMENT):
        segment = data[start : start + _SEGMENT]
        due = began + (start + len(segment)) / bytes_per_second
        time.sleep(max(due - time.perf_counter(), 0))
        send(segment)
