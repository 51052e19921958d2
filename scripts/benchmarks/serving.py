"""`imagier serve` against a plain Flask view of the same network, with many concurrent clients."""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from inference import CASES, exported
from PIL import Image
from timing import COMPILED, ROOT, Row

from imagier.synthetic import leaves

HERE = Path(__file__).parent
CLIENTS, REQUESTS = 32, 512
NOTE = (
    "A photograph of 481x321 pixels as JPEG, brought to 64x64; {clients} clients over open connections, {requests} "
    "requests a repeat, on the same machine. ours: p50 {ours[0]:.0f} ms, p99 {ours[1]:.0f} ms; rival: p50 "
    "{theirs[0]:.0f} ms, p99 {theirs[1]:.0f} ms. Rival: eager PyTorch in a view of Flask's own server, with threads."
)


def compare(given: argparse.Namespace) -> Iterator[Row]:
    """Yield one row per precision of the graph, in seconds of all requests together."""
    with TemporaryDirectory() as folder:
        bundle, picture = exported(CASES[1], Path(folder)).folder, _picture(Path(folder))
        for precision in ("fp32", "int8"):
            yield _row(bundle, picture, precision, given.repeats)


def _row(bundle: Path, picture: Path, precision: str, repeats: int) -> Row:
    name = json.loads((bundle / "bundle.json").read_text())["name"]
    ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()
    serve = [ROOT / "scripts" / "serve.py", f"ckpt={bundle}", f"precision={precision}"]
    with _listening(serve, "port={}", "/ready") as us, _listening([HERE / "flask_view.py", bundle], "{}", "/") as them:
        for _ in range(repeats + 1):  # both warm up in the first
            ours.append(_asked(f"{us}/models/{name}/predict", picture))
            theirs.append(_asked(f"{them}/predict", picture))
    ours, theirs = ours[1:], theirs[1:]
    latencies = {"ours": _percentiles(ours), "theirs": _percentiles(theirs)}
    return Row(
        f"{CLIENTS} clients of DenseNet121 behind imagier serve, {precision}",
        "a plain Flask view of the net in eager PyTorch",
        "speed-up",
        3.0,
        [run["all"] for run in ours],
        [run["all"] for run in theirs],
        images=REQUESTS,
        note=NOTE.format(clients=CLIENTS, requests=REQUESTS, **latencies),
    )


@contextmanager
def _listening(command: list[Any], port_word: str, path: str) -> Iterator[str]:
    """Start a server in its own process, yield its address once it responds, and stop it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, *map(str, command), port_word.format(port)]
    with subprocess.Popen(words, env=COMPILED, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 60
            while not _answers(f"http://127.0.0.1:{port}{path}"):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{words} does not answer")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    with suppress(urllib.error.URLError):
        with suppress(urllib.error.HTTPError):  # a server responded, even if this path does not exist
            urllib.request.urlopen(url, timeout=1).close()
        return True
    return False


def _asked(url: str, picture: Path) -> dict[str, Any]:
    """Run the clients; return the seconds of all requests together (`all`) and of each (`each`)."""
    words = [sys.executable, HERE / "clients.py", url, picture, CLIENTS, REQUESTS]
    said = subprocess.run(list(map(str, words)), env=COMPILED, capture_output=True, text=True, check=True).stdout
    answer: dict[str, Any] = json.loads(said)
    return answer


def _percentiles(runs: list[dict[str, Any]]) -> tuple[float, float]:
    """Return p50 and p99 of a request's latency, in milliseconds."""
    each = sorted(1000 * seconds for run in runs for seconds in run["each"])
    return statistics.median(each), each[int(0.99 * len(each))]


def _picture(folder: Path) -> Path:
    leaves.generate(folder / "leaves", count=1, size=(321, 481), seed=0)
    path = folder / "picture.jpg"
    Image.open(next((folder / "leaves").rglob("*.png"))).save(path, quality=90)
    return path
