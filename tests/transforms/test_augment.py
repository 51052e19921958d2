import multiprocessing
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from imagier.errors import ConfigError
from imagier.nodes import call_nested
from imagier.transforms.augment import Augment
from imagier.transforms.exact import HorizontalFlip

CONF = Path(__file__).parents[2] / "conf" / "augment"
SHIPPED = ["none", "flip", "shift", "report", "streets"]
PLENTY = [
    A.HorizontalFlip(p=0.5),
    A.RandomScale((-0.3, 0.5), p=0.7),
    A.PadIfNeeded(60, 60),
    A.RandomCrop(40, 40),
    A.RandomResizedCrop((32, 32), scale=(0.3, 1.0)),
    A.OneOf([A.Affine(rotate=(-20, 20)), A.Rotate((-10, 10))], p=0.9),
    A.CoarseDropout(p=0.5, fill="random"),
    A.Erasing(p=0.5),
    A.ColorJitter(p=0.8),
    A.GaussianBlur(p=0.5),
]


def shipped(name: str) -> list[Any]:
    cfg = OmegaConf.create({"augment": OmegaConf.load(CONF / f"{name}.yaml")})
    return list(call_nested(cfg.augment.transforms, "augment.transforms"))


def scene(height: int = 48, width: int = 64, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 256, (6, 8, channels), np.uint8), (width, height)).reshape(
        height, width, channels
    )
    mask = np.repeat(np.repeat(rng.integers(0, 4, (6, 8), np.uint8), height // 6, 0), width // 8, 1)
    for array in (image, mask):
        array.setflags(write=False)  # data sets in memory must not be modified
    return image, mask


def equal(left: tuple[Any, Any], right: tuple[Any, Any]) -> bool:
    return np.array_equal(left[0], right[0]) and np.array_equal(left[1], right[1])


def apply(augment: Augment, seed: int) -> tuple[Any, Any]:
    return augment(*scene(), seed)


def test_the_seed_alone_decides_whatever_came_before() -> None:
    fresh = [apply(Augment(PLENTY, None, 4, 255), seed) for seed in range(12)]
    used = Augment(PLENTY, None, 4, 255)
    np.random.seed(0)  # noqa: NPY002 - global generators must not matter either
    for seed in reversed(range(12)):
        assert equal(apply(used, seed), fresh[seed])
    assert not any(equal(fresh[0], other) for other in fresh[1:])


def test_a_spawned_process_gives_the_same() -> None:
    augment = Augment(PLENTY, (48, 64), 4, 255)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert equal(pool.apply(apply, (augment, 7)), apply(augment, 7))


def test_transforms_draw_independently_of_one_another() -> None:
    across, down = A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    # Consecutive, and separated by one of imagier's own transforms, which splits them into two stages.
    for transforms in ([across, down], [across, HorizontalFlip(p=0), down]):
        augment = Augment(transforms)
        seen = {augment(image, 0, seed)[0].ravel().tolist()[0] for seed in range(40)}
        assert seen == {0, 1, 2, 3}  # with equal draws an image would be flipped both ways or not at all


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("channels", [1, 3])
def test_shipped_recipes_keep_size_and_labels(name: str, channels: int) -> None:
    image, mask = scene(channels=channels)
    augment = Augment(shipped(name), None, 4, 255)
    changed = 0
    for seed in range(10):
        augmented, target = augment(image, mask, seed)
        assert (augmented.shape, augmented.dtype) == (image.shape, np.uint8)
        assert (target.shape, target.dtype) == (mask.shape, np.uint8)
        assert set(np.unique(target)) <= {0, 1, 2, 3, 255}
        changed += not equal((augmented, target), (image, mask))
    assert changed == 0 if name == "none" else changed >= 3


@pytest.mark.parametrize("name", SHIPPED)
def test_a_class_index_passes_through(name: str) -> None:
    image, _ = scene(28, 32, 1)
    augmented, target = Augment(shipped(name), None, 10, None)(image, 7, 1)
    assert (augmented.shape, target) == (image.shape, 7)


def test_shift_moves_by_whole_pixels() -> None:
    image, mask = scene()
    augment = Augment([t for t in shipped("shift") if not isinstance(t, HorizontalFlip)], None, 4, 255)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    crops = [padded[row : row + 48, column : column + 64] for row in range(5) for column in range(5)]
    hits = {
        next(number for number, crop in enumerate(crops) if np.array_equal(augment(image, mask, seed)[0], crop))
        for seed in range(60)
    }
    assert len(hits) > 15


def test_report_crops_up_to_a_fifth_of_each_side_and_leaves_masks_sharp() -> None:
    rotate, crop, blur = shipped("report")
    assert (rotate.limit, blur.sigma_limit) == ((-26, 26), (0.0, 1.0))
    rows = np.repeat(np.arange(100, dtype=np.uint8)[:, None], 100, 1)
    seen = [Augment([crop], None, 255, None)(rows[..., None], rows, seed)[1] for seed in range(100)]
    first, last = [int(mask.min()) for mask in seen], [99 - int(mask.max()) for mask in seen]
    assert all(abs(top - bottom) <= 1 for top, bottom in zip(first, last, strict=True))
    assert 0 <= min(first) <= 2
    assert 18 <= max(first) <= 20
    image, mask = scene()
    assert np.array_equal(Augment([blur])(image, mask, 3)[1], mask)


@pytest.mark.parametrize("transform", [None, *shipped("report")[:2], shipped("streets")[1]])
@pytest.mark.parametrize("size", [None, (37, 61), (90, 110)])
def test_masks_stay_aligned_with_their_images(transform: Any, size: tuple[int, int] | None) -> None:
    augment = Augment([transform] if transform else [], size, 2, None)
    rows, columns = np.mgrid[:64, :96]
    shifts = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mask = ((rows - rng.uniform(26, 38)) ** 2 + (columns - rng.uniform(40, 56)) ** 2 < 10**2).astype(np.uint8)
        image, target = augment(mask[..., None] * np.uint8(200), mask, seed)
        shifts.append(centre(image[..., 0]) - centre(target))
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.2  # OpenCV's plain nearest neighbour is off by half a pixel


def centre(weights_HW: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: weights_HW.shape[0], : weights_HW.shape[1]]
    return np.array([np.average(rows, weights=weights_HW), np.average(columns, weights=weights_HW)])


def test_uncovered_pixels_are_unlabelled() -> None:
    image, mask = scene()
    ones = np.ones_like(mask)
    shift = A.Affine(translate_px={"x": 10, "y": 0}, p=1)  # the library's own fill would be class 0
    for ignored, filled in ((255, 255), (None, 0)):
        _, target = Augment([shift], None, 4, ignored)(image, ones, 0)
        assert (target[:, :10] == filled).all()
        assert (target[:, 10:] == 1).all()
    nested = Augment([A.OneOf([shift], p=1)], None, 4, 255)
    assert (nested(image, ones, 0)[1][:, :10] == 255).all()


def test_a_stated_fill_is_kept_and_must_be_a_class_or_ignored() -> None:
    image, mask = scene()
    shift = A.Affine(translate_px={"x": 10, "y": 0}, fill_mask=3, p=1)
    assert (Augment([shift], None, 4, 255)(image, mask, 0)[1][:, :10] == 3).all()
    with pytest.raises(ConfigError, match=r"Affine has fill_mask=3.* classes 0 to 2 and 255 is ignored"):
        Augment([shift], None, 3, 255)


def test_a_picture_as_target_is_treated_as_the_image() -> None:
    image, _ = scene()
    augment = Augment(PLENTY[:6], (40, 50))
    same, target = augment(image, image, 4)
    assert target is same
    other, target = augment(image, image.copy(), 4)
    assert np.array_equal(other, target)
    assert np.array_equal(other, same)


def test_shrinking_averages_and_growing_interpolates() -> None:
    image = np.zeros((4, 4, 1), np.uint8)
    image[::2] = 200
    assert (Augment((), (2, 2))(image, 0, 0)[0] == 100).all()
    mixed = Augment((), (2, 8))(image, 0, 0)[0]
    assert mixed.shape == (2, 8, 1)
    assert (mixed == 100).all()


def test_resizing_last_shows_the_transforms_each_picture_as_it_is() -> None:
    image, mask = scene()
    corner = A.Crop(0, 0, 32, 24)  # a quarter of the image, but more of the resized one
    first = Augment([corner], (24, 32), 4, 255)(image, mask, 0)
    last = Augment([corner], (24, 32), 4, 255, resize_last=True)(image, mask, 0)
    assert equal(last, (image[:24, :32], mask[:24, :32]))
    assert equal(first, Augment((), (24, 32))(image, mask, 0))
    smaller = Augment([corner], (12, 16), 4, 255, resize_last=True)
    assert equal(smaller(image, mask, 0), Augment((), (12, 16))(image[:24, :32], mask[:24, :32], 0))
    same, target = smaller(image, image, 0)
    assert target is same
    assert not Augment([HorizontalFlip(p=0.5)], (12, 16), resize_last=True).batched  # sizes may differ until the end


def test_nothing_to_do_costs_nothing() -> None:
    image, mask = scene()
    augmented, target = Augment((), (48, 64))(image, mask, 0)
    assert augmented is image
    assert target is mask


def test_a_misspelt_argument_is_an_error() -> None:
    with pytest.warns(UserWarning, match="not valid"):
        wrong = A.Rotate(limits=10)
    with pytest.raises(ConfigError, match=r"Rotate has no argument 'limits'\. Did you mean 'limit'\?"):
        Augment([wrong])


def test_a_crop_that_does_not_fit_names_both_sizes() -> None:
    with pytest.raises(ConfigError, match=r"48 x 64.*data\.size"):
        Augment([A.RandomCrop(100, 100)])(*scene(), 0)
