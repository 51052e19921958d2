"""Errors that the base class detects in custom data sets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagier.batch import Facts, Split
from imagier.datamodules.base import ImageData
from imagier.errors import ConfigError, DataError


class Made:
    """Ten samples; the fourth is `odd`."""

    in_memory = True

    def __init__(self, odd: tuple[Any, Any]) -> None:
        self.odd, self.ids = odd, [f"s{number}" for number in range(10)]

    def __len__(self) -> int:
        return 10

    def read(self, index: int) -> tuple[Any, Any]:
        return self.odd if index == 3 else (np.zeros((8, 8, 3), np.uint8), np.full((8, 8), index % 2, np.uint8))


class Own(ImageData):
    def __init__(self, odd: tuple[Any, Any], ignore_index: int | None = None, **options: Any) -> None:
        super().__init__(name="own", **options)
        self.odd, self.ignore_index = odd, ignore_index

    def open_split(self, split: Split) -> Made:
        return Made(self.odd)

    def describe(self) -> Facts:
        two = ((0, 0, 0), (255, 255, 255))
        return Facts("own", 3, self.image_size(), (0.5,) * 3, (0.5,) * 3, ("a", "b"), two, self.ignore_index)


def mask(value: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((8, 8, 3), np.uint8), np.full((8, 8), value, np.uint8)


def test_a_target_that_is_no_class_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"s3: the target contains the value 9, but data=own has the classes 0 to 1"):
        Own(mask(9), cache=tmp_path).setup()
    skipping = Own(mask(9), cache=tmp_path, on_error="skip")
    skipping.setup()
    assert len(skipping.sources["train"]) == 9
    assert skipping.class_counts().tolist() == [5 * 64, 4 * 64]
    Own(mask(255), ignore_index=255, cache=tmp_path).setup()


def test_a_mask_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    odd = (np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8), np.uint8))
    with pytest.raises(DataError, match=r"s3: the mask is 4 x 8 but its image 8 x 8"):
        Own(odd, cache=tmp_path).setup()


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ((np.zeros((8, 8), np.uint8), 0), r"Made\.read must return an image as uint8 \[H, W, C\].*not uint8 \[8, 8\]"),
        ((np.zeros((8, 8, 3)), 0), r"not float64 \[8, 8, 3\]"),
        ((np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int64)), r"must return a mask as uint8 .*not int64"),
    ],
)
def test_code_that_returns_something_else_is_told_what_is_expected(odd: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=told):
        Own(odd, cache=tmp_path).setup()


def test_an_empty_split_names_set_and_place(tmp_path: Path) -> None:
    class Empty(Own):
        def open_split(self, split: Split) -> Made:
            made = Made(self.odd)
            made.__class__ = type("Nothing", (Made,), {"__len__": lambda self: 0})
            return made

    with pytest.raises(DataError, match=r"data=own has no samples for the split 'train' in data\.root=/nowhere"):
        Empty(mask(0), root="/nowhere", cache=tmp_path).setup()


class Measured(Made):
    """Ten images with a number as target; the fourth target is `odd`."""

    def read(self, index: int) -> tuple[Any, Any]:
        return np.full((8, 8, 3), index, np.uint8), self.odd if index == 3 else index + 0.25


class Numbers(Own):
    def open_split(self, split: Split) -> Made:
        return Measured(self.odd)

    def describe(self) -> Facts:
        return Facts("numbers", 3, self.image_size(), (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("decode_once", [True, False])
def test_a_fraction_is_not_cut_to_a_whole_number(tmp_path: Path, decode_once: bool) -> None:
    for _ in range(2):  # the second time from the cache
        data = Numbers(np.float32(7.5), cache=tmp_path, decode_once=decode_once, batch_size=10, workers=0)
        data.setup()
        for loader in (data.loader("val"), data.loader("train", shuffle=True)):  # read one by one, and in whole batches
            targets = torch.cat([batch["target"] for batch in loader])
            assert targets.dtype == torch.float32
            assert sorted(targets.tolist()) == [0.25, 1.25, 2.25, 4.25, 5.25, 6.25, 7.25, 7.5, 8.25, 9.25]


def test_a_target_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="s3: the target is nan, but must be a finite number"):
        Numbers(float("nan"), cache=tmp_path).setup()
    with pytest.raises(TypeError, match=r"an image as uint8 .*, or a number, not str"):
        Numbers("cat", cache=tmp_path).setup()


def test_every_process_needs_a_sample(tmp_path: Path) -> None:
    data = Own(mask(1), cache=tmp_path, batch_size=16, limit=3)
    data.setup()
    with pytest.raises(ConfigError, match="3 training samples per epoch are fewer than the 4 processes"):
        data.loader("train", shuffle=True, world=4)
    data.loader("val", world=4)
