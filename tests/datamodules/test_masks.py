"""A user's own images with masks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagier.batch import SPLITS
from imagier.datamodules.mask_file import read_mask
from imagier.datamodules.masks import Masks
from imagier.errors import ConfigError, DataError, ImagierError
from tests.training.test_run import refused, say

SIZE = (24, 32)


def write(
    root: Path, count: int, values: tuple[int, ...] = (0, 1), images: str = "images", masks: str = "masks"
) -> Path:
    """Write images with masks: the dark left part is the first class, the bright right part the second."""
    for folder in (images, masks):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        border = int(rng.integers(8, 24))
        mask = np.full(SIZE, values[0], np.uint8)
        mask[:, border:] = values[1]
        image = rng.integers(0, 60, (*SIZE, 3)) + np.where(mask == values[1], 180, 20)[..., None]
        Image.fromarray(image.astype(np.uint8)).save(root / images / f"{number}.jpg")
        Image.fromarray(mask).save(root / masks / f"{number}.png")
    return root


def unlabel(root: Path, value: int) -> None:
    """Set the upper third of each mask to this value."""
    for path in (root / "masks").iterdir():
        with Image.open(path) as mask:
            values = np.array(mask)
        values[:8] = value
        Image.fromarray(values).save(path)


def opened(root: Path, **options: Any) -> Masks:
    known = {"name": "masks", "root": root, "cache": root.parent / "cache", "classes": ["ground", "thing"]}
    data = Masks(**(known | options))
    data.prepare_data()
    data.setup()
    return data


def names(data: Masks) -> dict[str, int]:
    return {split: len(data.sources[split]) for split in SPLITS}


def test_one_folder_is_cut_and_stays_as_it_is_when_others_are_added(tmp_path: Path) -> None:
    first = opened(write(tmp_path / "set", 40))
    assert sum(names(first).values()) == 40
    assert all(names(first).values())
    trained = set(first.sources["train"].ids)
    assert trained <= set(opened(write(tmp_path / "set", 60)).sources["train"].ids)
    assert first.facts.classes == ("ground", "thing")
    image, mask = first.sources["train"].read(0)
    assert image.shape == (*SIZE, 3)
    assert (np.where(image.mean(axis=2) > 120, 1, 0) == mask).mean() > 0.95  # the mask belongs to this image


@pytest.mark.parametrize("layout", [("images/{}", "masks/{}"), ("{}/images", "{}/masks")])
def test_splits_that_lie_in_folders_stay_there(tmp_path: Path, layout: tuple[str, str]) -> None:
    (tmp_path / "set" / "previews").mkdir(parents=True)  # not a split
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        write(tmp_path / "set", count, (0, 1), *(place.format(split) for place in layout))
    assert names(opened(tmp_path / "set")) == {"train": 6, "val": 3, "test": 2}


def test_values_are_numbered_as_they_are_said(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12, (0, 255))
    data = opened(root, values=[0, 255])
    assert set(np.unique(data.sources["train"].read(0)[1])) == {0, 1}  # 255 is a class here
    assert data.class_counts().sum() == len(data.sources["train"]) * SIZE[0] * SIZE[1]
    turned = opened(root, values=[255, 0])
    assert (turned.sources["train"].read(0)[1] == 1 - data.sources["train"].read(0)[1]).all()


def test_what_is_not_labelled_counts_nowhere(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12, (1, 2))
    unlabel(root, 9)
    data = opened(root, classes=["ground", "other", "thing"], values=[1, 2, 3], ignored=9)
    assert set(np.unique(data.sources["train"].read(0)[1])) == {0, 1, 255}
    assert data.class_counts()[2] == 0
    assert data.notes[-1] == "classes without training samples, which cannot be learned: thing."


def test_names_may_lie_in_a_file_and_masks_may_have_a_palette(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12)
    (root / "classes.txt").write_text("street\n\ncar\n", encoding="utf-8-sig")  # as Windows saves it
    for path in (root / "masks").iterdir():
        with Image.open(path) as mask:
            mask.putpalette([9, 9, 9, 200, 100, 50])  # makes its values palette indices
            mask.save(path)
    data = opened(root, classes=None)
    assert data.facts.classes == ("street", "car")
    assert set(np.unique(data.sources["train"].read(0)[1])) == {0, 1}


def _colours(root: Path) -> None:
    Image.new("RGB", SIZE[::-1], "red").save(root / "masks" / "3.png")


@pytest.mark.parametrize(
    ("spoil", "options", "sentence"),
    [
        (lambda root: (root / "masks" / "3.png").unlink(), {}, r"3\.jpg has no mask: .*3\.png is not there"),
        (_colours, {}, "Save the numbers of the classes, not their colours"),
        (lambda root: Image.new("L", (32, 24), 7).save(root / "masks" / "3.png"), {}, "holds the values 7, which mean"),
        (lambda root: Image.new("L", (9, 9)).save(root / "masks" / "3.png"), {}, "both must have the same size"),
        (lambda root: None, {"classes": None}, r"values 0, 1: name each, 'data\.classes=\[name0,name1\]', or write"),
        (lambda root: None, {"values": [0, 1, 2]}, "must have one distinct value for each of the 2 classes"),
        (lambda root: None, {"classes": ["thing"]}, "has 1 names; masks support 2 to"),
        (lambda root: None, {"classes": ["thing", "thing"]}, "each class needs a unique name, unlike 'thing'"),
        (lambda root: (root / "classes.txt").write_bytes(b"stra\xdfe"), {"classes": None}, "is not UTF-8"),
        (lambda root: (root / "masks" / "3.tif").touch(), {}, "has both 3.png and 3.tif"),
        (lambda root: write(root / "train", 3), {}, "the one you mean"),
        (lambda root: None, {"classes": None, "values": [0, 1, 7]}, r"data\.classes=\[name0,name1,name7\]', or write"),
        (lambda root: (root / "masks").rename(root / "labels"), {}, r"lacks .* \(it contains images, labels\)"),
        (lambda root: (root / "images").rename(root / "pictures"), {}, r"lacks .* \(it contains masks, pictures\)"),
        (lambda root: (root / "classes.txt").write_text("thing\nground\n"), {}, "use the names in the file"),
        (lambda root: None, {"ignored": 1}, r"data\.ignored=1 is also the value of the class thing, as data\.values"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, spoil: Callable[[Path], object], options: dict[str, Any], sentence: str
) -> None:
    spoil(write(tmp_path / "set", 12))
    with pytest.raises(ImagierError, match=sentence):
        opened(tmp_path / "set", **options)


def test_binary_masks_are_told_how_they_are_said(tmp_path: Path) -> None:
    told = r"0, 255: name each, 'data\.classes=\[name0,name255\]' 'data\.values=\[0,255\]'"
    with pytest.raises(ConfigError, match=told):
        opened(write(tmp_path / "set", 12, (0, 255)), classes=None)


def test_a_class_that_was_taken_for_unlabelled_is_missed(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12, (0, 255))
    with pytest.raises(DataError, match=r"contain only ground and the value 255 .* 'data\.values=\[0,255\]'"):
        opened(root)
    three = write(tmp_path / "three", 12, (0, 128))
    unlabel(three, 255)
    with pytest.raises(ConfigError, match=r"data\.classes=\[name0,name128,name255\]' 'data\.values=\[0,128,255\]'"):
        opened(three, classes=None)
    with pytest.raises(ConfigError, match=r"classes\. data\.values has 0, 128: name each.*one name per line\.$"):
        opened(three, classes=None, values=[0, 128], ignored=None)
    (note,) = opened(three, values=[0, 128]).notes
    assert note.startswith("33.3% of the pixels are unlabelled (value 255)")


def test_a_first_look_may_show_one_class(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12)
    for path in (root / "masks").iterdir():
        Image.fromarray(np.full(SIZE, 255 if int(path.stem) % 2 else 0, np.uint8)).save(path)
    assert opened(root, values=[0, 1]).class_counts()[1] == 0  # the given values are kept
    assert opened(root, limit=5).class_counts()[1] == 0


@pytest.mark.parametrize("missing", ["test/masks", "val/masks"])
def test_a_part_without_masks_is_not_cut_from_training(tmp_path: Path, missing: str) -> None:
    for split in SPLITS:
        write(tmp_path / "set", 6, (0, 1), f"{split}/images", f"{split}/masks")
    shutil.rmtree(tmp_path / "set" / missing)
    with pytest.raises(DataError, match=f"has no folder {missing}/, but images can be used only with masks"):
        opened(tmp_path / "set")


def test_a_test_part_in_which_nothing_is_labelled_is_stood_in_for(tmp_path: Path) -> None:
    for split in SPLITS:
        write(tmp_path / "set", 6, (0, 1), f"{split}/images", f"{split}/masks")
    for path in (tmp_path / "set" / "test" / "masks").iterdir():
        Image.fromarray(np.full(SIZE, 255, np.uint8)).save(path)
    data = opened(tmp_path / "set")
    assert data.stand_ins == {"test": "val"}
    assert data.sources["test"].ids == data.sources["val"].ids
    assert data.notes[-1].endswith("the test split has no labels, so the validation split is used as the test split.")
    options: dict[str, Any] = {"root": tmp_path / "set", "cache": tmp_path / "cache", "classes": ["ground", "thing"]}
    with pytest.raises(DataError, match="split 'test' belongs to any of its 2 classes"):
        Masks(name="masks", **options).setup(measured="test")


@pytest.mark.parametrize(("values", "white"), [((0, 255), 255), ((0, 1), 1)])
def test_black_and_white_is_the_same_in_one_bit_and_in_eight(
    tmp_path: Path, values: tuple[int, int], white: int
) -> None:
    root = write(tmp_path / "set", 12, values)
    whole = opened(root, values=list(values)).class_counts()
    for path in sorted((root / "masks").iterdir())[::2]:
        with Image.open(path) as mask:
            Image.fromarray(np.array(mask) == white).save(path)
    assert (opened(root, values=list(values)).class_counts() == whole).all()


def test_a_mask_is_turned_as_its_picture_is(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12)
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    for path in [*(root / "images").iterdir(), *(root / "masks").iterdir()]:
        with Image.open(path) as image:
            turned = image.transpose(Image.Transpose.ROTATE_180)
        turned.save(path, exif=upside_down)
    image, mask = opened(root).sources["train"].read(0)
    assert image[mask == 1].mean() > image[mask == 0].mean() + 100


def test_a_mask_in_an_upright_tiff_is_turned_once(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(mask).save(tmp_path / "mask.tif", exif=turned)
    assert (read_mask(tmp_path / "mask.tif", "") == np.rot90(mask, -1)).all()


def test_what_lies_beside_the_folders_of_splits_is_told(tmp_path: Path) -> None:
    for split in SPLITS:
        write(tmp_path / "set", 6, (0, 1), f"images/{split}", f"masks/{split}")
    write(tmp_path / "set", 4)
    data = opened(tmp_path / "set")
    assert sum(names(data).values()) == 18
    beside = f"{tmp_path / 'set' / 'images'}: skipped entries next to test and train and val: 4 x .jpg."
    assert beside in data.notes


def test_a_name_with_composed_accents_is_that_with_others(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12)
    (root / "images" / "3.jpg").rename(root / "images" / "caf\u00e9.jpg")
    (root / "masks" / "3.png").rename(root / "masks" / "cafe\u0301.png")
    assert sum(names(opened(root)).values()) == 12


def test_what_is_kept_back_may_lie_alone_and_show_one_class(tmp_path: Path) -> None:
    write(tmp_path / "set", 3, (0, 255), "test/images", "test/masks")
    options: dict[str, Any] = {"root": tmp_path / "set", "cache": tmp_path / "cache", "classes": ["ground", "thing"]}
    data = Masks(name="masks", **options)
    data.setup(measured="test")
    assert len(data.sources["test"]) == 3


@pytest.mark.parametrize(
    ("mode", "cure"), [("I;16", "Save it with 8 bits per pixel."), ("LA", "without transparency"), ("RGB", "not their")]
)
def test_what_holds_no_classes_is_told_how_to_hold_them(tmp_path: Path, mode: str, cure: str) -> None:
    Image.new(mode, (8, 8), {"I;16": 300, "LA": 0, "RGB": "red"}[mode]).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"pixels of mode {mode}.*{cure}"):
        read_mask(tmp_path / "mask.png", "Save the numbers of the classes, not their colours.")


@pytest.mark.parametrize(("mode", "value"), [("I;16", 3), ("RGB", (3, 3, 3))])
def test_a_number_a_pixel_counts_in_whatever_mode_it_is_saved(tmp_path: Path, mode: str, value: Any) -> None:
    Image.new(mode, (6, 4), value).save(tmp_path / "mask.png")
    read = read_mask(tmp_path / "mask.png", "")
    assert (read.dtype, read.shape, np.unique(read).tolist()) == (np.uint8, (4, 6), [3])


def test_a_mask_in_a_format_that_changes_values_is_said_to_be_there(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12)
    (root / "masks" / "3.png").rename(root / "masks" / "3.jpg")
    with pytest.raises(DataError, match=r"3\.jpg is there, in a format that changes values: .* save it as \.png"):
        opened(root)


def test_a_measured_folder_whose_masks_mean_otherwise_is_said(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12, (0, 255))
    data = Masks(name="masks", root=root, cache=tmp_path, classes=["ground", "thing"], batch_size=2, size=[24, 32])
    data.setup(measured="all")
    assert any("the masks contain only ground and the value 255" in note for note in data.notes)


def test_a_damaged_mask_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (8, 8)).save(path, exif=b"II*\0")
    with pytest.raises(DataError, match=r"mask\.png cannot be decoded"):
        read_mask(path, "")


def test_no_mask_is_a_program(tmp_path: Path) -> None:
    """Pillow passes EPS to Ghostscript, whatever the file's suffix."""
    Image.new("L", (8, 8)).save(tmp_path / "mask.png", format="eps")
    with pytest.raises(DataError, match="is not an image"):
        read_mask(tmp_path / "mask.png", "")


def test_a_mask_of_another_name_is_found(tmp_path: Path) -> None:
    root = write(tmp_path / "set", 12)
    (root / "masks" / "3.png").rename(root / "masks" / "3_mask.png")
    with pytest.raises(DataError, match=r"3\.png is not there\. Did you mean 3_mask\.png\?"):
        opened(root)


def test_from_a_folder_to_a_measured_net(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["task=segment", "data=masks", "data.size=[24,32]", "model.width=4", "model.depth=2", "trainer=cpu"]
    words += [f"data.root={write(tmp_path / 'set', 40, (0, 255))}", "trainer.max_epochs=8", "optimizer.lr=1e-2"]
    words += [f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache", "report=false"]
    assert refused("train", *words) == 2
    assert "'data.values=[0,255]'" in capsys.readouterr().err
    (tmp_path / "set" / "classes.txt").write_text("ground\nthing\n")  # the checkpoint stores these names
    say("train", *words, "data.values=[0,255]")
    say("train", f"resume={tmp_path}/runs/latest", "trainer.max_epochs=9")
    other = write(tmp_path / "other", 5, (0, 255))
    say("evaluate", f"ckpt={tmp_path}/runs/latest", f"data.root={other}", "split=all", f"output={tmp_path}")
    measured = json.loads((tmp_path / "metrics.json").read_text())
    assert measured["samples"] == 5
    assert measured["metrics"]["iou"] > 0.8
