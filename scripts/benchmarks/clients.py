"""Concurrent HTTP clients: python scripts/benchmarks/clients.py URL FILE CLIENTS REQUESTS; prints seconds as JSON.

They use bare persistent sockets, since they share the machine with the server under test and should take little of it.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit


async def ask(host: str, port: int, message: bytes, left: list[None], seconds: list[float]) -> None:
    """Send the message repeatedly over one connection until no requests are left; append each one's seconds."""
    reader, writer = await asyncio.open_connection(host, port)
    while left:
        left.pop()
        began = time.perf_counter()
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        seconds.append(time.perf_counter() - began)
        if b"connection: close" in head:  # Flask's own server closes the connection after every response
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
    writer.close()


async def main(url: str, file: Path, clients: int, requests: int) -> None:
    """Send all requests, and print the seconds of each response and of all together."""
    parts, body = urlsplit(url), file.read_bytes()
    host, port = parts.hostname or "", parts.port or 80
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: image/jpeg\r\n"
    message = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    seconds: list[float] = []
    began, left = time.perf_counter(), [None] * requests
    await asyncio.gather(*(ask(host, port, message, left, seconds) for _ in range(clients)))
    print(json.dumps({"all": time.perf_counter() - began, "each": seconds}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
