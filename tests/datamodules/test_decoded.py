"""Decoded samples in the cache, against reading the files."""

import multiprocessing
import os
import shutil
import time
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image

from imagier.batch import SPLITS, Batch
from imagier.datamodules import decoded as format_of_decoded
from imagier.datamodules import survey
from imagier.datamodules.cityscapes import Cityscapes
from imagier.datamodules.decoded import Decoded, PixelFile, Stored
from imagier.datamodules.photos import Photos
from imagier.transforms.exact import HorizontalFlip, RandomCrop

SIZES = {"equal": [(24, 30)], "several": [(24, 30), (31, 20), (26, 26)]}


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def photographs(root: Path, sizes: str = "equal", count: int = 12) -> Path:
    for split in SPLITS:
        for number in range(count):
            folder = root / split / ("cats", "dogs")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            picture(number, SIZES[sizes][number % len(SIZES[sizes])]).save(folder / f"{number}.png")
    return root


def streets(root: Path) -> Path:
    for split in SPLITS:
        for number in range(4):
            image, mask = (root / folder / split / "town" for folder in ("leftImg8bit", "gtFine"))
            for folder in (image, mask):
                folder.mkdir(parents=True, exist_ok=True)
            picture(number, (24, 30)).save(image / f"{number}_leftImg8bit.png")
            ids = np.random.default_rng(number).integers(0, 34, (24, 30), np.uint8)
            Image.fromarray(ids).save(mask / f"{number}_gtFine_labelIds.png")
    return root


def ready(kind: Any, root: Path, **options: Any) -> Any:
    data = kind(**({"name": "set", "root": root, "cache": root.parent / "cache", "batch_size": 4, "seed": 3} | options))
    data.prepare_data()
    data.setup()
    return data


def batches(data: Any) -> list[Batch]:
    return [batch for split in SPLITS for batch in data.loader(split, shuffle=split == "train")]


def equal(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) > 0 and all(
        one["id"] == other["id"]
        and torch.equal(one["image"], other["image"])
        and torch.equal(one["target"], other["target"])
        for one, other in zip(left, right, strict=True)
    )


def kept(data: Any) -> bool:
    return all(isinstance(source.source, Decoded) for source in data.sources.values())


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in (root.parent / "cache" / "decoded").glob("*"))


@pytest.mark.parametrize("sizes", ["equal", "several"])
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(
    "augment",
    [[], [RandomCrop(16, 16), HorizontalFlip()], [A.RandomCrop(16, 16), A.GaussNoise(p=1)]],
    ids=["plain", "exact", "albumentations"],
)
def test_photographs(tmp_path: Path, sizes: str, labels: bool, augment: list[Any]) -> None:
    root = photographs(tmp_path / "set", sizes)
    size = [20, 22] if sizes == "several" and not augment and not labels else "auto"
    options = {"labels": labels, "augment": augment, "size": size}
    anew = ready(Photos, root, decode_once=False, **options)
    assert not folders(root)
    first, later = (ready(Photos, root, **options) for _ in range(2))
    assert kept(first)
    assert kept(later)
    assert equal(batches(first), batches(anew))
    assert equal(batches(later), batches(anew))
    assert later.findings.fingerprint == anew.findings.fingerprint


@pytest.mark.parametrize("size", [None, (12, 15)])
def test_masks(tmp_path: Path, size: Any) -> None:
    root = streets(tmp_path / "set")
    options = {"size": size, "augment": [HorizontalFlip(), A.Rotate((-20, 20))]}
    anew, first = ready(Cityscapes, root, decode_once=False, **options), ready(Cityscapes, root, **options)
    later = ready(Cityscapes, root, **options)
    assert kept(later)
    assert equal(batches(first), batches(anew))
    assert equal(batches(later), batches(anew))
    assert np.array_equal(later.class_counts(), anew.class_counts())


def test_a_second_picture_as_target(tmp_path: Path) -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    path = tmp_path / "pixels"
    path.write_bytes(b"what others wrote")
    stored = PixelFile(path, None).append([(image, 255 - image), None])
    assert stored.kinds == {("picture", 3)}
    assert stored.places.tolist() == [[17, 2, 4, 0], [65, 0, 0, 0]]
    assert stored.length == 48
    assert path.read_bytes() == b"what others wrote" + bytes([*range(24), *range(255, 231, -1)])
    of_other_channels = PixelFile(path, None).append([(image, image[:, :, :1])])
    assert len(of_other_channels.kinds) == 2  # which are not stored


def test_a_small_first_picture_lets_no_more_pixels_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, held = photographs(tmp_path / "set", "several"), list[int]()
    (root / "train" / "cats" / "0.png").write_bytes(b"the first, which says how large the others may be")

    def append(file: PixelFile, samples: Any) -> Stored:
        held.append(sum(sample[0].size for sample in samples if sample))
        return real(file, samples)

    real = PixelFile.append
    monkeypatch.setattr(PixelFile, "append", append)
    monkeypatch.setattr(survey, "_HELD", 3000)
    options = {"labels": False, "size": [20, 22], "on_error": "skip"}
    data = ready(Photos, root, **options)
    assert max(held) < 3000 + 24 * 30 * 3
    assert kept(data)
    assert equal(batches(data), batches(ready(Photos, root, decode_once=False, **options)))


def test_nothing_is_decoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path / "set")
    ready(Photos, root)
    monkeypatch.setattr("imagier.datamodules.photos.read_image", None)
    assert len(batches(ready(Photos, root))) == 9


def test_changed_added_and_removed_files_are_noticed(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set")
    before = ready(Photos, root)
    picture(99, (24, 30)).save(root / "train" / "cats" / "0.png")
    picture(98, (24, 30)).save(root / "train" / "cats" / "new.png")
    (root / "val" / "dogs" / "1.png").unlink()
    after, anew = ready(Photos, root), ready(Photos, root, decode_once=False)
    assert kept(after)
    assert equal(batches(after), batches(anew))
    assert not equal(batches(after), batches(before))


def test_other_pixels_of_equal_size_and_time_are_noticed(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set")
    for path in root.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    ready(Photos, root)
    changed = root / "train" / "cats" / "0.bmp"
    before = changed.stat()
    picture(99, (24, 30)).save(changed)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed.stat().st_size == before.st_size
    assert equal(batches(ready(Photos, root)), batches(ready(Photos, root, decode_once=False)))


def test_another_size_is_another_folder(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set")
    assert batches(ready(Photos, root, size=[8, 8]))[0]["image"].shape[2:] == (8, 8)
    assert batches(ready(Photos, root, size=[9, 8]))[0]["image"].shape[2:] == (9, 8)
    assert len(folders(root)) == 6


def test_spawned_processes_open_the_same_folder(tmp_path: Path) -> None:
    data = ready(Photos, photographs(tmp_path / "set"))
    source = data.sources["val"].source
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        image, label = pool.apply(source.read, (3,))
    assert np.array_equal(image, source.read(3)[0])
    assert label == source.read(3)[1]


@pytest.mark.parametrize("broken", [False, True])
def test_processes_that_decode_find_what_threads_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    root = photographs(tmp_path / "set", count=60)
    if broken:
        (root / "train" / "cats" / "42.png").write_bytes(b"")
    options = {"on_error": "skip"}
    with_threads = ready(Photos, root, **options)
    used = []
    by_processes = survey._by_processes
    monkeypatch.setattr(survey, "_by_processes", lambda chunks: used.append(chunks) or by_processes(chunks))
    monkeypatch.setattr(survey, "_MANY", 50)
    monkeypatch.setattr(survey, "_MOST_AT_ONCE", 7)
    monkeypatch.setattr(survey, "available_cores", lambda: 2)
    shutil.rmtree(tmp_path / "cache")
    with_processes = ready(Photos, root, **options)
    assert len(used) == 3
    assert kept(with_processes)
    assert with_processes.findings == with_threads.findings
    assert equal(batches(with_processes), batches(with_threads))


def test_what_is_returned_cannot_be_written_into(tmp_path: Path) -> None:
    data = ready(Photos, photographs(tmp_path / "set"))
    with pytest.raises(ValueError, match="read-only"):
        data.sources["val"].read(0)[0][:] = 0


def test_opening_notes_that_a_folder_is_in_use(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set")
    ready(Photos, root)
    about = [folder / "about.json" for folder in (tmp_path / "cache" / format_of_decoded.FOLDER).iterdir()]
    for path in about:
        os.utime(path, (0, 0))
    ready(Photos, root)
    assert all(path.stat().st_mtime > time.time() - 60 for path in about)
