"""imagier's exact transforms against albumentations and plain NumPy."""

from collections import Counter
from typing import Any

import albumentations as A
import numpy as np
import pytest

from imagier.errors import ConfigError
from imagier.randomness import sample_seeds, uniforms
from imagier.transforms.augment import Augment, Chance
from imagier.transforms.base import Transform
from imagier.transforms.exact import D4, Erase, HorizontalFlip, RandomCrop, RandomPart, Shift, VerticalFlip

rng = np.random.default_rng(5)
PICTURES = [
    rng.integers(0, 256, shape, np.uint8)  # small and large, since they use different code paths
    for shape in ((6, 9, 1), (6, 9, 3), (6, 9), (120, 90, 1), (120, 90, 3), (120, 90))
]
for picture in PICTURES:
    picture.setflags(write=False)


def everything(transform: Transform, picture: np.ndarray, fill: int = 7) -> set[bytes]:
    """Return all results of a transform over 400 random draws, as bytes."""
    numbers = rng.random((400, transform.draws)).tolist()
    return {transform.apply(picture, row, fill).tobytes() for row in numbers}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: str(picture.shape))
def test_flips_and_turns_are_albumentations_own(picture: np.ndarray) -> None:
    elements = ["e", "r90", "r180", "r270", "v", "hvt", "h", "t"]
    turned = {
        np.ascontiguousarray(A.augmentations.geometric.functional.d4(picture, name)).tobytes() for name in elements
    }
    assert everything(D4(), picture) == turned
    assert everything(HorizontalFlip(), picture) == {picture.tobytes(), picture[:, ::-1].tobytes()}
    assert everything(VerticalFlip(), picture) == {picture.tobytes(), picture[::-1].tobytes()}
    assert everything(HorizontalFlip(p=0), picture) == {picture.tobytes()}


@pytest.mark.parametrize("picture", PICTURES[:3], ids=lambda picture: str(picture.shape))
def test_crops_and_shifts_reach_every_place(picture: np.ndarray) -> None:
    crops = {picture[top : top + 4, left : left + 5].tobytes() for top in range(3) for left in range(5)}
    assert everything(RandomCrop(4, 5), picture) == crops
    padded = np.pad(picture, [(2, 2), (2, 2), (0, 0)][: picture.ndim], constant_values=7)
    shifts = {padded[top : top + 6, left : left + 9].tobytes() for top in range(5) for left in range(5)}
    assert everything(Shift(2), picture) == shifts


def test_a_shift_beyond_the_edge_leaves_the_filling() -> None:
    assert (Shift(50).apply(PICTURES[0], [0.999, 0.0], 3) == 3).all()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: str(picture.shape))
def test_erasing_covers_one_rectangle_with_one_value(picture: np.ndarray) -> None:
    transform, shares = Erase(p=0.5, area=[0.1, 0.3]), []
    for row in rng.random((200, transform.draws)).tolist():
        changed = (moved := transform.apply(picture, row, 7)) != picture
        changed = changed.any(-1) if picture.ndim == 3 else changed
        if not changed.any():
            continue
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        covered = moved[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert len(np.unique(covered)) == 1
        assert picture.ndim == 3 or covered[0, 0] == 7
        shares.append(covered.size / picture.size)
    assert 60 < len(shares) < 140
    assert 0.05 < min(shares) < 0.15
    assert 0.2 < max(shares) < 0.4


def test_a_batch_is_erased_as_its_pictures_are() -> None:
    pictures = rng.integers(0, 256, (40, 9, 7, 1), np.uint8)
    numbers = rng.random((40, Erase.draws))
    one_by_one = [Erase().apply(*pair, 0) for pair in zip(pictures, numbers.tolist(), strict=True)]
    np.testing.assert_array_equal(Erase().apply_all(pictures.copy(), numbers, 0), one_by_one)


def test_small_pictures_are_reflected_before_a_crop() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    cut = RandomCrop(5, 4, pad=True).apply(picture, [0.0, 0.0], 0)
    assert cut[:, 0].tolist() == [4, 0, 4, 8, 4]
    assert RandomCrop(9, 9, pad=True).apply(picture[:1, :1], [0.5, 0.5], 0).shape == (9, 9)
    with pytest.raises(ConfigError, match=r"crops 5 x 4 but got an image of 3 x 4.*pad=true"):
        RandomCrop(5, 4).apply(picture, [0.0, 0.0], 0)


def test_a_probability_is_one() -> None:
    with pytest.raises(ConfigError, match=r"p=1\.5.*from 0 to 1"):
        HorizontalFlip(1.5)
    with pytest.raises(ConfigError, match=r"alternate=True and p=0\.25"):
        HorizontalFlip(0.25, alternate=True)


@pytest.mark.parametrize("wrong", [lambda: RandomCrop(-3, 5), lambda: RandomCrop(5, 4.5), lambda: Shift(-1)])  # type: ignore[arg-type]
def test_sides_are_whole_numbers(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="whole number of pixels, at least"):
        wrong()


def test_a_word_is_no_switch() -> None:
    with pytest.raises(ConfigError, match="RandomCrop has pad=no; it is true or false"):
        RandomCrop(5, 4, "no")  # type: ignore[arg-type]


def test_masks_and_pictures_go_where_their_images_go() -> None:
    image = PICTURES[1]
    augment = Augment([HorizontalFlip(), Shift(2), RandomCrop(5, 5), D4()], None, 4, 255)
    for seed in range(50):
        moved, mask = augment(image, image[:, :, 0] % 4, seed)
        inside = mask != 255
        assert np.array_equal(mask[inside], moved[:, :, 0][inside] % 4)
        assert (moved[~inside] == 0).all()
        other, picture = augment(image, 255 - image, seed)
        assert np.array_equal(other, moved)
        assert np.array_equal(picture[inside], 255 - moved[inside])


def test_a_batch_draws_what_its_samples_draw_alone() -> None:
    steps: list[Any] = [HorizontalFlip(), A.GaussNoise(p=1), Shift(2), A.HorizontalFlip(), D4()]
    augment = Augment(steps, None, 0, None)
    seeds = sample_seeds(11, np.arange(20))
    for seed, draw in zip(seeds.tolist(), augment.draw(Chance.of(seeds)), strict=True):
        image = PICTURES[4]
        assert np.array_equal(augment.apply(image, 0, draw)[0], augment(image, 0, seed)[0])
    assert sample_seeds(11, np.array([7])) == seeds[7]


@pytest.mark.parametrize(
    "transform", [HorizontalFlip(), VerticalFlip(), Shift(2), RandomCrop(4, 5), RandomCrop(8, 8, True), D4()]
)
@pytest.mark.parametrize("shape", [(6, 6, 1), (6, 6, 3), (6, 6)])
def test_all_at_once_is_one_after_another(transform: Transform, shape: tuple[int, ...]) -> None:
    pictures = rng.integers(0, 256, (64, *shape), np.uint8)
    numbers = rng.random((64, transform.draws))
    singly = [transform.apply(picture, row, 9) for picture, row in zip(pictures, numbers.tolist(), strict=True)]
    assert np.array_equal(transform.apply_all(pictures.copy(), numbers, 9), np.stack(singly))


def test_oblong_pictures_that_are_turned_do_not_fit_into_a_batch_and_that_is_said() -> None:
    pictures, numbers = np.zeros((8, 20, 30, 3), np.uint8), np.linspace(0, 0.99, 8)[:, None]
    with pytest.raises(ConfigError, match=r"images of 20 x 30 and 30 x 20 .*data\.size=\[H,W\]"):
        D4().apply_all(pictures, numbers, 0)
    assert D4().apply_all(pictures[:1], numbers[-1:], 0).shape == (1, 30, 20, 3)


def test_numbers_of_neighbours_are_uniform_and_unrelated() -> None:
    numbers = uniforms(sample_seeds(3, np.arange(40000)), 3)
    assert ((numbers >= 0) & (numbers < 1)).all()
    tenths = Counter((numbers[:, 0] * 10).astype(int).tolist())
    assert all(abs(count - 4000) < 5 * 60 for count in tenths.values())  # five standard deviations
    columns = np.concatenate([numbers[:-1], numbers[1:]], 1)
    assert np.abs(np.corrcoef(columns.T) - np.eye(6)).max() < 0.025
    assert not np.array_equal(numbers, uniforms(sample_seeds(4, np.arange(40000)), 3))


def test_parts_are_of_the_shares_and_shapes_that_are_asked_for() -> None:
    picture = rng.integers(0, 256, (90, 120, 3), np.uint8)
    numbers = rng.random((300, RandomPart.draws)).tolist()
    parts = [RandomPart((0.2, 0.6), 0.5).apply(picture, row, 0) for row in numbers]
    shares = np.array([part[..., 0].size for part in parts]) / picture[..., 0].size
    shapes = np.array([part.shape[0] / part.shape[1] for part in parts])
    assert 0.15 < shares.min() < 0.25
    assert 0.5 < shares.max() < 0.62
    assert 0.48 < shapes.min() < 0.6
    assert 1.4 < shapes.max() < 2.05
    assert all(np.shares_memory(part, picture) for part in parts)
    assert RandomPart((1.0, 1.0), 1.0).apply(picture, [0.5] * 4, 0).shape == (90, 104, 3)  # no larger than the image
    with pytest.raises(ConfigError, match=r"RandomPart has area=\[0, 1\]"):
        RandomPart((0, 1))
