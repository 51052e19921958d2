"""Noise has the stated strength, and depends only on its seed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from imagier.errors import ConfigError
from imagier.transforms.noise import GaussianNoise

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "noise").glob("*.yaml"))


def grey(count: int, value: int = 128, side: int = 128) -> Tensor:
    return torch.full((count, 3, side, side), value, dtype=torch.uint8)


def test_noise_is_white_gaussian_of_its_level() -> None:
    noise = GaussianNoise([0, 55])(grey(4), [1, 2, 3, 4], level=25) - 128
    assert noise.dtype == torch.float32
    for one in noise:
        assert one.mean().item() == pytest.approx(0, abs=0.5)
        assert one.std().item() == pytest.approx(25, rel=0.02)
        assert (one.abs() < 25).double().mean().item() == pytest.approx(0.6827, abs=0.01)
        assert (one[:, 1:] * one[:, :-1]).mean().item() == pytest.approx(0, abs=10)  # the variance is 625
    assert (noise[0] * noise[1]).mean().item() == pytest.approx(0, abs=10)


def test_each_sample_draws_its_sigma_from_the_range() -> None:
    noise = GaussianNoise([10, 50])
    drawn = torch.tensor([noise.sigma(seed) for seed in range(2000)])
    assert 10 <= drawn.min() < 10.2
    assert 49.8 < drawn.max() < 50
    assert drawn.mean().item() == pytest.approx(30, abs=0.8)
    made = noise(grey(3), [7, 8, 9]) - 128
    for one, seed in zip(made, [7, 8, 9], strict=True):
        assert one.std().item() == pytest.approx(noise.sigma(seed), rel=0.02)


def test_a_sample_is_the_same_in_any_batch() -> None:
    noise = GaussianNoise([0, 55])
    together = noise(grey(3), [5, 6, 7])
    assert torch.equal(noise(grey(1), [6]), together[1:2])
    assert torch.equal(noise(grey(3).to(memory_format=torch.channels_last), [5, 6, 7]), together)
    assert not torch.equal(together[0], together[1])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(noise(grey(3), [5, 6, 7]), together)
    assert torch.equal(torch.get_rng_state(), before)  # the global generator is not used


def test_it_is_the_same_in_whatever_precision_a_trainer_computes() -> None:
    noise = GaussianNoise([1, 50])
    wanted = noise(grey(2), [3, 4])
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        assert torch.equal(noise(grey(2), [3, 4]), wanted)
    finally:
        torch.set_default_dtype(before)


def test_levels_scale_one_noise() -> None:
    noise = GaussianNoise([0, 55])
    weak, strong = (noise(grey(2), [3, 4], level=level) - 128 for level in (15, 45))
    torch.testing.assert_close(3 * weak, strong, atol=1e-3, rtol=1e-4)


def test_clipping_is_what_a_camera_does() -> None:
    light = grey(2, value=250)
    free, clipped = GaussianNoise(50)(light, [1, 2]), GaussianNoise(50, clip=True)(light, [1, 2])
    assert free.max() > 255
    assert torch.equal(clipped, free.clamp(0, 255))


def test_there_are_configs() -> None:
    assert {path.stem for path in CONFIGS} >= {"blind", "fixed", "report"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_makes_its_noise(path: Path) -> None:
    options = yaml.safe_load(path.read_text())
    assert options.pop("name") == path.stem
    assert options.pop("_target_") == "imagier.transforms.noise.GaussianNoise"
    noise = GaussianNoise(**options)
    expected = {"blind": (0, 55, False), "fixed": (25, 25, False), "report": (0, 127.5, True)}[path.stem]
    assert (noise.low, noise.high, noise.clip) == expected


@pytest.mark.parametrize(
    "sigma", [-1, 0, [10, 5], [0, 0], [-1, 5], [1, 2, 3], "strong", None, float("nan"), float("inf")]
)
def test_a_sigma_that_is_none_is_explained(sigma: Any) -> None:
    with pytest.raises(ConfigError, match=rf"noise\.sigma={re.escape(str(sigma))} is not a standard deviation"):
        GaussianNoise(sigma)
