"""`imagier compress` and `imagier decompress` as a user calls them."""

import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, imagier, spoken
from made import bundle_of, net_of, pictures
from PIL import Image

from imagier.deploy.codec import PictureCodec
from imagier.models import bitstream
from imagier.opening import load


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, leaves_root: Path) -> Path:
    """A folder with a trained codec in runs/latest, and photographs of odd sizes, one of them grey."""
    folder = tmp_path_factory.mktemp("house")
    words = ["task=compress", "model.width=8", "model.latents=8", "data=photos", "data.labels=false", "report=false"]
    imagier(*words, f"data.root={leaves_root}", "trainer.max_epochs=1", "trainer=cpu", "test=false", cwd=folder)
    (folder / "photos").mkdir()
    for number, size in enumerate([(40, 52), (33, 97), (1, 1)]):
        Image.fromarray(pictures(1, size, number)[0].transpose(1, 2, 0)).save(
            folder / "photos" / f"a picture {number}.png"
        )
    Image.fromarray(pictures(1, (50, 41))[0][0]).save(folder / "photos" / "grey.png")
    return folder


def compress(*words: str, cwd: Path, code: int = 0) -> str:
    return spoken("compress", "ckpt=runs/latest", *words, cwd=cwd, code=code)


def decompress(*words: str, cwd: Path, code: int = 0) -> str:
    return spoken("decompress", "ckpt=runs/latest", *words, cwd=cwd, code=code)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_photographs_there_and_back(house: Path) -> None:
    said = compress(
        "photos/a picture 0.png", "photos/a picture 1.png", "photos/a picture 2.png", "photos/grey.png", cwd=house
    )
    files = sorted((house / "compressed").iterdir())
    assert [path.name for path in files] == ["a picture 0.imgr", "a picture 1.imgr", "a picture 2.imgr", "grey.imgr"]
    for path, line in zip(files, said.splitlines(), strict=False):
        assert f"{path.name}: {path.stat().st_size} bytes" in line
    decompress("compressed", cwd=house)
    codec = load(house / "runs" / "latest")
    assert isinstance(codec, PictureCodec)
    for path in files:
        original = pixels(house / "photos" / f"{path.stem}.png")
        read = pixels(house / "decompressed" / f"{path.stem}.png")
        assert read.shape == (*original.shape[:2], 3)
        assert np.array_equal(read, codec.decompress(path.read_bytes()))


def test_any_number_of_threads_writes_and_reads_the_same(house: Path) -> None:
    for threads in (1, 2):
        compress("photos", f"output=there{threads}", f"threads={threads}", cwd=house)
        decompress("there1", f"output=back{threads}", f"threads={threads}", cwd=house)
    for one, other in (("there1", "there2"), ("back1", "back2")):
        found = {path.name: path.read_bytes() for path in (house / one).iterdir()}
        assert found == {path.name: path.read_bytes() for path in (house / other).iterdir()}
        assert len(found) == 4


def test_better_pictures_take_larger_files(house: Path) -> None:
    source = house / "photos" / "a picture 1.png"
    sizes = []
    for quality in (1, 3):
        compress(str(source), f"quality={quality}", f"output=q{quality}", cwd=house)
        sizes.append((house / f"q{quality}" / "a picture 1.imgr").stat().st_size)
    assert sizes[0] < sizes[1]
    said = compress(str(source), "quality=4", cwd=house, code=2)
    assert "quality=4 is out of range: the qualities of this network are 1 to 3" in said
    assert "Traceback" not in said


def test_files_that_are_there_stay(house: Path) -> None:
    compress("photos/grey.png", "output=once", cwd=house)
    before = (house / "once" / "grey.imgr").read_bytes()
    said = compress("photos/grey.png", "output=once", "quality=1", cwd=house, code=3)
    assert "grey.imgr already exists" in said
    assert (house / "once" / "grey.imgr").read_bytes() == before
    compress("photos/grey.png", "output=once", "quality=1", "overwrite=true", cwd=house)
    assert (house / "once" / "grey.imgr").read_bytes() != before
    said = compress("photos/grey.png", "output=photos/grey.png", cwd=house, code=2)
    assert "output=photos/grey.png cannot be written" in said


def test_through_a_pipe(house: Path) -> None:
    words = [sys.executable, str(REPOSITORY / "scripts" / "compress.py"), "-", "ckpt=runs/latest", "output=piped"]
    data = (house / "photos" / "grey.png").read_bytes()
    subprocess.run(
        words, cwd=house, input=data, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    assert (house / "piped" / "stdin.imgr").read_bytes()[:4] == b"imgr"


def test_bad_files_are_told_and_the_others_done(house: Path, tmp_path: Path) -> None:
    compress("photos/grey.png", "output=some", cwd=house)
    good = (house / "some" / "grey.imgr").read_bytes()
    (house / "some" / "cut.imgr").write_bytes(good[:-3])
    (house / "some" / "changed.imgr").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    (house / "some" / "foreign.imgr").write_bytes((house / "photos" / "grey.png").read_bytes())
    head = replace(bitstream.read(good)[0], height=1 << 14, width=1 << 14).to_bytes()
    (house / "some" / "forged.imgr").write_bytes(head + struct.pack("<I", zlib.crc32(head)))  # 25 bytes for 50 GB
    said = decompress("some", f"output={tmp_path}/out", cwd=house, code=3)
    assert "cut.imgr: The file is damaged or truncated" in said
    assert "changed.imgr: The file is damaged or truncated" in said
    assert "foreign.imgr: The file was not written by imagier compress" in said
    assert "forged.imgr: the file declares 16384 x 16384 pixels, more than max_megapixels=64" in said
    assert "1 of 5 files in" in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["grey.png"]


def test_a_net_of_another_task_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(*net_of("classify", "cnn", size=(28, 28)), tmp_path / "bundle").folder
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    said = spoken("compress", f"ckpt={bundle}", "a.png", cwd=tmp_path, code=2)
    assert "is not a codec: it was trained for task=classify" in said


def test_graphs_are_compared_on_held_out_pictures_alone(house: Path) -> None:
    for split in ("train", "all"):
        said = spoken("export", "ckpt=runs/latest", f"split={split}", cwd=house, code=2)
        assert f"split={split}: graphs are compared on images that were not used for training" in said


def test_a_bundle_writes_and_reads_what_its_run_does(house: Path) -> None:
    said = spoken("export", "ckpt=runs/latest", "samples=2", cwd=house)
    assert "onnx fp32 encoder: 2 held-out images" in said
    assert "use it: imagier compress photo.jpg ckpt=" in said
    ours = "ckpt=runs/latest/bundle"
    compress("photos", "output=by_run", cwd=house)
    spoken("compress", ours, "photos", "output=by_bundle", cwd=house)
    spoken("decompress", ours, "by_run", "output=read_by_bundle", cwd=house)
    decompress("by_bundle", "output=read_by_run", cwd=house)
    for path in (house / "by_run").iterdir():
        assert (house / "by_bundle" / path.name).read_bytes() == path.read_bytes()
        one, other = (pixels(house / f"read_by_{who}" / f"{path.stem}.png") for who in ("run", "bundle"))
        assert np.array_equal(one, other)
    said = spoken("predict", ours, "source=photos", cwd=house, code=2)
    assert "is a codec: use `imagier compress` to write its files" in said
