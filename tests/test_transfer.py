"""`imagier transfer-report`, and the throttled link that it measures with."""

import csv
import math
import time
from http.client import HTTPResponse
from pathlib import Path

import numpy as np
import pytest
from conftest import spoken
from made import bundle_of, net_of
from PIL import Image

from imagier.synthetic.leaves import picture
from imagier.transfer.forms import Form
from imagier.transfer.link import Link, send_paced
from imagier.transfer.page import fully_scored, grouped, verdicts, write_page
from imagier.transfer.trial import Passage, passages


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a codec's bundle and photographs."""
    folder = tmp_path_factory.mktemp("house")
    net, about = net_of("compress", "hyperprior", ("model.lambdas=[0.001,0.01]",))
    bundle_of(net, about, folder / "bundle", formats=[])
    (folder / "photos").mkdir()
    for number, size in enumerate([(64, 80), (61, 83), (40, 40)]):
        leaves = picture(np.random.default_rng(number), size)
        Image.fromarray(leaves).save(folder / "photos" / f"{number}.png")
    return folder


def report(*words: str, cwd: Path, code: int = 0) -> str:
    return spoken("transfer-report", "ckpt=bundle", "photos", *words, cwd=cwd, code=code)


def test_every_form_goes_over_every_link(house: Path) -> None:
    said = report("rates=[50,2]", "pictures=2", "output=sent", cwd=house)
    with (house / "sent" / "transfer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["picture"] for row in rows} == {"0.png", "1.png"}  # of three
    assert {row["form"] for row in rows} == {"hyperprior-leaves", "PNG", "JPEG", "WebP", "AVIF"}
    assert len(rows) == 2 * (2 + 1 + 6 + 6 + 6)
    for row in rows:
        assert float(row["bpp"]) == pytest.approx(8 * int(row["bytes"]) / int(row["pixels"]))
        assert float(row["transfer 2 Mbit/s"]) >= 8 * int(row["bytes"]) / 2e6  # no link is faster than its rate
        assert (float(row["psnr"]) == 100) == (row["form"] == "PNG")
    assert (house / "sent" / "time.png").is_file()
    assert (house / "sent" / "rate-distortion.png").is_file()
    page = (house / "sent" / "transfer.html").read_text()
    assert "JPEG 45" in page
    assert "http://" not in page
    assert "dB, 2 Mbit/s: " in said
    assert "output=sent already contains transfer.csv" in report("rates=[]", "output=sent", cwd=house, code=2)


def test_a_broken_picture_is_said_and_the_others_are_sent(house: Path) -> None:
    (house / "broken.jpg").write_bytes(b"\xff\xd8 and no more")
    said = report("broken.jpg", "rates=[]", "output=others", cwd=house, code=3)
    assert "broken.jpg: " in said
    assert "1 of 4 files were skipped" in said
    with (house / "others" / "transfer.csv").open(newline="") as file:
        assert {row["picture"] for row in csv.DictReader(file)} == {"0.png", "1.png", "2.png"}


def test_words_without_sense_are_refused_before_anything_is_sent(house: Path) -> None:
    assert "rates" in report("rates=[10,0]", "output=never", cwd=house, code=2)
    assert not (house / "never").exists()


def test_an_output_that_is_none_is_refused_before_anything_is_sent(house: Path) -> None:
    (house / "file").write_text("mine")
    assert "output=file cannot be written" in report("output=file", "rates=[]", cwd=house, code=2)
    assert (house / "file").read_text() == "mine"


def test_a_picture_that_a_rival_cannot_hold_is_said(house: Path) -> None:
    Image.new("RGB", (17000, 16)).save(house / "wide.png")
    said = report("wide.png", "rates=[]", "pictures=null", "output=held", cwd=house, code=3)
    assert "wide.png: 17000 x 16 pixels, but WebP allows at most 16383 on a side" in said
    assert (house / "held" / "transfer.html").is_file()


def test_a_link_that_is_left_early_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HTTPResponse, "read", interrupted)
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt), Link(0.8) as link:
        link.fetch(bytes(2_000_000))  # twenty seconds
    assert time.perf_counter() - began < 5


def interrupted(_response: HTTPResponse) -> bytes:
    raise KeyboardInterrupt


def test_a_link_is_as_fast_as_it_says() -> None:
    data = np.random.default_rng(0).bytes(50_000)
    with Link(8) as link:  # a megabyte per second
        seconds = link.fetch(data)
    assert 0.05 <= seconds < 0.5


def test_bytes_are_paced_to_the_last() -> None:
    sent = []
    began = time.perf_counter()
    send_paced(sent.append, b"x" * 4000, 40_000)
    assert time.perf_counter() - began >= 0.1
    assert [len(part) for part in sent] == [1460, 1460, 1080]


def test_times_are_of_what_was_done() -> None:
    def slow(image_HWC: np.ndarray) -> bytes:
        time.sleep(0.02)
        return image_HWC.tobytes()

    def slower(data: bytes) -> np.ndarray:
        time.sleep(0.04)
        return np.frombuffer(data, np.uint8).reshape(8, 8, 3)

    image_HWC = picture(np.random.default_rng(0), (8, 8))
    found = next(passages([("a", image_HWC)], [Form("raw", None, slow, slower)], [Link(None)]))
    assert 0.02 <= found.encode < 0.04 <= found.decode
    assert (found.bytes, found.bpp, found.psnr) == (192, 24, 100)
    assert found.seconds("loopback") == found.encode + found.links["loopback"] + found.decode


def test_means_are_over_pictures_that_have_every_score(tmp_path: Path) -> None:
    """Otherwise an image too small for MS-SSIM would count in a point's bits but not in its quality."""

    def passed(name: str, form: str, quality: int, size: int, similarity: float) -> Passage:
        return Passage(name, form, quality, 800, size, 0.1, 0.1, {"loopback": 0.1}, 20.0 + quality, 0.5, similarity)

    large = [
        passed("a", form, q, size * q, 0.5 + q / 10) for form, size in (("net", 50), ("JPEG", 100)) for q in (1, 2)
    ]
    small = [passed("b", form, q, size * q, math.nan) for form, size in (("net", 900), ("JPEG", 10)) for q in (1, 2)]
    scored = fully_scored(grouped([*large, *small]))
    assert [[one.picture for one in group] for group in scored] == [["a"]] * 4
    page = write_page(tmp_path / "page.html", [*large, *small], "made").read_text()
    assert "Means over 1 of 2 images" in page
    assert page.count("\N{MINUS SIGN}50.0 %") == 2  # by PSNR and by MS-SSIM
    assert fully_scored(grouped(small)) == grouped(small)


def test_the_verdict_is_of_the_pictures_in_the_table() -> None:
    def passed(name: str, form: str, psnr: float, similarity: float) -> Passage:
        return Passage(name, form, 1, 100, 100, 0.1, 0.1, {"loopback": 0.0}, psnr, 1, similarity)

    groups = grouped([passed("a", form, 30, 1) for form in ("net", "JPEG")] + [passed("b", "net", 20, math.nan)])
    assert verdicts(groups)[0][0] == "fastest at 30.0 dB, loopback"


def test_the_verdict_is_the_soonest_of_those_that_are_good_enough() -> None:
    def passed(form: str, psnr: float, slow: float) -> Passage:
        return Passage("a", form, 1, 100, 100, 0.1, 0.1, {"loopback": 0.0, "1 Mbit/s": slow}, psnr, 1, 1)

    groups = grouped([passed("net", 30, 0.2), passed("JPEG", 31, 0.1), passed("WebP", 29, 0.01)])
    assert verdicts(groups)[1] == ("fastest at 30.0 dB, 1 Mbit/s", "JPEG 1: 300 ms")
