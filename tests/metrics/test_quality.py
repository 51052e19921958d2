"""Image quality against torchmetrics and explicit formulas, and in the edge cases that these do not cover."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from imagier.metrics.means import Means
from imagier.metrics.quality import as_saved, ms_ssim, mse, psnr, ssim
from imagier.metrics.weighted_mean import EXACT


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Three images of decreasing noise, uint8 [3, 3, 180, 200], and the clean ones."""
    draw = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 255, 200).expand(3, 3, 180, 200)
    strength = torch.tensor([40.0, 20.0, 5.0]).view(3, 1, 1, 1)
    return as_saved(ramp + strength * torch.randn(ramp.shape, generator=draw)), as_saved(ramp)


def test_each_picture_has_its_own_psnr(pair: tuple[Tensor, Tensor]) -> None:
    noisy, clean = pair
    values = psnr(noisy, clean)
    assert values.dtype == torch.float64
    for row in range(3):
        library = peak_signal_noise_ratio(noisy[row].double() / 255, clean[row].double() / 255, data_range=1.0)
        assert values[row].item() == pytest.approx(library.item(), rel=1e-6)  # its logarithms are float32
    assert values[0] < values[1] < values[2]


def test_mse_is_on_the_scale_of_zero_to_one() -> None:
    black, white = torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    assert mse(black, white).tolist() == mse(white, black).tolist() == [1.0]
    assert mse(black, torch.full_like(black, 51)).item() == pytest.approx(0.04, rel=1e-15)


def test_a_large_picture_is_summed_exactly() -> None:
    one = torch.zeros(1, 1, 4096, 4096, dtype=torch.uint8)
    other = one + 255
    other[0, 0, 0, 0] = 254
    assert mse(one, other).item() == (4096**2 * 255**2 - 255**2 + 254**2) / (4096**2 * 255**2)


def test_identical_pictures_count_as_100_db_and_a_similarity_of_1(pair: tuple[Tensor, Tensor]) -> None:
    clean = pair[1]
    assert psnr(clean, clean).tolist() == [100.0] * 3
    for similarity in (ssim, ms_ssim):
        torch.testing.assert_close(similarity(clean, clean), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0)
    almost = torch.zeros(1, 1, 1024, 1024, dtype=torch.uint8)
    almost[0, 0, 3, 3] = 1  # 108 dB by the formula
    assert psnr(almost, torch.zeros_like(almost)).item() == 100


@pytest.mark.parametrize("similarity", [ssim, ms_ssim])
def test_similarity_falls_with_noise_in_any_order_of_memory(similarity, pair: tuple[Tensor, Tensor]) -> None:
    noisy, clean = pair
    values = similarity(noisy, clean)
    assert values.dtype == torch.float64
    assert 0 < values[0] < values[1] < values[2] < 1
    torch.testing.assert_close(similarity(noisy[1:2], clean[1:2]), values[1:2], atol=1e-6, rtol=0)
    last = similarity(noisy.to(memory_format=torch.channels_last), clean)
    torch.testing.assert_close(last, values, atol=1e-6, rtol=0)


@pytest.mark.parametrize("similarity", [ssim, ms_ssim])
def test_mixed_precision_does_not_reach_similarity(similarity, pair: tuple[Tensor, Tensor]) -> None:
    expected = similarity(*pair)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(similarity(*pair), expected)


def test_ssim_of_flat_pictures_as_written_out() -> None:
    grey, light = torch.full((1, 1, 32, 32), 100, dtype=torch.uint8), torch.full((1, 1, 32, 32), 150, dtype=torch.uint8)
    a, b, c = 100 / 255, 150 / 255, 0.01**2
    assert ssim(grey, light).item() == pytest.approx((2 * a * b + c) / (a * a + b * b + c), rel=1e-3)


def test_pictures_too_small_for_a_window_have_no_similarity(pair: tuple[Tensor, Tensor]) -> None:
    for size in ((5, 99), (99, 5)):
        assert ssim(*(one[:, :, : size[0], : size[1]] for one in pair)).isnan().tolist() == [True] * 3
    assert ssim(*(one[:, :, :6, :6] for one in pair)).isfinite().all()
    assert ms_ssim(*(one[:, :, :175] for one in pair)).isnan().tolist() == [True] * 3
    assert ms_ssim(*(one[:, :, :176, :176] for one in pair)).isfinite().all()


def test_what_is_saved_is_rounded_and_clamped() -> None:
    values = torch.tensor([-7.0, -0.4, 0.5, 1.5, 99.51, 254.9, 300.0])
    assert as_saved(values).tolist() == [0, 0, 0, 2, 100, 255, 255]


def test_means_leave_out_what_a_picture_does_not_have() -> None:
    means = Means(["psnr", "ms_ssim", "psnr/25"])
    means.update({"psnr": torch.tensor([20.0, 30.0]), "ms_ssim": torch.tensor([math.nan, 0.5])})
    means.update({"psnr": torch.tensor([40.0])})
    found = means.compute()
    assert found["psnr"].item() == 30
    assert found["ms_ssim"].item() == 0.5
    assert found["psnr/25"].isnan()
    means.reset()
    means.update({"psnr": torch.tensor([1.0])})
    assert means.compute()["psnr"].item() == 1


def test_means_of_parts_add_up() -> None:
    values = 20 + 10 * torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    whole, parts = Means(["psnr"]), Means(["psnr"])
    whole.update({"psnr": values})
    for part in values.split(7):
        parts.update({"psnr": part})
    assert parts.compute()["psnr"].item() == pytest.approx(values.double().mean().item(), rel=1e-12)
    assert whole.compute()["psnr"].item() == pytest.approx(values.double().mean().item(), rel=1e-12)


def test_sums_stay_exact_where_a_trainer_makes_everything_half_as_precise() -> None:
    means = Means(["psnr"]).to(torch.bfloat16)
    for _ in range(500):
        means.update({"psnr": torch.tensor([30.1], dtype=torch.float64)})
    assert means.compute()["psnr"] == pytest.approx(30.1, abs=1e-6)
    means.reset()
    assert means.totals.dtype == EXACT
