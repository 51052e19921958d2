from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier import synthetic
from imagier.datamodules.photos import Photos
from imagier.randomness import generator
from imagier.synthetic import leaves
from imagier.synthetic.leaf_outlines import outlines, radii
from imagier.synthetic.leaf_surfaces import luma
from imagier.synthetic.leaves import generate, picture


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Generated images, float64 [N, H, W, 3] in [0, 1]."""
    return np.stack([picture(generator("leaves", 0, i)) for i in range(24)]) / 255


def test_a_picture_depends_on_seed_and_index_alone(tmp_path: Path) -> None:
    for folder, count, seed in (("one", 2, 0), ("more", 3, 0), ("other", 2, 1)):
        generate(tmp_path / folder, count=count, size=(64, 96), seed=seed)
    one, more, other = ((tmp_path / folder / "leaves_00001.png").read_bytes() for folder in ("one", "more", "other"))
    assert one == more
    assert one != other
    with Image.open(tmp_path / "more" / "leaves_00002.png") as drawn:
        assert (drawn.mode, drawn.size) == ("RGB", (96, 64))


def test_photos_read_the_set_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = (leaves.VERSION, partial(generate, count=20, size=(64, 64)), "a few leaves")
    monkeypatch.setitem(synthetic.SETS, "leaves", entry)
    data = Photos(name="leaves", embedded="leaves", cache=tmp_path, labels=False, batch_size=2, split=(0.6, 0.2, 0.2))
    data.prepare_data()
    data.setup()
    written = {path.name for path in (tmp_path / "embedded" / f"leaves-v{leaves.VERSION}").iterdir()}
    assert written == {f"leaves_{number:05d}.png" for number in range(20)}
    assert sum(len(data.sources[split]) for split in ("train", "val", "test")) == 20
    assert data.facts.size == (64, 64)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 64, 64)


def test_power_falls_with_frequency_as_in_photographs(pictures: np.ndarray) -> None:
    """About f^-2: on 300 photographs the mean exponent is -2.3, and four in five are between -2.8 and -1.8."""
    slopes = np.array([_slope(luma(one)) for one in pictures])
    assert -2.9 < np.median(slopes) < -1.9
    assert np.ptp(slopes) > 0.7


def test_steps_between_pixels_are_few_and_large_as_in_photographs(pictures: np.ndarray) -> None:
    """Four of five photographs have a kurtosis between 8 and 44; that of a normal distribution is 3."""
    steps = np.diff(luma(pictures), axis=2).reshape(len(pictures), -1)
    steps -= steps.mean(1, keepdims=True)
    kurtosis = (steps**4).mean(1) / (steps**2).mean(1) ** 2
    assert 8 < np.median(kurtosis) < 44
    assert 0.045 < steps.std() < 0.1  # of photographs: 0.064


def test_colours_agree_as_in_photographs(pictures: np.ndarray) -> None:
    correlations = np.array([np.corrcoef(one.reshape(-1, 3).T) for one in pictures])
    assert np.median(correlations[:, 0, 1]) > 0.9
    assert 0.7 < np.median(correlations[:, 0, 2]) < 0.98
    red, green, blue = pictures.mean((0, 1, 2))
    assert red > green > blue  # warm light, on average
    assert 0.3 < luma(pictures).mean() < 0.55
    assert 0.12 < luma(pictures).std((1, 2)).mean() < 0.24
    clipped = ((pictures == 0) | (pictures == 1)).all(-1).mean()
    assert clipped < 0.1


def test_colours_are_coarser_than_brightness_as_in_files_of_cameras(pictures: np.ndarray) -> None:
    """Fine detail is in brightness: on 50 photographs, the detail in blue minus brightness is a tenth of it."""
    gray = luma(pictures)
    gray_change, blue_change = (
        np.sqrt((np.diff(one, 2, axis=2) ** 2).mean()) for one in (gray, pictures[..., 2] - gray)
    )
    assert blue_change < 0.2 * gray_change
    odd = picture(generator("leaves", 0, 0), (33, 47))
    assert odd.shape == (33, 47, 3)


def test_some_pictures_are_calm_and_some_are_busy(pictures: np.ndarray) -> None:
    tiles = luma(pictures).reshape(len(pictures), 32, 8, 32, 8).std((2, 4)).reshape(len(pictures), -1)
    typical = np.median(tiles, 1)
    assert np.percentile(typical, 90) > 3 * np.percentile(typical, 10)
    assert np.median(np.percentile(tiles, 10, 1)) < 0.03  # most images have a smooth region


def test_radii_are_scale_invariant() -> None:
    drawn = radii(generator("radii"), 40_000, 2, 200)
    assert drawn.min() >= 2
    assert drawn.max() <= 200
    for octave in (2, 4, 8):  # density r^-3: a quarter are larger than twice the size
        assert (drawn > 2 * octave).sum() / (drawn > octave).sum() == pytest.approx(0.25, abs=0.03)


def test_leaves_cover_about_what_a_disc_does() -> None:
    x, y = np.moveaxis(outlines(generator("outlines"), 2000), -1, 0)
    areas = (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1) / 2
    assert areas.min() > 0.3
    assert np.median(areas) == pytest.approx(np.pi, rel=0.15)


def _slope(luma_HW: np.ndarray) -> float:
    """Return the exponent of the radially averaged power spectrum."""
    side = luma_HW.shape[0]
    window = np.hanning(side)[:, None] * np.hanning(side)
    power = np.abs(np.fft.fft2((luma_HW - luma_HW.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(side, 1 / side)[:, None], np.fft.fftfreq(side, 1 / side))
    rings = np.arange(4, int(0.4 * side))
    mean = [power[np.abs(frequency - ring) < 0.5].mean() for ring in rings]
    return float(np.polyfit(np.log(rings), np.log(mean), 1)[0])
