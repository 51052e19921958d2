"""The API as its clients use it."""

import dataclasses
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from made import CLASSES, Slow, bundle_of, net_of, pictures
from PIL import Image

import imagier
from imagier.batch import Facts
from imagier.datamodules.jpeg import decode_jpeg
from imagier.deploy.codec import PictureCodec
from imagier.deploy.predictor import Predictor
from imagier.metrics.confusion import ConfusionMatrix, intersection_over_union
from imagier.models.factorized import Factorized
from imagier.models.pixels import FromPixels
from imagier.server.app import make_app
from imagier.server.dataset import Pictures
from imagier.server.limits import Door, Limits
from imagier.server.monitoring import Monitor
from imagier.server.nets import Opened

PIXELS = pictures(1, (40, 52))[0].transpose(1, 2, 0)


def png(pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A network for each task, as `imagier serve` opens it."""
    made = {
        "segment": ("unet", (), None),
        "classify": ("cnn", (), (28, 28)),
        "denoise": ("dncnn", ("model.depth=4",), None),
    }
    nets: list[Opened] = []
    for task, (model, words, size) in made.items():
        net, about = net_of(task, model, words, size)
        predictor = imagier.load(bundle_of(net, about, tmp_path_factory.mktemp(task) / "bundle").folder)
        nets.append(Opened(about, predictor))
    torch.manual_seed(0)
    codec = Factorized(3, width=8, latents=8, lambdas=(0.0018, 0.0067, 0.025))
    about = dataclasses.replace(nets[0].description, name="factorized-made", task="compress", classes=())
    return [*nets, Opened(about, PictureCodec(about, FromPixels(codec, about.mean, about.std).eval()))]


@pytest.fixture(scope="module")
def shown() -> Pictures:
    """A data set of two images with masks, one of them in a subfolder."""
    images = pictures(2, (32, 48), seed=3).transpose(0, 2, 3, 1)
    masks = np.random.default_rng(0).integers(0, 3, (2, 32, 48), np.uint8)
    masks[:, :4] = 255
    facts = Facts("made", 3, (32, 48), (0.5,) * 3, (0.2,) * 3, CLASSES, ((1, 2, 3), (4, 5, 6), (7, 8, 9)), 255)
    return Pictures(
        facts, "test", ["one", "in/two"], np.bincount(masks.ravel())[:3], lambda place: (images[place], masks[place])
    )


@pytest.fixture(scope="module")
def client(opened: list[Any], shown: Pictures) -> Iterator[TestClient]:
    """A client of a server with all these networks and the data set."""
    with TestClient(make_app(opened, Limits(megabytes=1, megapixels=1), pictures=shown)) as client:
        yield client


def decoded(answer: Any) -> np.ndarray:
    assert answer.headers["content-type"] == "image/png", answer.text
    return np.array(Image.open(io.BytesIO(answer.content)))


def name_of(opened: list[Any], task: str) -> str:
    return next(str(one.description.name) for one in opened if one.description.task == task)


def test_answers_are_those_of_the_python_call(client: TestClient, opened: list[Any]) -> None:
    for one in opened[:3]:
        about, predictor = one.description, one.answers
        url, expected = f"/models/{about.name}/predict", predictor(PIXELS)
        sent = [{"content": png()}, {"files": {"image": ("a.png", png())}}]
        for answer in (client.post(url, **way) for way in sent):
            assert answer.status_code == 200, answer.text
            if about.task == "classify":
                assert answer.json() == expected.to_dict()
            else:
                pixels = expected.labels if about.task == "segment" else expected.pixels
                assert np.array_equal(decoded(answer), pixels)


def test_a_mask_in_every_form(client: TestClient, opened: list[Any]) -> None:
    about, predictor = opened[0].description, opened[0].answers
    url, expected = f"/models/{about.name}/predict", predictor(PIXELS)
    for view, pixels in (("colors", expected.colored()), ("overlay", expected.picture())):
        assert np.array_equal(decoded(client.post(url, content=png(), params={"view": view})), pixels)
    said = client.post(url, content=png(), headers={"accept": "application/json, image/png;q=0.5"}).json()
    assert said["shares"] == expected.to_dict()["shares"]
    again = np.full(expected.labels.shape, 255, np.uint8)
    for mask in said["masks"]:
        height, width = mask["rle"]["size"]
        values = np.resize([0, 1], len(mask["rle"]["counts"]))
        flat = np.repeat(values, mask["rle"]["counts"])
        assert mask["class"] == CLASSES[mask["index"]]
        again[flat.reshape(width, height).T == 1] = mask["index"]
    assert np.array_equal(again, expected.labels)


def test_a_codec_writes_and_reads_files(client: TestClient, opened: list[Any]) -> None:
    name, codec = name_of(opened, "compress"), opened[3].answers
    answer = client.post(f"/models/{name}/compress", content=png(), params={"quality": 1})
    assert answer.content == codec.compress(PIXELS, 1)
    assert float(answer.headers["x-bits-per-pixel"]) == pytest.approx(8 * len(answer.content) / (40 * 52), abs=1e-4)
    back = decoded(client.post(f"/models/{name}/decompress", content=answer.content))
    assert np.array_equal(back, codec.decompress(answer.content))
    seen = client.post(f"/models/{name}/compress?quality=1", content=png(), headers={"accept": "image/png"})
    assert np.array_equal(decoded(seen), back)
    refused = client.post(f"/models/{name}/decompress", content=answer.content[:-3])
    assert (refused.status_code, "damaged or truncated" in refused.json()["error"]) == (400, True)
    large = codec.compress(np.zeros((1024, 1024, 3), np.uint8), 1)
    refused = client.post(f"/models/{name}/decompress", content=large)
    assert (refused.status_code, "1024 x 1024 pixels" in refused.json()["error"]) == (413, True)
    assert client.post(f"/models/{name}/compress?quality=99", content=png()).status_code == 422
    assert client.post(f"/models/{name}/predict", content=png()).status_code == 404


def test_pictures_of_a_data_set_by_their_ids(client: TestClient, opened: list[Any], shown: Pictures) -> None:
    assert client.get("/data/images").json() == {"total": 2, "ids": ["one", "in/two"]}
    assert client.get("/data/images?offset=1").json()["ids"] == ["in/two"]
    name, image, mask = name_of(opened, "segment"), *shown.read(1)
    assert np.array_equal(decoded(client.get("/data/images/in/two")), image)
    assert np.array_equal(decoded(client.get("/data/images/in%2Ftwo/truth")), mask)
    predicted = decoded(client.get("/data/images/in/two/prediction", params={"model": name}))
    assert np.array_equal(predicted, opened[0].answers(image).labels)
    said = client.get("/data/images/in/two/comparison", params={"model": name}).json()
    counts = ConfusionMatrix(3, 255)
    counts.update(torch.from_numpy(predicted), torch.from_numpy(mask))
    assert list(said["iou_per_class"].values()) == pytest.approx(intersection_over_union(counts.counts), abs=1e-6)
    assert {one["class"] for one in said["truth"]["masks"]} == {*CLASSES, "unlabelled"}
    assert client.get("/data/images/one/prediction").status_code == 422  # several networks, and none named
    other = name_of(opened, "denoise")
    assert client.get("/data/images/one/comparison", params={"model": other}).status_code == 404


@pytest.mark.parametrize(
    "name", ["none", "..%2Fone", "..%2F..%2Fetc%2Fpasswd", "in%2F..%2Fone", "/etc/passwd", "one%00"]
)
def test_an_id_is_no_path(client: TestClient, name: str) -> None:
    answer = client.get(f"/data/images/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("there is no image")


def hostile() -> dict[str, tuple[bytes, int]]:
    good = png()
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    head = lambda size: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))  # noqa: E731
    bomb = chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b"")
    return {
        "nothing": (b"", 400),
        "text": (b"hello", 400),
        "zeros": (bytes(1000), 400),
        "cut": (good[: len(good) // 2], 400),
        "head alone": (good[:33], 400),
        "one byte off": (good[:60] + bytes([good[60] ^ 255]) + good[61:], 400),
        "bomb": (head(2000) + bomb, 413),
        "larger than Pillow reads": (head(40_000) + bomb, 413),
        "many bytes": (bytes(2_000_000), 413),
        "vector": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nquit\n", 400),
        "page": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400),
    }


@pytest.mark.parametrize("kind", hostile())
def test_hostile_uploads(client: TestClient, opened: list[Any], kind: str) -> None:
    data, code = hostile()[kind]
    for url in (f"/models/{name_of(opened, 'segment')}/predict", f"/models/{name_of(opened, 'compress')}/compress"):
        for way in ({"content": data}, {"files": {"image": ("a.png", data)}}):
            answer = client.post(url, **way)  # type: ignore[arg-type]
            assert answer.status_code == code, answer.text
            assert answer.json()["error"]
    assert client.post(f"/models/{name_of(opened, 'segment')}/predict", content=png()).status_code == 200


def test_a_size_that_only_libjpeg_reads_counts_as_well() -> None:
    saved = io.BytesIO()
    Image.new("RGB", (1200, 1200)).save(saved, "JPEG")
    data = saved.getvalue()[:2] + b"\xff\x01" + saved.getvalue()[2:]  # a marker that Pillow does not know
    assert decode_jpeg(data, 3) is not None
    with pytest.raises(HTTPException, match="1200 x 1200 pixels"):
        Door(Limits(megapixels=1), Monitor()).room_for(data).__enter__()


def test_large_pictures_wait_for_one_another() -> None:
    door, entered = Door(Limits(megapixels=1), Monitor()), threading.Event()

    def one_more() -> None:
        with door.room(1000, 1000):
            entered.set()

    with door.room(1000, 1000), door.room(500, 500, codec=True):
        waiting = threading.Thread(target=one_more)
        waiting.start()
        assert not entered.wait(0.2)
    waiting.join(10)
    assert entered.is_set()
    with pytest.raises(HTTPException, match=r"The limit is 0\.25 million pixels for a codec"):
        door.room(600, 600, codec=True).__enter__()


def test_what_is_wrong_is_said_in_a_sentence(client: TestClient, opened: list[Any]) -> None:
    url = f"/models/{name_of(opened, 'classify')}/predict"
    for answer, code, words in (
        (client.post(url, files={"picture": ("a.png", png())}), 422, "the field 'image'"),
        (client.post(url, data={"image": "text"}), 400, "is not an image"),
        (client.post(url, files={"image": (None, "text")}), 422, "the field 'image' contains text"),
        (client.post(url, content=png(), headers={"content-type": "multipart/form-data"}), 400, "boundary"),
        (client.post(url, content=png(), headers={"accept": "text/html"}), 406, "application/json"),
        (client.post(url, content=png(), params={"top": 0}), 422, "top=0"),
        (client.post("/models/nix/predict", content=png()), 404, "the models are: "),
        (client.get("/nix"), 404, "/docs"),
        (client.get(url), 405, "GET"),
    ):
        assert answer.status_code == code, answer.text
        assert words in answer.json()["error"]


def test_a_token(opened: list[Any], shown: Pictures) -> None:
    with TestClient(make_app(opened[:1], Limits(token="s3cret"), pictures=shown)) as client:
        right = {"authorization": "Bearer s3cret"}
        for url in ("/models", "/metrics", "/data/images", "/data/images/one"):
            assert client.get(url).status_code == 401
            assert client.get(url, headers={"authorization": "Bearer s3cre"}).status_code == 401
            assert client.get(url, headers=right).status_code == 200
        url = f"/models/{opened[0].description.name}/predict"
        assert client.post(url, content=png()).status_code == 401
        assert client.post(url, content=png(), headers=right).status_code == 200
        assert client.get("/health").status_code == 200


def test_a_token_of_other_letters(opened: list[Any]) -> None:
    token = "schl\N{LATIN SMALL LETTER U WITH DIAERESIS}ssel"
    with TestClient(make_app(opened[:1], Limits(token=token))) as client:
        for written in ("utf-8", "latin-1"):  # the encodings of curl and of browsers
            right = {"authorization": f"Bearer {token}".encode(written)}
            assert client.get("/models", headers=right).status_code == 200
    with TestClient(make_app(opened[:1], Limits(token=chr(0x43F) * 6))) as client:
        assert client.get("/models", headers={"authorization": "Bearer ??????"}).status_code == 401


@contextmanager
def really_served(app: FastAPI) -> Iterator[str]:
    """Run a server in its own thread and yield its address: a test client sends only one request at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_a_full_queue_says_come_again_and_the_rest_is_answered(opened: list[Any]) -> None:
    about, slow = opened[1].description, Slow()
    app = make_app([Opened(about, Predictor(about, slow))], Limits(queue=3), batch_size=2)
    with really_served(app) as base, httpx2.Client(base_url=base) as client:
        url, answers = f"/models/{about.name}/predict", list[Any]()
        threads = [
            threading.Thread(target=lambda: answers.append(httpx2.post(base + url, content=png()))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        while client.get("/ready").status_code == 200:
            time.sleep(0.01)
        refused = client.post(url, content=png())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        slow.go.set()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 3
        assert client.get("/ready").status_code == 200
        assert 'imagier_requests_total{route="/models/{model}/predict",status="503"} 1.0' in client.get("/metrics").text


def test_the_interactive_page_needs_no_network(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http" not in page.replace("http-equiv", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_models_tell_what_they_are(client: TestClient, opened: list[Any]) -> None:
    said = client.get("/models").json()["models"]
    assert [one["name"] for one in said] == [one.description.name for one in opened]
    assert json.dumps(client.get(f"/models/{said[0]['name']}").json()) == json.dumps(said[0])


def test_equal_names_get_a_number(opened: list[Any]) -> None:
    first, second = opened[1], opened[1]
    third = dataclasses.replace(
        first, description=dataclasses.replace(first.description, name=f"{first.description.name}-2")
    )
    with TestClient(make_app([first, second, third], Limits())) as client:
        names = [one["name"] for one in client.get("/models").json()["models"]]
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-2-2"]


def test_a_picture_that_was_saved_by_another(client: TestClient, opened: list[Any], tmp_path: Path) -> None:
    grey, turned = tmp_path / "grey.png", tmp_path / "turned.jpg"
    Image.fromarray(PIXELS[:, :, 0]).save(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(turned, exif=exif)
    about, predictor = opened[0].description, opened[0].answers
    for path in (grey, turned):
        answer = client.post(f"/models/{about.name}/predict", content=path.read_bytes())
        assert np.array_equal(decoded(answer), predictor(path).labels)
