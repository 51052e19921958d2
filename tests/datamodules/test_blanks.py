"""Before training, a list of transforms is tried on blank images of the sizes that occur in the data set."""

from pathlib import Path

import albumentations
import numpy as np
import pytest
from PIL import Image

from imagier.errors import ConfigError
from imagier.transforms.exact import RandomPart
from tests.datamodules.test_masks import opened, write
from tests.datamodules.test_photos import _classes, _open


@pytest.mark.parametrize(("sizes", "brought"), [((40,), (40, 60)), ((40, 50), (224, 224))])
def test_parts_of_pictures_are_brought_to_one_size(
    tmp_path: Path, sizes: tuple[int, ...], brought: tuple[int, int]
) -> None:
    root = _classes(tmp_path / "set", names=["cat", "dog"], count=10)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        Image.new("RGB", (60, sizes[number % len(sizes)])).save(path)
    data = _open(root, augment=[RandomPart()], augment_first=True, batch_size=8)
    assert data.facts.size == brought
    assert next(iter(data.loader("train", shuffle=True)))["image"].shape[2:] == brought
    with pytest.raises(ConfigError, match="all must have one size"):
        _open(root, augment=[RandomPart()], batch_size=8).loader("train", shuffle=True)


def test_a_transform_may_want_the_mask(tmp_path: Path) -> None:
    crop = albumentations.CropNonEmptyMaskIfExists(16, 16)
    data = opened(write(tmp_path / "set", 12), augment=[crop], batch_size=4)
    batch = next(iter(data.loader("train", shuffle=True)))
    assert batch["image"].shape[2:] == batch["target"].shape[1:] == (16, 16)
    assert np.unique(batch["target"]).size > 0
