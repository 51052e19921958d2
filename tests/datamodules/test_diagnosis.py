import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagier.datamodules.cityscapes import Cityscapes
from imagier.datamodules.diagnosis import doubts, report
from imagier.datamodules.image_file import told_of
from imagier.datamodules.masks import Masks
from imagier.datamodules.photos import Photos
from imagier.errors import DataError
from tests.training.test_run import say


def street(root: Path, split: str, name: str, ids_HW: np.ndarray) -> None:
    for folder, ending, pixels in (
        ("leftImg8bit", "leftImg8bit", np.zeros((*ids_HW.shape, 3), np.uint8)),
        ("gtFine", "gtFine_labelIds", ids_HW.astype(np.uint8)),
    ):
        path = root / folder / split / "ulm" / f"{name}_{ending}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def diagnose(tmp_path: Path, **options: Any) -> str:
    road = np.full((4, 8), 7)
    street(tmp_path, "train", "ulm_0", road)
    street(tmp_path, "train", "ulm_1", np.where(np.arange(8) < 4, road, 23))  # half sky
    street(tmp_path, "val", "ulm_2", road)
    data = Cityscapes(
        name="cityscapes", root=tmp_path, cache=tmp_path / "cache", label_set="category", on_error="skip", **options
    )
    data.setup()
    return report(data)


def test_counts_weights_and_weak_spots_are_told(tmp_path: Path) -> None:
    text = diagnose(tmp_path)
    lines = [line.split() for line in text.splitlines()]
    assert ["train", "2", "0", "4", "x", "8", "(2)"] in lines
    assert ["flat", "75.000%", "2", "100.000%", "1", "100.000%", "1"] in lines
    assert ["sky", "25.000%", "1", "0.000%", "0", "0.000%", "0"] in lines
    assert "task.class_weights=[0.732, 1, 1, 1, 1.27, 1, 1]" in text
    assert "so the validation split is used as the test split" in text
    assert (
        "classes without training samples, which cannot be learned: construction, object, nature, human, vehicle."
        in text
    )
    assert "the validation split does not contain sky" in text
    assert text.endswith("No broken files.")


def test_a_split_without_readable_samples_is_told_by_its_own_problem(tmp_path: Path) -> None:
    street(tmp_path, "train", "ulm_9", np.full((4, 8), 99))
    street(tmp_path, "test", "ulm_8", np.full((4, 8), 98))
    with pytest.raises(DataError, match=r"'test' has no readable sample among its 1, because .*98"):
        diagnose(tmp_path)


def test_a_test_split_without_labels_is_told_with_its_own_number(tmp_path: Path) -> None:
    for split, count, value in (("train", 3, 7), ("val", 2, 7), ("test", 4, 0)):
        for number in range(count):
            street(tmp_path, split, f"ulm_{split}{number}", np.full((4, 8), value))
    street(tmp_path, "test", "ulm_test4", np.full((4, 8), 9))  # ignored as well, but no void
    text = diagnose(tmp_path)
    assert "the first" not in text
    assert ["test", "5", "0", "4", "x", "8", "(5)"] in [line.split() for line in text.splitlines()]


def test_problems_and_shared_samples_are_told(tmp_path: Path) -> None:
    street(tmp_path, "val", "ulm_1", np.full((4, 8), 7))
    street(tmp_path, "train", "ulm_9", np.full((4, 8), 99))
    text = diagnose(tmp_path)
    assert "val and train share names (1), such as ulm_1" in text
    assert "train ulm_9: " in text
    assert "holds 99 in 32 pixels" in text
    assert text.endswith("1 unreadable; data.on_error=skip skips them.")


@pytest.mark.parametrize("decode_once", [True, False])
@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}", "{split}"])
def test_a_picture_that_was_put_into_two_splits_is_told(tmp_path: Path, layout: str, decode_once: bool) -> None:
    draw = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for number in range(3):  # equal names and sizes in all splits, but different pixels
            for kind in ("images", "masks") if "kind" in layout else ("cat", "dog"):
                folder = (
                    tmp_path / "set" / (layout if "kind" in layout else "{split}/{kind}").format(split=split, kind=kind)
                )
                folder.mkdir(parents=True, exist_ok=True)
                pixels = draw.integers(0, 2, (8, 9) if kind == "masks" else (8, 9, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.{'png' if kind == 'masks' else 'bmp'}")
    options: dict[str, Any] = {"root": tmp_path / "set", "cache": tmp_path / "cache", "decode_once": decode_once}
    if "kind" in layout:
        options["classes"] = ["a", "b"]

    def told() -> str:
        data = Masks(name="mine", **options) if "kind" in layout else Photos(name="mine", **options)
        data.setup()
        return report(data)

    assert "and train share" not in told()
    (leaked,) = [path for path in (tmp_path / "set").rglob("1.bmp") if "val" in path.parts and "dog" not in path.parts]
    leaked.write_bytes(Path(str(leaked).replace("/val", "/train")).read_bytes())
    assert f"val and train share images (1), such as {leaked.relative_to(tmp_path / 'set')}: its score" in told()


def test_what_training_would_note_is_told(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(12):
            path = tmp_path / "set" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    (tmp_path / "set" / "cat" / "one.heic").touch()
    data = Photos(name="photos", root=tmp_path / "set", cache=tmp_path / "cache", split=(0.8, 0.2, 0.0))
    data.setup()
    text = report(data)
    assert (
        "note: data=photos: skipped files that are not images: 1 x .heic (HEIC is not read: convert it to JPEG)."
        in text
    )
    assert "so the validation split is used as the test split" in text
    assert "the test split is the same as the validation split" not in text


def test_what_is_odd_about_files_is_said_of_the_first(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name, value in (("faint", 900), ("bright", 60000)):
        (root / name).mkdir(parents=True)
        for number in range(9):
            Image.fromarray(np.full((8, 8), value + number, np.uint16)).save(root / name / f"{number}.png")
    pages = [Image.new("L", (8, 8), number) for number in range(3)]
    pages[0].save(root / "bright" / "pages.tif", save_all=True, append_images=pages[1:])
    (root / "__MACOSX").mkdir()  # macOS adds it to zip files
    data = Photos(name="photos", root=root, cache=tmp_path / "cache", split=(0.8, 0.2, 0.0))
    data.setup()
    told = {kind: told_of(root / name) for kind, name in (("faint", "faint/0.png"), ("pages", "bright/pages.tif"))}
    assert told == {
        "faint": "has 16 bits per pixel, none above 900 of 65535, so it is read as nearly black: scale it",
        "pages": "holds 3 images, of which only the first is read",
    }
    assert any("is read as nearly black" in note for note in doubts(data))
    assert told_of(root / "bright" / "0.png") is None


def test_training_says_that_it_is_measured_on_what_it_learns(tmp_path: Path) -> None:
    root = tmp_path / "set"
    draw = np.random.default_rng(0)
    for number in range(24):
        for split in ("train", "val") if number < 6 else ("train",):
            path = root / split / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if split == "train":
                Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
            else:
                shutil.copy(root / "train" / path.parent.name / path.name, path)
    words = ["task=classify", "model=mlp", "data=photos", f"data.root={root}", "trainer=cpu", "trainer.max_epochs=1"]
    say("train", *words, f"paths.runs={tmp_path}/runs", "test=false", "data.split=[0.9,0.1,0]")
    said = (tmp_path / "runs" / "latest" / "log.txt").read_text()
    assert "val and train share images (6)" in said
    assert "too optimistic" in (tmp_path / "runs" / "latest" / "report.html").read_text()
