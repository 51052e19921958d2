"""Broken or missing data: one message with file, value and fix, and exit code 3, before any training."""

import gzip
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier import cli

Damage = Callable[[Path], object]


def mask_of(root: Path) -> Path:
    return sorted(root.glob("gtFine/train/*/*_labelIds.png"))[0]


def image_of(root: Path) -> Path:
    return sorted(root.glob("leftImg8bit/train/*/*.png"))[0]


def write_ids(path: Path, ids_HW: np.ndarray) -> None:
    Image.fromarray(ids_HW).save(path)


def odd_value(root: Path) -> None:
    ids = np.asarray(Image.open(mask_of(root))).copy()
    ids[0, 0] = 77
    write_ids(mask_of(root), ids)


def unlabelled_validation(root: Path) -> None:
    for path in root.glob("gtFine/val/*/*_labelIds.png"):
        write_ids(path, np.zeros_like(np.asarray(Image.open(path))))


STREETS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "a mask value outside the table": (odd_value, ("_labelIds.png", "77")),
    "an image without its mask": (lambda root: mask_of(root).unlink(), ("_labelIds.png", "missing")),
    "a mask of another size": (
        lambda root: write_ids(mask_of(root), np.zeros((5, 7), np.uint8)), ("5 x 7", "same size"),
    ),
    "a coloured mask": (
        lambda root: write_ids(mask_of(root), np.full((48, 96, 3), (1, 2, 3), np.uint8)), ("_labelIds.png", "RGB"),
    ),
    "an image cut short": (
        lambda root: image_of(root).write_bytes(image_of(root).read_bytes()[:200]), ("_leftImg8bit.png",),
    ),
    "an empty file": (lambda root: image_of(root).write_bytes(b""), ("_leftImg8bit.png", "empty")),
    "validation without a class": (unlabelled_validation, ("split 'val' belongs", "nothing to evaluate")),
    "no images at all": (lambda root: shutil.rmtree(root / "leftImg8bit" / "train"), ("leftImg8bit", "at least one")),
}  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 3) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main("train")
    error = capsys.readouterr().err
    assert ended.value.code == code, error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("name", STREETS)
def test_a_damaged_set_of_street_scenes(
    name: str, streets_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(streets_root, tmp_path / "set")
    damage, told = STREETS[name]
    damage(tmp_path / "set")
    words = ["task=segment", "data=cityscapes", f"data.root={tmp_path}/set", f"paths.runs={tmp_path}/runs"]
    error = refused(capsys, *words)
    for part in told:
        assert part in error
    assert not (tmp_path / "runs").exists()


def test_bad_samples_are_left_out_and_counted_when_asked(streets_root: Path, tmp_path: Path) -> None:
    shutil.copytree(streets_root, tmp_path / "set")
    odd_value(tmp_path / "set")
    words = [
        "task=segment", "model.width=2", "data=cityscapes", "data.size=[32,64]", "debug=one_batch",
        f"data.root={tmp_path}/set", f"paths.runs={tmp_path}/runs", "data.on_error=skip",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *words])
        cli.main("train")
    assert "unreadable samples skipped: 1" in (tmp_path / "runs" / "latest" / "log.txt").read_text()
    assert mask_of(tmp_path / "set").name in (tmp_path / "runs" / "latest" / "report.html").read_text()


def only_one_class(root: Path) -> None:
    for folder in sorted(root.iterdir())[1:]:
        shutil.rmtree(folder)


def loose_picture(root: Path) -> None:
    shutil.copy(next(root.rglob("*.png")), root / "loose.png")


PHOTOS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "no such folder": (shutil.rmtree, ("is not a folder",)),
    "an empty folder": (lambda root: [shutil.rmtree(folder) for folder in root.iterdir()], ("no images",)),
    "one class only": (only_one_class, ("class",)),
    "a picture outside the classes": (loose_picture, ("loose.png",)),
    "a text called .jpg": (
        lambda root: (sorted(root.iterdir())[0] / "text.jpg").write_text("no picture"), ("text.jpg",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PHOTOS)
def test_a_damaged_folder_of_photographs(
    name: str, materials_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(materials_root, tmp_path / "set")
    damage, told = PHOTOS[name]
    damage(tmp_path / "set")
    error = refused(capsys, "task=classify", "data=photos", f"data.root={tmp_path}/set")
    for part in told:
        assert part in error


def test_files_of_fashion_mnist_that_are_none(
    garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=classify", "data=fashion_mnist"]
    assert "data.download=true" in refused(capsys, *words, f"data.root={tmp_path}")
    shutil.copytree(garments_root, tmp_path / "set")
    for path in (tmp_path / "set").rglob("*"):
        if "train-images" in path.name:
            content = b"not IDX at all, but long enough"
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    assert "train-images" in refused(capsys, *words, f"data.root={tmp_path}/set")


def test_a_data_set_without_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert "set data.root to" in refused(capsys, "task=classify", "data=photos", code=2)
