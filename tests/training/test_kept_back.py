"""Evaluation on a folder that contains only held-out images, with the command that evaluates the whole data set."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import spoken

QUICK = ["trainer=cpu", "trainer.max_epochs=1", "test=false", "report=false"]


def measured(run: Path, split: str, *words: str) -> dict[str, Any]:
    said = spoken("evaluate", f"ckpt={run}", f"split={split}", f"output={run.parent}/measured", *words, cwd=run.parent)
    record: dict[str, Any] = json.loads((run.parent / "measured" / "metrics.json").read_text())
    return record | {"said": said}


@pytest.mark.parametrize("words", [[], ["data=cityscapes"]], ids=["its own data", "data said anew"])
def test_streets_without_those_to_train_with(streets_root: Path, tmp_path: Path, words: list[str]) -> None:
    small = ["task=segment", "model.width=4", "data=cityscapes", "data.label_set=category", "data.size=[48,96]"]
    spoken("train", *small, *QUICK, f"data.root={streets_root}", f"paths.runs={tmp_path}", cwd=tmp_path)
    for kind in ("leftImg8bit", "gtFine"):
        shutil.copytree(streets_root / kind / "test", tmp_path / "kept" / kind / "test")
    run = (tmp_path / "latest").resolve()
    whole = measured(run, "test", f"data.root={streets_root}")
    for split in ("test", "all"):
        alone = measured(run, split, *words, f"data.root={tmp_path}/kept")
        assert (alone["samples"], alone["metrics"]) == (6, whole["metrics"])
    said = spoken("evaluate", f"ckpt={run}", "split=val", f"data.root={tmp_path}/kept", cwd=tmp_path, code=3)
    assert "the split 'val' needs at least one" in said
    said = spoken("train", *small, f"data.root={tmp_path}/kept", cwd=tmp_path, code=3)
    assert "the split 'train' needs at least one" in said


def test_garments_without_those_to_train_with(garments_root: Path, tmp_path: Path) -> None:
    small = ["task=classify", "model=mlp", "model.hidden=[32]", "data=fashion_mnist", *QUICK]
    spoken("train", *small, f"data.root={garments_root}", f"paths.runs={tmp_path}", cwd=tmp_path)
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in garments_root.rglob("t10k*"):
        shutil.copy(path, kept)
    run = (tmp_path / "latest").resolve()
    whole = measured(run, "test", f"data.root={garments_root}")
    alone = measured(run, "test", "data=fashion_mnist", f"data.root={kept}")
    assert (alone["samples"], alone["metrics"]) == (60, whole["metrics"])
    assert "lacks train-images" in spoken("train", *small, f"data.root={kept}", cwd=tmp_path, code=3)


@pytest.mark.parametrize("words", [[], ["data=photos"]], ids=["its own data", "data said anew"])
def test_a_net_of_some_classes_is_measured_on_all_their_pictures(
    materials_root: Path, tmp_path: Path, words: list[str]
) -> None:
    some = sorted(path.name for path in materials_root.iterdir() if path.is_dir())[:2]
    small = ["task=classify", "model=cnn", "data=photos", "data.size=[32,32]", f"data.classes={some}".replace(" ", "")]
    few = [*small, "data.per_class=4", *QUICK]
    spoken("train", *few, f"data.root={materials_root}", f"paths.runs={tmp_path}", cwd=tmp_path)
    record = measured((tmp_path / "latest").resolve(), "all", *words, f"data.root={materials_root}")
    assert record["samples"] == 60
    assert "these images include those used for training" in record["said"]
    parted = measured(
        (tmp_path / "latest").resolve(), "test", *words, f"data.root={materials_root}", "data.split=[0.1,0,0.9]"
    )
    assert "some may have been trained on" in parted["said"]


def test_classes_without_pictures_to_train_with(materials_root: Path, tmp_path: Path) -> None:
    small = ["task=classify", "model=cnn", "data=photos", "data.size=[32,32]"]
    spoken("train", *small, *QUICK, f"data.root={materials_root}", f"paths.runs={tmp_path}", cwd=tmp_path)
    for folder in filter(Path.is_dir, materials_root.iterdir()):
        shutil.copytree(folder, tmp_path / "kept" / "test" / folder.name)
    run = (tmp_path / "latest").resolve()
    whole = measured(run, "all", f"data.root={materials_root}")
    for split in ("test", "all"):
        alone = measured(run, split, f"data.root={tmp_path}/kept")
        assert (alone["samples"], alone["metrics"]["accuracy"]) == (whole["samples"], whole["metrics"]["accuracy"])
    said = spoken("train", *small, f"data.root={tmp_path}/kept", cwd=tmp_path, code=3)
    assert "kept has test, but no folder 'train'. Add it" in said


def test_scores_are_of_the_split_that_stood_in(materials_root: Path, tmp_path: Path) -> None:
    small = ["task=classify", "model=cnn", "data=photos", "data.size=[32,32]", "data.split=[0.5,0.5,0.0]"]
    spoken("train", *small, *QUICK, f"data.root={materials_root}", f"paths.runs={tmp_path}", cwd=tmp_path)
    run = (tmp_path / "latest").resolve()
    by_default, asked = measured(run, "test"), measured(run, "val")
    for record in (by_default, asked):
        assert record["split"] == "val"
        assert re.search(r"score\s+┃\s+val\s", record["said"])
    told = "the validation split is used as the test split"
    assert told in by_default["said"]
    assert told not in asked["said"]


def test_a_net_of_one_size_is_measured_at_that_size_on_pictures_of_any(garments_root: Path, tmp_path: Path) -> None:
    small = ["task=classify", "model=mlp", "model.hidden=[32]", "data=fashion_mnist", *QUICK]
    spoken("train", *small, f"data.root={garments_root}", f"paths.runs={tmp_path}", cwd=tmp_path)
    run = (tmp_path / "latest").resolve()
    draw = np.random.default_rng(0)
    for number, (label, side) in enumerate((("Coat", 40), ("Bag", 50), ("Bag", 28))):
        (tmp_path / "kept" / label).mkdir(parents=True, exist_ok=True)
        shades = draw.integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(shades).save(tmp_path / "kept" / label / f"{number}.png")
    record = measured(run, "all", "data=photos", f"data.root={tmp_path}/kept", "trainer.threads=1")
    assert (record["samples"], record["size"]) == (3, [28, 28])
    (tmp_path / "kept" / "Bag").rename(tmp_path / "kept" / "Bagg")
    said = spoken(
        "evaluate", f"ckpt={run}", "split=all", "data=photos", f"data.root={tmp_path}/kept", cwd=tmp_path, code=2
    )
    assert "photos has the class Bagg, which the checkpoint does not know. Did you mean 'Bag'?" in said
    (tmp_path / "one" / "Coats").mkdir(parents=True)
    shutil.copy(tmp_path / "kept" / "Coat" / "0.png", tmp_path / "one" / "Coats")
    said = spoken(
        "evaluate", f"ckpt={run}", "split=all", "data=photos", f"data.root={tmp_path}/one", cwd=tmp_path, code=3
    )
    assert "does not know the class 'Coats'" in said
    assert "Did you mean 'Coat'?" in said


def test_a_run_is_measured_and_goes_on_from_any_folder(garments_root: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "set").symlink_to(garments_root)
    words = ["task=classify", "model=mlp", "model.hidden=[32]", "data=fashion_mnist", "data.root=set", *QUICK]
    spoken("train", *words, "paths.cache=first", cwd=tmp_path / "here")
    shutil.rmtree(tmp_path / "here" / "first")
    run = f"{tmp_path}/here/runs/latest"
    spoken("evaluate", f"ckpt={run}", "paths.cache=other", cwd=tmp_path)
    assert (tmp_path / "other" / "examined").is_dir()  # not in the training run's cache
    assert not list(tmp_path.rglob("first"))
    spoken("train", f"resume={run}", "trainer.max_epochs=2", cwd=tmp_path)
