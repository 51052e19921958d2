from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imagier.datamodules.cityscapes import Cityscapes
from imagier.errors import ConfigError, DataError, ImagierError

SIZE = (8, 12)


def write(root: Path, split: str, name: str, ids_HW: np.ndarray | None = None, size: tuple[int, int] = SIZE) -> Path:
    """Write one pair; the image's red channel is its label id times seven. Return the mask's path."""
    city = name.split("_")[0]
    if ids_HW is None:
        ids_HW = np.random.default_rng(len(name)).choice([0, 7, 8, 11, 23, 26, 29], size)
    image = np.zeros((*ids_HW.shape, 3), np.uint8)
    image[..., 0] = ids_HW * 7
    image_path = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
    mask_path = root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
    for path, pixels in ((image_path, image), (mask_path, ids_HW.astype(np.uint8))):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return mask_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "city scapes"
    for split, names in {
        "train": ["aachen_0", "aachen_1", "ulm_0"],
        "val": ["bonn_0", "bonn_1"],
        "test": ["bern_0"],
    }.items():
        for name in names:
            write(root, split, name)
    return root


def module(root: Path | None, **options: Any) -> Cityscapes:
    cache = root.parent / "cache" if root else Path("cache")
    return Cityscapes(name="cityscapes", root=root, cache=cache, **{"workers": 0, "batch_size": 2, **options})


def opened(root: Path, **options: Any) -> Cityscapes:
    data = module(root, **options)
    data.prepare_data()
    data.setup()
    return data


def test_splits_of_several_cities_are_found_in_order(root: Path) -> None:
    data = opened(root)
    assert data.sources["train"].ids == ["aachen_0", "aachen_1", "ulm_0"]
    assert data.sources["test"].ids == ["bern_0"]
    assert data.facts.num_classes == 19
    assert (data.facts.size, data.facts.ignore_index) == (SIZE, 255)


@pytest.mark.parametrize(
    ("label_set", "expected"),
    [
        ("train", {0: 255, 7: 0, 26: 13, 29: 255}),
        ("category", {0: 255, 7: 0, 26: 6, 29: 255}),
        ("category8", {0: 0, 7: 1, 29: 7}),
    ],
)
def test_ids_become_classes_of_the_same_pixels(root: Path, label_set: str, expected: dict[int, int]) -> None:
    data = opened(root, label_set=label_set)
    for batch in data.val_dataloader():
        ids = batch["image"][:, 0] // 7
        for label_id, index in expected.items():
            assert (batch["target"][ids == label_id] == index).all()
    counts = data.class_counts()
    image, target = data.sources["train"].read(0)
    assert (len(counts), image.dtype, target.dtype) == (data.facts.num_classes, np.uint8, np.uint8)
    assert counts.sum() == sum((data.sources["train"].read(index)[1] != 255).sum() for index in range(3))


def test_pictures_of_equal_names_are_all_there(tmp_path: Path) -> None:
    for split, city in (("train", "aachen"), ("train", "bonn"), ("val", "aachen")):
        for kind, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            folder = tmp_path / kind / split / city
            folder.mkdir(parents=True)
            for number in range(2):
                Image.fromarray(np.full(SIZE, 7, np.uint8)).save(folder / f"{number}_{ending}.png")
    data = opened(tmp_path)
    assert data.sources["train"].ids == ["aachen/0", "aachen/1", "bonn/0", "bonn/1"]
    data.join()
    assert len(data.sources["all"]) == 6  # the validation split stands in for test and counts once


def test_what_macos_leaves_beside_files_is_no_sample(root: Path) -> None:
    for path in list(root.rglob("*_0_*.png")):
        path.with_name(f"._{path.name}").write_bytes(b"not a picture")
    hidden = root / "leftImg8bit" / "train" / ".Trashes"
    hidden.mkdir()
    (hidden / "bonn_9_leftImg8bit.png").write_bytes(b"not a picture")
    assert opened(root).sources["train"].ids == ["aachen_0", "aachen_1", "ulm_0"]


def test_resizing_is_stated_and_done(root: Path) -> None:
    data = opened(root, size=[4, 5])
    batch = next(iter(data.train_dataloader()))
    assert data.facts.size == (4, 5)
    assert tuple(batch["image"].shape) == (2, 3, 4, 5)
    assert tuple(batch["target"].shape) == (2, 4, 5)
    assert batch["target"].dtype == torch.uint8


def test_the_official_archives_may_stay_nested(root: Path) -> None:
    for name, folder in (("leftImg8bit", "leftImg8bit_trainvaltest"), ("gtFine", "P8_Cityscapes_gtFine_trainvaltest")):
        (root / folder).mkdir()
        (root / name).rename(root / folder / name)
    (root / "leftImg8bit_trainextra" / "leftImg8bit" / "train_extra").mkdir(parents=True)  # the extra frames
    assert len(opened(root).sources["train"]) == 3


def test_a_size_that_only_folders_of_pictures_have_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.size=auto is only for image folders"):
        opened(root, size="auto")


def without_test_images(root: Path) -> None:
    (root / "leftImg8bit" / "test" / "bern" / "bern_0_leftImg8bit.png").unlink()


def without_test_masks(root: Path) -> None:
    (root / "gtFine" / "test" / "bern" / "bern_0_gtFine_labelIds.png").unlink()


def with_dummy_test_masks(root: Path) -> None:
    write(root, "test", "bern_0", np.full(SIZE, 3))


@pytest.mark.parametrize("change", [without_test_images, without_test_masks, with_dummy_test_masks])
@pytest.mark.parametrize("label_set", ["train", "category8"])
def test_validation_stands_in_for_a_test_split_without_truth(
    root: Path, change: Callable[[Path], None], label_set: str
) -> None:
    change(root)
    data = opened(root, label_set=label_set)
    assert data.sources["test"].ids == data.sources["val"].ids == ["bonn_0", "bonn_1"]


def test_a_test_split_is_one_even_if_a_mask_shows_nothing(root: Path) -> None:
    write(root, "test", "berg_0", np.full(SIZE, 3))
    write(root, "test", "bern_1", np.full(SIZE, 3))
    data = opened(root)
    assert not data.stand_ins
    assert len(data.sources["test"]) == 3


def test_images_of_several_sizes_have_no_common_size(root: Path) -> None:
    write(root, "val", "bonn_0", size=(16, 16))
    assert opened(root).facts.size is None


def break_image(root: Path, mask: Path) -> None:
    image = root / "leftImg8bit" / "train" / "ulm" / "ulm_0_leftImg8bit.png"
    image.write_bytes(image.read_bytes()[:60])


def break_mask(root: Path, mask: Path) -> None:
    mask.write_bytes(mask.read_bytes()[:60])


def swap_bits(root: Path, mask: Path) -> None:
    data = bytearray(mask.read_bytes())
    data[-20] ^= 255
    mask.write_bytes(bytes(data))


BREAKAGES = {
    "ulm_0_leftImg8bit.png": break_image,
    "ulm_0_gtFine_labelIds.png cannot be decoded": break_mask,
    "ulm_0_gtFine_labelIds.png cannot be decoded, prob": swap_bits,
    "is missing; each image needs its mask": lambda root, mask: mask.unlink(),
    "is not an image": lambda root, mask: mask.write_bytes(b""),
    r"is 4 x 4 \(height x width\) but its image ulm_0_leftImg8bit.png is 8 x 12": lambda root, mask: Image.new(
        "L", (4, 4)
    ).save(mask),
    "has pixels of mode RGB.*gtFine_color": lambda root, mask: Image.new("RGB", (12, 8), "red").save(mask),
    "has pixels of mode I;16": lambda root, mask: Image.fromarray(np.full(SIZE, 256, np.uint16)).save(mask),
    r"holds 77 in 96 pixels, the first at row 0, column 0.*0 to 33": lambda root, mask: Image.new(
        "L", (12, 8), 77
    ).save(mask),
}


@pytest.mark.parametrize("sentence", BREAKAGES)
def test_a_broken_pair_is_named_before_training_or_left_out(root: Path, sentence: str) -> None:
    BREAKAGES[sentence](root, root / "gtFine" / "train" / "ulm" / "ulm_0_gtFine_labelIds.png")
    with pytest.raises(DataError, match=sentence) as caught:
        opened(root)
    assert "1 sample of 6 cannot be read" in str(caught.value)
    assert "data.on_error=skip" in str(caught.value)
    data = opened(root, on_error="skip")
    assert data.sources["train"].ids == ["aachen_0", "aachen_1"]
    assert [(problem.split, problem.id) for problem in data.findings.problems] == [("train", "ulm_0")]


def test_a_palette_mask_counts_by_its_indices(root: Path) -> None:
    path = root / "gtFine" / "train" / "ulm" / "ulm_0_gtFine_labelIds.png"
    ids = np.asarray(Image.open(path))
    mask = Image.fromarray(ids)
    mask.putpalette([200, 10, 10] * 256)
    before = opened(root).class_counts().tolist()
    mask.save(path)
    assert opened(root).class_counts().tolist() == before


@pytest.mark.parametrize(
    ("prepare", "error", "sentence"),
    [
        (lambda root: None, ConfigError, "data.root.*CITYSCAPES_DATASET.*registered"),
        (lambda root: root.with_name("city scape"), DataError, "not a folder.*Did you mean 'city scapes'"),
        (lambda root: root / "gtFine", DataError, r"no folder leftImg8bit/ \(it holds test, train, val\)"),
    ],
)
def test_a_wrong_root_is_explained(
    root: Path, prepare: Callable[[Path], Path | None], error: type[ImagierError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        module(prepare(root)).setup()


def test_an_empty_split_is_explained(root: Path) -> None:
    for path in (root / "leftImg8bit" / "val" / "bonn").iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=r"leftImg8bit/val has no file CITY/\*_leftImg8bit.png.*'val' needs at least one"
    ):
        opened(root)


def test_an_unknown_label_set_is_explained(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.label_set=trian is not a label set\. Did you mean 'train'"):
        module(root, label_set="trian")
