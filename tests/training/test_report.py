import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier.batch import Facts
from imagier.training.pictures import Sample
from imagier.training.report import Summary, write_report
from imagier.training.report.sections import intersection_over_union, precision, recall

CLASSES = ("road", "sky", "<b>bold</b> & co")
FACTS = Facts("tiny", 3, (8, 12), (0.5,) * 3, (0.2,) * 3, CLASSES, ((9, 9, 9), (0, 0, 250), (250, 0, 0)), 255)
CONFUSION = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]], np.int64)  # the third class does not occur
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
METRICS = "epoch,step,time,train/loss,val/loss,val/iou\n0,1,0.1,2.0,,\n0,2,0.2,,nan,0.5\n"


class Page(HTMLParser):
    """Collects tags and visible text, and checks that all tags are closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def segment_summary() -> Summary:
    mask = np.array(IMAGE[..., 0] % 2)
    mask[0] = 255
    sample = Sample("<script>alert(1)</script>", IMAGE, mask, np.zeros((8, 12), np.uint8), {"iou": 0.5})
    return Summary(
        title="unet on tiny",
        sentence="python train.py task=segment 'data.root=/a b'",
        task="segment",
        metric="iou",
        facts=FACTS,
        results={
            "val": {"loss": 0.4, "iou": 0.71, "iou/road": 0.7, "pixel_accuracy": float("nan")},
            "test": {"loss": 0.5, "iou": 0.6996},
        },
        parameters=1_234_567,
        seconds=61,
        machine="2 CPU cores",
        best_epoch=0,
        best_step=2,
        confusion={"val": CONFUSION, "test": CONFUSION},
        samples=[sample, sample],
        first_batch=[sample],
        class_counts={"train": CONFUSION.sum(1), "val": CONFUSION.sum(1)},
        problems=[f"skipped {number}.png" for number in range(9)],
        notes=["there is no test split"],
        environment={"python": "3.11", "data": {"fingerprint": "abc"}},
        config_yaml="task: segment\nmodel: <unet>\n",
        next_commands=[("Measure it again", "python scripts/evaluate.py ckpt=runs/latest")],
    )


def classify_summary() -> Summary:
    samples = [
        Sample("one", IMAGE[..., :1], 0, 0, {"probability": 0.9}),
        Sample("two", IMAGE[..., :1], 1, 2, {"probability": 0.8}),
    ]
    results = {"val": {"loss": 0.4, "accuracy": 0.85}}
    confusion = {"val": CONFUSION}
    return replace(
        segment_summary(),
        task="classify",
        metric="accuracy",
        facts=replace(FACTS, channels=1, colors=(), ignore_index=None),
        results=results,
        confusion=confusion,
        samples=samples,
        first_batch=samples,
    )


@pytest.mark.parametrize("summary", [segment_summary(), classify_summary()], ids=["segment", "classify"])
def test_page_needs_nothing_but_itself(tmp_path: Path, summary: Summary) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    path = write_report(tmp_path, summary)
    assert path == tmp_path / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    links = [attributes.get("src") or attributes.get("href") or "" for _, attributes in page.tags]
    assert all(link.startswith(("data:image/", "#")) for link in links if link)
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert page.all("script") == page.all("link") == []
    anchors = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert anchors <= {attributes.get("id") for _, attributes in page.tags}


@pytest.mark.parametrize("summary", [segment_summary(), classify_summary()], ids=["segment", "classify"])
def test_every_picture_is_there_twice_and_described(tmp_path: Path, summary: Summary) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    page = Page(write_report(tmp_path, summary).read_text(encoding="utf-8"))
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"{name}.png" for name in ("curves", "samples", "classes", "confusion", "balance", "first_batch")}
    for path in (tmp_path / "pictures").iterdir():
        with Image.open(path) as picture:
            picture.load()
    assert len(page.all("img")) == len(names)
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"
    assert "70.0 %" in "".join(page.words) or "85.0 %" in "".join(page.words)


def test_names_are_escaped_and_numbers_are_for_people(tmp_path: Path) -> None:
    text = write_report(tmp_path, segment_summary()).read_text(encoding="utf-8")
    words = " ".join(Page(text).words)
    assert CLASSES[2] in words
    assert "<b>bold" not in text
    assert "<script" not in text
    for expected in ("70.0 %", "1.2M", "1 min 1 s", "model: <unet>", "data.root=/a b", "data.fingerprint", "4 more"):
        assert expected in words


def test_absent_classes_and_undefined_values_are_dashes(tmp_path: Path) -> None:
    text = write_report(tmp_path, segment_summary()).read_text(encoding="utf-8")
    (row,) = re.findall(r"<tr>[^\n]*bold[^\n]*</tr>", text.split('id="classes"')[1].split("</table>")[0])
    assert re.findall(r"<td>(.*?)</td>", row) == ["\N{EN DASH}"] * 3 + ["0"]
    assert not re.search(r">nan[< ]", text)


def test_a_bare_summary_still_makes_a_page(tmp_path: Path) -> None:
    bare = Summary("net on tiny", "python train.py", "unheard-of", "psnr", FACTS, {}, parameters=5, seconds=0.2)
    assert "net on tiny" in "".join(Page(write_report(tmp_path, bare).read_text(encoding="utf-8")).words)


def test_without_test_split_validation_is_the_verdict(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, classify_summary()).read_text(encoding="utf-8"))
    assert "Accuracy, validation" in page.words
    assert "Bars show the validation split." in " ".join(page.words)
    unlabelled = replace(classify_summary(), results=classify_summary().results | {"test": {}})
    assert "Bars show the validation split." in " ".join(
        Page(write_report(tmp_path, unlabelled).read_text(encoding="utf-8")).words
    )


def test_writing_again_replaces_and_leaves_nothing_aside(tmp_path: Path) -> None:
    write_report(tmp_path, segment_summary())
    write_report(tmp_path, replace(segment_summary(), title="second"))
    assert "second" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "report.html"]
    assert not [path for path in (tmp_path / "pictures").iterdir() if path.suffix != ".png"]


def test_large_photographs_stay_small(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    small = draws.integers(0, 256, (64, 128, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(small).resize((2048, 1024), Image.Resampling.BICUBIC))
    mask = np.asarray(Image.fromarray(draws.integers(0, 2, (32, 64), dtype=np.uint8)).resize((2048, 1024)))
    samples = [Sample(str(number), image, mask, 1 - mask, {"iou": 0.1}) for number in range(8)]
    path = write_report(tmp_path, replace(segment_summary(), samples=samples, first_batch=samples))
    assert path.stat().st_size < 4e6


def test_scores_of_classes() -> None:
    assert intersection_over_union(CONFUSION)[:2].tolist() == [8 / 11, 9 / 12]
    assert recall(CONFUSION)[:2].tolist() == [0.8, 0.9]
    assert precision(CONFUSION)[:2].tolist() == [8 / 9, 9 / 11]
    assert all(np.isnan(measure(CONFUSION)[2]) for measure in (intersection_over_union, recall, precision))
