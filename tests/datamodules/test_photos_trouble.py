"""Folders of photographs that cannot be used, and what is said of them."""

import os
from pathlib import Path
from typing import Any

import pytest

from imagier.datamodules.photos import Photos
from imagier.errors import ConfigError, DataError
from tests.datamodules.test_photos import SPLITS, _classes, _ids, _open, _picture


def test_broken_picture_stops_or_is_skipped(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set")
    (root / "cat" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 sample of 41 cannot be read(.|\n)*bad\.png is not an image"):
        _open(root, split=[0.8, 0.2, 0.0])  # the validation split stands in for test
    names = set().union(*_ids(_open(root, on_error="skip")).values())
    assert len(names) == 40


def _raises(root: Path, said: str, **options: Any) -> None:
    with pytest.raises(DataError, match=said):
        _open(root, **options)


def test_folders_that_cannot_be_learnt_from(tmp_path: Path) -> None:
    _raises(tmp_path / "gone", r"data\.root=.*gone is not a folder")
    (tmp_path / "mk.py").touch()
    _raises(tmp_path / "mk.py", r"mk\.py is not a folder\. Set it to")  # and the message suggests no similar name
    (tmp_path / "empty").mkdir()
    _raises(tmp_path / "empty", "empty has no images.* set data.root to")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.heic").write_text("")
    _raises(tmp_path / "texts", "texts has no images. Other files were found: 1 x .heic")
    _raises(_classes(tmp_path / "one", names=["cat"]), "has only the class 'cat'; classification needs two")
    flat = _classes(tmp_path / "flat")
    _picture(flat / "stray.png")
    _raises(flat, r"stray\.png is not in a class folder.*task=denoise")
    hollow = _classes(tmp_path / "hollow")
    (hollow / "fox").mkdir()
    _raises(hollow, "fox has no images")
    for split, names in (("train", ["cat", "dog"]), ("val", ["fox"])):
        _classes(tmp_path / "others" / split, names=names)
    _raises(tmp_path / "others", r"val has no images of data\.classes=cat,dog", classes=["cat", "dog"])


def test_split_folders_that_do_not_fit(tmp_path: Path) -> None:
    root = tmp_path / "unlearnt"
    for split in SPLITS:
        _classes(root / split, count=3)
    _classes(root / "test", names=["dogs"], count=1)
    _raises(root, r"class 'dogs' has images in the split 'test' but none in training.* Did you mean 'dog'\?")
    _classes(tmp_path / "trainless" / "val")
    _classes(tmp_path / "trainless" / "test")
    _raises(tmp_path / "trainless", "but no folder 'train'")
    for name in ("train", "val", "valid"):
        _classes(tmp_path / "twice" / name, count=3)
    _raises(tmp_path / "twice", "both 'val' and 'valid'")
    _raises(_classes(tmp_path / "tiny", count=2), r"no images for the split 'val': 4 images")
    _raises(_classes(tmp_path / "zero"), "no images for the split 'val'", split=[0.8, 0, 0.2])


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set")
    try:
        os.link(root / "cat" / "000.png", os.fsencode(root / "cat") + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system admits UTF-8 only")
    _raises(root, r"caf\\xe9\.png.*not UTF-8; rename")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": [0.7, 0.1, 0.1]}, "is invalid"),
        ({"split": [0.5, 0.5]}, "three fractions"),
        ({"split": [1.2, -0.2, 0.0]}, "none negative"),
        ({"channels": 4}, "data.channels=4"),
        ({"size": "big"}, "data.size=big"),
        ({"size": [224]}, "data.size="),
        ({"size": [0, 224]}, "data.size="),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Photos(name="photos", cache=tmp_path, root=tmp_path, **options)
