from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as theirs

from imagier.transforms.augment import Augment, Chance
from imagier.transforms.trivial import TrivialAugment

KINDS = 14
STRENGTH = 0.8  # a draw from [0, 1) that means 0.6 in [-1, 1)
FACTOR = 1.54  # the resulting factor of brightness, contrast, saturation and sharpness
THEIRS: dict[int, Callable[[Tensor], Tensor]] = {
    5: lambda image: image,
    6: lambda image: theirs.adjust_brightness(image, FACTOR),
    7: lambda image: theirs.adjust_contrast(image, FACTOR),
    8: lambda image: theirs.adjust_saturation(image, FACTOR),
    9: lambda image: theirs.adjust_sharpness(image, FACTOR),
    10: lambda image: theirs.posterize(image, 6),
    11: lambda image: theirs.solarize(image, 154),
    12: lambda image: theirs.autocontrast(image),
    13: lambda image: theirs.equalize(image),
}


def picture(channels: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(3).integers(30, 220, (5, 5, channels), np.uint8)
    return cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC).reshape(32, 32, channels)


def changed(kind: int, pixels: np.ndarray, number: float = STRENGTH, fill: int = 0) -> np.ndarray:
    return TrivialAugment().apply(pixels, [(kind + 0.5) / KINDS, number], fill)


@pytest.mark.parametrize("kind", THEIRS)
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_torchvision_changes_them(kind: int, channels: int) -> None:
    image = picture(channels)
    expected = THEIRS[kind](torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    ours = changed(kind, image)
    inner = (slice(1, -1), slice(1, -1)) if kind == 9 else ()  # torchvision leaves the edge unchanged
    difference = np.abs(ours[inner].astype(int) - expected[inner].astype(int))
    assert difference.max() <= (4 if kind == 13 else 1)  # equalisation rounds the same counts differently


def test_a_picture_and_its_mask_move_alike_and_only_by_shear_shift_and_turn() -> None:
    mask = (picture(1)[..., 0] > 128).astype(np.uint8)
    for kind in range(KINDS):
        image = np.repeat(mask[..., None] * np.uint8(200), 3, 2)
        moved, followed = changed(kind, image), changed(kind, mask, fill=255)
        if kind >= 5:
            assert np.array_equal(followed, mask)
            continue
        assert (followed == 255).any()
        assert (moved == 0).any()
        seen = followed != 255
        assert np.mean((moved[..., 0] > 100)[seen] == followed[seen]) > 0.97


def test_strengths_reach_from_nothing_to_a_quarter_and_more() -> None:
    line = np.zeros((31, 31, 1), np.uint8)
    line[15, 15] = 255
    rows, columns, _ = np.nonzero(changed(2, line, number=1 - 1e-9))
    assert set(rows) == {15}
    assert set(columns) == {24, 25}  # 0.3 of 31 pixels
    for kind in (0, 1, 2, 3, 4, 6, 7, 8, 9):
        assert np.array_equal(changed(kind, picture(), number=0.5), picture())


def test_flat_pictures_pass() -> None:
    for kind in range(KINDS):
        changed(kind, np.full((20, 24, 3), 7, np.uint8))
        changed(kind, np.full((20, 24, 1), 255, np.uint8))


def test_batches_are_changed_as_one_by_one() -> None:
    augment, chance = Augment([TrivialAugment()]), Chance.of(np.arange(50, dtype=np.uint64))
    images = np.stack([picture()] * 50)
    together, classes = augment.apply_all(images.copy(), np.arange(50), chance)
    assert augment.batched
    assert classes.tolist() == list(range(50))
    alone = [augment.apply(image, 0, draw)[0] for image, draw in zip(images, augment.draw(chance), strict=True)]
    assert np.array_equal(together, np.stack(alone))
    different = len(np.unique(together.reshape(50, -1), axis=0))
    assert different > 30  # some kinds, such as the identity, have no strength
