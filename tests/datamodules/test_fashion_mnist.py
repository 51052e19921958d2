import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagier import synthetic
from imagier.datamodules.fashion_mnist import CLASSES, FashionMNIST
from imagier.datamodules.idx_file import read_idx
from imagier.errors import ConfigError, DataError
from imagier.synthetic import garments

TRAIN, TEST = 200, 30


def _idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (TRAIN, 28, 28), np.uint8),
        "train-labels-idx1-ubyte": (np.arange(TRAIN) % 10).astype(np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (TEST, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte": (np.arange(TEST) % 10).astype(np.uint8),
    }


def _write(folder: Path, *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in _arrays().items():
        data = _idx(array)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data, mtime=0) if packed else data)


def _open(root: Path | None, **options: Any) -> FashionMNIST:
    data = FashionMNIST(name="fashion_mnist", cache=root.parent / "cache" if root else "cache", root=root, **options)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    _write(tmp_path / "set" / "FashionMNIST" / "raw")
    return tmp_path / "set"


def test_every_sample_arrives_once_with_its_picture_and_label(root: Path) -> None:
    data, arrays = _open(root), _arrays()
    seen = []
    for split in ("train", "val"):
        source = data.sources[split]
        for index, name in enumerate(source.ids):
            number = int(name.removeprefix("train-"))
            image, label = source.read(index)
            assert image.shape == (28, 28, 1)
            assert np.array_equal(image[:, :, 0], arrays["train-images-idx3-ubyte"][number])
            assert label == number % 10
            seen.append(number)
    assert sorted(seen) == list(range(TRAIN))
    assert len(data.sources["test"]) == TEST
    batch = next(iter(data.test_dataloader()))
    assert batch["image"][:, 0].numpy().tolist() == arrays["t10k-images-idx3-ubyte"][:16].tolist()
    assert batch["target"].tolist() == [number % 10 for number in range(16)]


def test_facts_are_those_of_the_files(root: Path) -> None:
    facts, pixels = _open(root).facts, _arrays()["train-images-idx3-ubyte"] / 255
    assert (facts.channels, facts.size, facts.classes) == (1, (28, 28), CLASSES)
    assert facts.mean == (pytest.approx(pixels.mean(), abs=1e-4),)
    assert facts.std == (pytest.approx(pixels.std(), abs=1e-4),)
    assert len(set(facts.colors)) == 10
    assert _open(root, size=[32, 32]).facts.size == (32, 32)


def test_validation_is_stratified_and_the_same_in_every_run(root: Path) -> None:
    data = _open(root, val_fraction=0.1)
    assert data.class_counts().tolist() == [18] * 10
    val = data.sources["val"]
    assert np.bincount([val.read(index)[1] for index in range(len(val))]).tolist() == [2] * 10
    # Golden values: moving samples between the splits would make scores incomparable with those of older versions.
    assert val.ids[:4] == ["train-00001", "train-00015", "train-00016", "train-00034"]
    wider = set(_open(root, val_fraction=0.3).sources["val"].ids)
    assert wider > set(val.ids)


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "raw", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_layouts(tmp_path: Path, place: str, packed: bool) -> None:
    _write(tmp_path / "set" / place, packed=packed)
    assert len(_open(tmp_path / "set").sources["train"]) == 180


def test_reads_what_the_embedded_set_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(name: str, cache: Path) -> Path:
        garments.generate(cache / name, train=60, test=20)
        return cache / name

    monkeypatch.setattr(synthetic, "ensure", ensure, raising=False)
    data = FashionMNIST(name="garments", cache=tmp_path, embedded="garments", val_fraction=1 / 6)
    data.prepare_data()
    data.setup()
    assert [len(data.sources[split]) for split in ("train", "val", "test")] == [50, 10, 20]
    assert garments.CLASSES == CLASSES


def test_missing_files_are_listed_with_the_way_to_fetch_them(root: Path, tmp_path: Path) -> None:
    (root / "FashionMNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"raw lacks t10k-labels-idx1-ubyte .*data\.download=true"):
        _open(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"FashionMNIST/raw lacks train-images-idx3-ubyte, .*data\.download=true"):
        _open(tmp_path / "empty")
    with pytest.raises(DataError, match=r"Did you mean 'set'\?"):
        _open(tmp_path / "sett")
    with pytest.raises(ConfigError, match=r"set data\.root to .*data\.download=true"):
        _open(None)


def test_nothing_is_fetched_unasked_or_when_it_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", forbidden)
    _open(root, download=True)
    with pytest.raises(DataError):
        _open(root.parent)


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    with pytest.raises(DataError, match=r"could not download Fashion-MNIST \(no route to host\); check") as caught:
        _open(tmp_path / "set", download=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_val_fraction_must_be_a_share(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="val_fraction"):
        FashionMNIST(name="fashion_mnist", cache=tmp_path, root=tmp_path, val_fraction=share)


def test_val_fraction_that_leaves_nothing(root: Path) -> None:
    with pytest.raises(ConfigError, match="leaves none for the split 'val'"):
        _open(root, val_fraction=0.001)


GOOD = _idx(np.arange(6, dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a", b"", "empty"),
        ("a", b"\x00\x00\x08\x03" + GOOD[4:], "starts with the bytes 00 00 08 03; .* starts with 00 00 08 01"),
        ("a", b"\x00\x00\x0d\x01" + GOOD[4:], "starts with the bytes 00 00 0d 01"),
        ("a", b"<html>", "starts with the bytes 3c 68 74 6d"),
        ("a", GOOD[:6], "ends within its header, after 6 of 8 bytes"),
        ("a", GOOD[:-1], "has 5 values, but its header announces 6"),
        ("a", GOOD + b"x", "has 7 values, but its header announces 6"),
        ("a.gz", GOOD, "cannot be read: Not a gzipped file"),
        ("a.gz", gzip.compress(GOOD, mtime=0)[:-10], "cannot be read: Compressed file ended"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_idx(tmp_path / name, dimensions=1)
    assert str(tmp_path / name) in str(caught.value)
    assert "Delete the file" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("train-labels-idx1-ubyte", np.zeros(7, np.uint8), r"200 images but .* 7 labels"),
        ("train-labels-idx1-ubyte", np.r_[np.zeros(TRAIN - 1), 10].astype(np.uint8), "sample 199 the label 10"),
        ("train-images-idx3-ubyte", np.zeros((TRAIN, 32, 30), np.uint8), "images of 32 x 30"),
        ("t10k-images-idx3-ubyte", np.zeros((0, 28, 28), np.uint8), "0 images"),
    ],
)
def test_files_that_contradict_each_other(root: Path, name: str, array: np.ndarray, said: str) -> None:
    (root / "FashionMNIST" / "raw" / name).write_bytes(_idx(array))
    with pytest.raises(DataError, match=said) as caught:
        _open(root)
    assert name in str(caught.value)
