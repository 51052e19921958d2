"""What the page admits, tested by HTTP requests without a browser."""

import io
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import HTTPException
from made import bundle_of, net_of, pictures
from PIL import Image
from test_serve import serving

from imagier.deploy.codec import PictureCodec
from imagier.server.app import make_app
from imagier.server.limits import Limits
from imagier.server.nets import Opened


def test_the_page_asks_for_the_token_and_holds_to_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(*net_of("classify", "mlp", size=(28, 28)), tmp_path / "bundle").folder
    monkeypatch.setenv("IMAGIER_TOKEN", "s3cret")
    with serving(f"ckpt={bundle}", "max_megabytes=0.1", cwd=tmp_path) as (base, _), httpx2.Client() as person:
        assert person.get(f"{base}/page/config").status_code == 401
        wrong = person.post(f"{base}/page/login", data={"username": "me", "password": "wrong"})
        assert wrong.status_code == 400
        person.post(f"{base}/page/login", data={"username": "me", "password": "s3cret"})
        assert person.get(f"{base}/page/config").status_code == 200
        large = person.post(f"{base}/page/gradio_api/upload", files={"files": ("a.png", bytes(200_000))})
        assert large.status_code == 413
        several = [("files", (f"{number}.png", bytes(60_000))) for number in range(4)]
        assert person.post(f"{base}/page/gradio_api/upload", files=several).status_code == 413
        with httpx2.Client() as stranger:  # clients without the token cannot fill memory either
            said = stranger.post(f"{base}/page/gradio_api/queue/join", content=bytes(2_000_000))
            assert said.status_code == 413
            assert stranger.get(f"{base}/page/gradio_api/run-history/buckets").status_code == 404


def test_what_is_sent_to_the_page_does_not_fill_the_disk(tmp_path: Path) -> None:
    bundle = bundle_of(*net_of("classify", "mlp", size=(28, 28)), tmp_path / "bundle").folder
    with (
        serving(f"ckpt={bundle}", "max_megabytes=0.1", "queue=2", cwd=tmp_path) as (base, _),
        httpx2.Client() as person,
    ):
        send = lambda: person.post(f"{base}/page/gradio_api/upload", files={"files": ("a.png", os.urandom(80_000))})  # noqa: E731
        assert [send().status_code for _ in range(4)] == [200, 200, 200, 503]
        assert "Try again later" in send().json()["error"]


def asked_for(person: httpx2.Client, base: str, field: str, payload: Any) -> str:
    """Return the page's response to a client that uses its protocol directly, with `payload` in a `field`."""
    page = person.get(f"{base}/page/config").json()
    fields = {one["id"]: one["type"] for one in page["components"]}
    number = next(one["id"] for one in page["dependencies"] if [fields.get(i) for i in one["inputs"]][:1] == [field])
    said = {"data": [payload], "event_data": None, "fn_index": number, "session_hash": field}
    person.post(f"{base}/page/gradio_api/queue/join", json=said).raise_for_status()
    with person.stream("GET", f"{base}/page/gradio_api/queue/data", params={"session_hash": field}) as answer:
        return next(line for line in answer.iter_lines() if "process_completed" in line)


def test_the_page_reads_no_file_that_was_not_sent_to_it(tmp_path: Path) -> None:
    bundle = bundle_of(*net_of("classify", "cnn", size=(28, 28)), tmp_path / "bundle").folder
    private = tmp_path / "private.png"
    Image.fromarray(pictures(1, (20, 30))[0].transpose(1, 2, 0)).save(private)
    with serving(f"ckpt={bundle}", "max_megapixels=0.01", cwd=tmp_path) as (base, _), httpx2.Client() as person:
        for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
            theirs = {"path": str(private)} | meta
            drawn = {"background": theirs, "layers": [theirs], "composite": theirs, "id": None}
            for field, payload in (("image", theirs), ("imageeditor", drawn)):
                told = asked_for(person, base, field, payload)
                assert '"success":false' in told
                assert "sidewalk" not in told
        for size, success in (((20, 30), True), ((200, 300), False)):  # the limits apply to drawings as well
            picture = io.BytesIO()
            Image.fromarray(pictures(1, size)[0].transpose(1, 2, 0)).save(picture, format="PNG")
            files = {"files": ("a.png", picture.getvalue())}
            (path,) = person.post(f"{base}/page/gradio_api/upload", files=files).json()
            own = {"path": path, "meta": {"_type": "gradio.FileData"}}
            drawn = {"background": None, "layers": [], "composite": own, "id": None}
            for field, payload in (("image", own), ("imageeditor", drawn)):
                assert ("sidewalk" in asked_for(person, base, field, payload)) == success


def test_the_page_fetches_nothing_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(*net_of("classify", "mlp", size=(28, 28)), tmp_path / "bundle").folder
    left = f"imagier-page-99999999-{socket.gethostname()}-left"  # left by a killed server
    (tmp_path / "tmp" / left).mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with serving(f"ckpt={bundle}", cwd=tmp_path) as (base, server), httpx2.Client() as person:
        theirs = {"path": "https://example.org/a.png", "meta": {"_type": "gradio.FileData"}}
        assert "https://example.org/a.png was not uploaded to this page" in asked_for(person, base, "image", theirs)
        assert "does not fetch anything" in person.get(f"{base}/page/gradio_api/file=https://example.org/a.png").text
        person.post(f"{base}/page/gradio_api/upload", files={"files": ("a.png", bytes(100))}).raise_for_status()
        assert list((tmp_path / "tmp").glob("imagier-page-*/*"))
        server.terminate()
        server.wait(30)
    assert not list((tmp_path / "tmp").glob("imagier-page-*"))


def test_a_codec_has_the_same_limit_on_the_page_as_over_http() -> None:
    import gradio

    from imagier.server.page.desk import Desk

    codec, about = net_of("compress", "factorized")
    app = make_app([Opened(about, PictureCodec(about, codec.eval()))], Limits(megapixels=0.01))
    (net,) = app.state.nets.values()
    for side, fits in ((40, True), (60, False)):
        image = io.BytesIO()
        Image.fromarray(pictures(1, (side, side))[0].transpose(1, 2, 0)).save(image, format="PNG")
        refused = nullcontext() if fits else pytest.raises(HTTPException, match=r"0\.0025 million pixels for a codec")
        with refused, Desk(app).read(image.getvalue(), net) as pixels:
            assert pixels.shape == (side, side, 3)
    with pytest.raises(gradio.Error, match="has been deleted meanwhile"), Desk(app).read("/gone.png", net):
        pass


def test_what_a_bundle_says_of_itself_is_shown_as_text() -> None:
    from imagier.server.page.training import _plain

    assert not set("<>![]|*`") & set(_plain("<b>![a](http://host/p.png) | *b* `c`"))


def test_noise_is_as_strong_as_said() -> None:
    from imagier.server.page.denoise import with_noise

    grey = np.full((64, 64, 3), 128, np.uint8)
    assert with_noise(grey, 20).std() == pytest.approx(20, rel=0.05)
    assert np.array_equal(with_noise(grey, 0), grey)
