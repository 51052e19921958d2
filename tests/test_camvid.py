"""scripts/camvid.py converts CamVid as distributed with SegNet to what `data=cityscapes` reads."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier.datamodules.cityscapes import Cityscapes
from tests.conftest import REPOSITORY

NAMES = {"train": ["0001TP_006690", "0016E5_08049"], "val": ["0006R0_f00930"], "test": ["Seq05VD_f00000"]}


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Four frames, each of one colour that no other has; row r of a mask is class r, up to 11."""
    shade = 0
    for split, names in NAMES.items():
        for name in names:
            for folder, pixels in ((split, np.full((24, 32, 3), shade, np.uint8)), (f"{split}annot", classes())):
                (tmp_path / "CamVid" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "CamVid" / folder / f"{name}.png")
            shade += 40
    return tmp_path / "CamVid"


def classes() -> np.ndarray:
    return np.arange(24, dtype=np.uint8).clip(max=11).repeat(32).reshape(24, 32)


def converted(source: Path, dest: Path, code: int = 0) -> str:
    words = [sys.executable, str(REPOSITORY / "scripts" / "camvid.py"), str(source), str(dest)]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


def test_it_is_read_with_its_own_names_classes_and_splits(camvid: Path, tmp_path: Path) -> None:
    assert "2 train, 1 val, 1 test frames" in converted(camvid, tmp_path / "out")
    data = Cityscapes(name="cityscapes", root=tmp_path / "out", cache=tmp_path / "cache", size=None)
    data.prepare_data()
    data.setup()
    assert {split: list(source.ids) for split, source in data.sources.items()} == {
        "train": ["cambridge_000001_006690", "cambridge_000016_008049"],
        "val": ["cambridge_000006_000930"],
        "test": ["cambridge_000005_000000"],
    }
    image, labels = data.sources["val"].read(0)
    assert (image == 80).all()
    told = [data.facts.classes[label] if label < len(data.facts.classes) else "ignored" for label in labels[:13, 0]]
    assert told == [
        "sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car", "person", "rider",
        "ignored", "ignored",
    ]  # fmt: skip


def _broken_chunk(path: Path) -> None:
    whole = path.read_bytes()
    at = whole.index(b"IDAT")
    path.write_bytes(whole[: at - 4] + (1).to_bytes(4, "big") + whole[at:])  # its length


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "valannot" / "0006R0_f00930.png").unlink(), "0006R0_f00930.png is missing"),
        (lambda folder: (folder / "val").rename(folder / "v"), "has test, testannot, train, trainannot, v, valannot"),
        (lambda folder: Image.new("L", (32, 24), 30).save(folder / "valannot" / "0006R0_f00930.png"), "the value 30"),
        (lambda folder: Image.new("RGB", (9, 9), "red").save(folder / "valannot" / "0006R0_f00930.png"), "one channel"),
        (lambda folder: (folder / "val" / "0006R0_f00930.png").rename(folder / "val" / "a.png"), "is not named as"),
        (lambda folder: (folder / "val" / "0006R0_f00930.png").unlink(), "val holds no .png"),
        (lambda folder: _broken_chunk(folder / "valannot" / "0006R0_f00930.png"), "cannot be decoded"),
        (lambda folder: Image.new("1", (32, 24)).save(folder / "valannot" / "0006R0_f00930.png"), "8 bits per pixel"),
        (lambda folder: (folder.parent / "out").touch(), "out cannot be written"),
    ],
)  # fmt: skip
def test_what_is_no_camvid_is_said(
    camvid: Path, tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(camvid)
    said = converted(camvid, tmp_path / "out", code=2 if "testannot" in sentence or "written" in sentence else 3)
    assert said.startswith("camvid: ")
    assert sentence in said
