"""How the server handles connections that send no complete request, read no response, or are too many."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest
from made import bundle_of, net_of
from test_serve import serving

BRIEF = """import sys
from imagier import cli
from imagier.server import connections
connections.SECONDS, connections.MOST = 1.0, 8
sys.argv = ["imagier", *sys.argv[1:]]
cli.main("serve")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose timeout is one second."""
    folder = tmp_path_factory.mktemp("house")
    bundle = bundle_of(*net_of("classify", "cnn", (), (28, 28)), folder / "bundle").folder
    script = folder / "brief.py"
    script.write_text(BRIEF)
    with serving(f"ckpt={bundle}", "page=false", cwd=folder, script=script) as (base, _):
        yield base


def opened(server: str) -> socket.socket:
    place = urlsplit(server)
    assert place.port is not None
    return socket.create_connection((place.hostname, place.port), timeout=10)


def test_a_head_that_does_not_arrive_is_not_waited_for(server: str) -> None:
    with opened(server) as slow:
        slow.sendall(b"GET /hea")
        assert b" 408 " in slow.recv(1000)
        assert slow.recv(1000) == b""
    with opened(server) as again:  # the same for a later request on a connection
        again.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b" 200 " in again.recv(1000)
        again.sendall(b"GET /hea")
        rest = b"".join(iter(lambda: again.recv(1000), b""))
        assert b" 408 " in rest


def test_a_head_without_an_end_is_not_read_on(server: str) -> None:
    with opened(server) as long:
        long.sendall(b"GET /health HTTP/1.1\r\nx: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _ = [long.sendall(b"a" * 100_000) for _ in range(1000)]
    assert httpx2.get(f"{server}/health").status_code == 200


def test_a_client_that_does_not_read_is_not_waited_for(server: str) -> None:
    asked, answered = 400, 0
    with opened(server) as idle:
        for _ in range(asked):
            idle.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n")
        time.sleep(4)
        try:
            while got := idle.recv(1 << 20):
                answered += got.count(b"HTTP/1.1 200")
        except ConnectionResetError:
            pass
    assert answered < asked
    assert httpx2.get(f"{server}/health").status_code == 200


def test_more_connections_than_files_are_turned_away(server: str) -> None:
    held = [opened(server) for _ in range(8)]
    with opened(server) as one_more:
        assert one_more.recv(10) == b""
    for one in held:
        one.close()
    assert httpx2.get(f"{server}/health").status_code == 200
