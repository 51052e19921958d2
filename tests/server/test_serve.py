"""`imagier serve` as a user calls it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from conftest import REPOSITORY, imagier
from made import bundle_of, net_of, pictures
from PIL import Image
from test_server import hostile, png

from imagier.datamodules.folder import cut


@contextmanager
def serving(
    *words: str, cwd: Path, script: Path = REPOSITORY / "scripts" / "serve.py"
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start a server in its own process; yield its address and the process."""
    command = [sys.executable, str(script), "port=0", *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = next((line for line in process.stdout if line.startswith("http")), "")
            assert said, "the server has not started"
            yield said.split()[0], process
        finally:
            process.terminate()


def requests_held(base: str) -> int:
    """Return the number of image requests that a server is processing."""
    told = httpx2.get(base + "/metrics").text
    return sum(int(float(line.split()[1])) for line in told.splitlines() if line.startswith("imagier_requests_held "))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a classifier."""
    net, about = net_of("classify", "cnn", size=(28, 28))
    return bundle_of(net, about, tmp_path_factory.mktemp("classify") / "bundle").folder


def test_a_data_set_is_answered_about_as_evaluate_measures_it(
    tmp_path: Path, streets_root: Path, classifier: Path
) -> None:
    data = ["data=cityscapes", f"data.root={streets_root}", "data.label_set=category"]
    once = ["trainer=cpu", "trainer.max_epochs=1", "test=false", "report=false"]
    imagier("task=segment", "model.width=8", *data, "data.size=[32,64]", *once, cwd=tmp_path)
    imagier("ckpt=runs/latest", "split=test", "output=.", cwd=tmp_path, script="scripts/evaluate.py")
    measured = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    nets = f"ckpt={classifier},runs/latest"  # the first one's size must not be applied to streets
    with serving(nets, *data[:2], cwd=tmp_path) as (base, _), httpx2.Client(base_url=base, timeout=60) as api:
        ids = api.get("/data/images").json()["ids"]
        assert len(ids) == api.get("/data").json()["images"] > 0
        which = {"model": "unet-cityscapes"}
        answers = [api.get(f"/data/images/{name}/comparison", params=which).json() for name in ids]
        assert api.head("/health").status_code == 200
        assert api.head("/health").content == b""
    labelled = [1 - answer["truth"]["shares"].get("unlabelled", 0) for answer in answers]  # all frames have one size
    right = sum(answer["accuracy"] * share for answer, share in zip(answers, labelled, strict=True))
    assert right / sum(labelled) == pytest.approx(measured["accuracy"], abs=1e-5)


def test_photographs_that_trained_are_not_shown_as_held_out(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures(12, (40, 48))):
        (tmp_path / "photos" / f"{number}.png").write_bytes(png(picture.transpose(1, 2, 0)))
    data = ("data=photos", f"data.root={tmp_path}/photos")
    net, about = net_of("denoise", "dncnn", ("model.width=8", "model.depth=4", *data, "data.split=[0.5,0.5,0.0]"))
    bundle = bundle_of(net, about, tmp_path / "bundle").folder
    names = [path.name for path in (tmp_path / "photos").iterdir()]
    held_out = {name for name, part in zip(names, cut(names, (0.5, 0.5, 0.0)), strict=True) if part == "val"}
    with serving(f"ckpt={bundle}", *data, cwd=tmp_path) as (base, _):
        assert httpx2.get(base + "/data").json()["split"] == "val"  # it stands in for test
        assert set(httpx2.get(base + "/data/images").json()["ids"]) == held_out


def test_a_signal_ends_it_once_all_is_answered(tmp_path: Path, classifier: Path) -> None:
    size = (1500, 2000)  # slow to decode
    sent, answers = png(pictures(1, size)[0].transpose(1, 2, 0)), list[Any]()
    with serving(f"ckpt={classifier}", cwd=tmp_path) as (base, process):
        url = f"{base}/models/cnn-garments/predict"
        ask = lambda: answers.append(httpx2.post(url, content=sent, timeout=60))  # noqa: E731
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while requests_held(base) + len(answers) < len(threads):  # one that is not connected yet would be refused
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [200] * 8
    assert process.returncode in (0, -signal.SIGTERM)


def test_several_nets_and_a_token_in_the_environment(
    tmp_path: Path, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGIER_TOKEN", "s3cret")
    with serving(f"ckpt={classifier},{classifier}", cwd=tmp_path) as (base, _):
        assert httpx2.get(base + "/models").status_code == 401
        said = httpx2.get(base + "/models", headers={"authorization": "Bearer s3cret"}).json()
    assert [net["name"] for net in said["models"]] == ["cnn-garments", "cnn-garments-2"]


def test_what_cannot_be_served_is_said_in_a_sentence(tmp_path: Path, classifier: Path) -> None:
    def serve(*words: str, code: int) -> str:
        return imagier(*words, cwd=tmp_path, script="scripts/serve.py", code=code)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Choose another port=" in serve(f"ckpt={classifier}", f"port={port}", code=2)
    for host in ("192.168..1", "null"):
        assert "host= must be an address of this machine" in serve(f"ckpt={classifier}", f"host={host}", code=2)
    assert "nothing" in serve("ckpt=nothing", code=2)
    assert "queue=0 is out of range" in serve(f"ckpt={classifier}", "queue=0", code=2)
    assert "ckpt is empty" in serve("ckpt=','", code=2)
    said = serve(f"ckpt={classifier}", "data=garments", "split=all", code=2)
    assert "split=all is not served; it is one of: train, val, test" in said


def test_a_bundle_is_served_without_torch(tmp_path: Path, classifier: Path) -> None:
    with serving(f"ckpt={classifier}", cwd=tmp_path) as (base, process):
        httpx2.post(f"{base}/models/cnn-garments/predict", content=png())
        loaded = Path(f"/proc/{process.pid}/maps")
        if not loaded.exists():
            pytest.skip("what a process has loaded can be read on Linux alone")
        assert "libtorch" not in loaded.read_text()


def uploads() -> list[bytes]:
    """Return fifty broken files: some designed, the others damaged at random."""
    draw = np.random.default_rng(0)
    image, made = (
        Image.fromarray(pictures(1, (120, 160))[0].transpose(1, 2, 0)),
        [data for data, _ in hostile().values()],
    )
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
    while len(made) < 50:
        file = io.BytesIO()
        image.save(file, kinds[len(made) % len(kinds)])
        broken = np.frombuffer(file.getvalue(), np.uint8).copy()
        where = draw.integers(0, min(len(broken), 600), 8)  # mostly in the headers, which contain sizes
        broken[where] = draw.integers(0, 256, 8)
        made.append(broken[: draw.integers(10, len(broken))].tobytes())
    return made


def test_fifty_hostile_uploads_leave_no_trace(tmp_path: Path, classifier: Path) -> None:
    with serving(f"ckpt={classifier}", "max_megabytes=1", "max_megapixels=1", cwd=tmp_path) as (base, _):
        url = f"{base}/models/cnn-garments/predict"
        with httpx2.Client(timeout=60) as client:
            before, sizes = client.post(url, content=png()).json(), list[float]()
            for _ in range(6):
                codes = [client.post(url, content=data).status_code for data in uploads()]
                assert set(codes) <= {200, 400, 413}  # a randomly damaged file may still be an image
                assert codes.count(400) > 20
                said = client.get(base + "/metrics").text
                sizes.append(float(said.split("\nprocess_resident_memory_bytes ")[1].split()[0]) / 1e6)
            assert client.post(url, content=png()).json() == before
    assert sizes[-1] - sizes[1] < 8, sizes  # megabytes
