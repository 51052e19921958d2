from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagier.datamodules.cityscapes import Cityscapes
from imagier.datamodules.diagnosis import report


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
    assert "the test split is the validation split" in text
    assert "no training sample shows construction, object, nature, human, vehicle" in text
    assert "validation does not show sky" in text
    assert text.endswith("Nothing is broken.")


def test_problems_and_shared_samples_are_told(tmp_path: Path) -> None:
    street(tmp_path, "val", "ulm_1", np.full((4, 8), 7))
    street(tmp_path, "train", "ulm_9", np.full((4, 8), 99))
    text = diagnose(tmp_path)
    assert "val has names that train has too (1), such as ulm_1" in text
    assert "train ulm_9: " in text
    assert "holds 99 in 32 pixels" in text
    assert text.endswith("1 unreadable; data.on_error=skip leaves them out.")
