"""The report for tasks whose outputs are images: denoise and compress."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier.batch import Facts
from imagier.training.image_formats import JPEG, decode
from imagier.training.pictures import (
    Comparison,
    Curve,
    Sample,
    batch_grid,
    draw_curves,
    rate_chart,
    read_history,
    sample_grid,
    wording,
)
from imagier.training.pictures.rates import in_decibels
from imagier.training.report import Summary, write_report

FACTS = Facts("photos", 3, None, (0.5,) * 3, (0.2,) * 3)
DRAWS = np.random.default_rng(0)
FLAT = np.full((160, 240, 3), 120, np.uint8)


def photograph(height: int = 321, width: int = 481, channels: int = 3) -> np.ndarray:
    """Return a blurry image with fine texture in its lower right corner."""
    coarse = Image.fromarray(DRAWS.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    image = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    image[-height // 4 :, -width // 4 :] = DRAWS.integers(0, 256, image[-height // 4 :, -width // 4 :].shape)
    return image[..., :channels]


def noisy_sample(clean: np.ndarray) -> Sample:
    noisy = np.clip(clean + DRAWS.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
    denoised = ((clean.astype(int) + noisy) // 2).astype(np.uint8)
    return Sample("<i>a</i>.jpg", noisy, clean, denoised, {"psnr": 26.0, "psnr_noisy": 20.0, "sigma": 25.0})


def coded_sample(clean: np.ndarray, size: int = 6000) -> Sample:
    return Sample("b.jpg", clean, clean, clean // 16 * 16 + 8, {"bytes": size, "psnr": 34.5})


def curve(name: str, factor: float) -> Curve:
    bpp = np.array([0.2, 0.5, 1.0]) * factor
    return Curve(name, bpp, {"psnr": np.array([26.0, 30.0, 34.0]), "ms_ssim": np.array([0.9, 0.96, 0.99])})


COMPARISON = Comparison(16, [curve("this network", 0.8), curve("JPEG", 1.0), curve("WebP", 0.7)])


def denoise_summary() -> Summary:
    levels = {
        f"{name}/{level}": value - level / 100
        for level in (15, 25, 50)
        for name, value in {"psnr": 30, "ssim": 0.9, "mse": 0.5, "psnr_noisy": 20}.items()
    }
    sample = noisy_sample(photograph())
    return Summary(
        title="drunet on photos",
        sentence="python train.py task=denoise",
        task="denoise",
        metric="psnr",
        facts=FACTS,
        results={"val": {"loss": 0.01, "psnr": 29.123, "ssim": 0.81234, "psnr_noisy": 20.1} | levels},
        parameters=1000,
        seconds=61,
        samples=[sample],
        first_batch=[replace(sample, prediction=None)],
    )


def compress_summary() -> Summary:
    scores = {
        "loss": 1.2,
        "bpp": 0.61234,
        "bpp_estimate": 0.61,
        "psnr": 31.4159,
        "mismatches": 0.0,
        "misestimates": 0.25,
    }
    rates = {f"{name}/{rate}": value for name, value in scores.items() for rate in ("0.0018", "0.025")}
    return replace(
        denoise_summary(),
        title="factorized on photos",
        task="compress",
        metric="loss",
        results={"val": scores | rates, "test": scores | rates},
        samples=[coded_sample(photograph())],
        comparison=COMPARISON,
    )


def page(folder: Path, summary: Summary) -> str:
    return write_report(folder, summary).read_text(encoding="utf-8")


def rows(text: str, section: str) -> list[list[str]]:
    table = text.split(f'id="{section}"')[1].split("</table>")[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]


def test_a_denoiser_is_told_by_noise_level(tmp_path: Path) -> None:
    text = page(tmp_path, denoise_summary())
    assert rows(text, "levels") == [
        ["noise level", "PSNR, noisy", "PSNR, denoised", "SSIM", "MSE"],
        ["15", "19.85 dB", "29.85 dB", "0.7500", "0.35"],
        ["25", "19.75 dB", "29.75 dB", "0.6500", "0.25"],
        ["50", "19.50 dB", "29.50 dB", "0.4000", "0"],
    ]
    assert ["PSNR", "29.12 dB"] in rows(text, "results")
    assert not any("/" in row[0] for row in rows(text, "results"))
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {"samples", "levels", "first_batch"}


def test_without_levels_there_is_no_section_of_them(tmp_path: Path) -> None:
    text = page(tmp_path, replace(denoise_summary(), results={"val": {"loss": 0.01, "psnr": 29.1}}))
    assert 'id="levels"' not in text
    assert 'id="samples"' in text


def test_a_codec_is_told_by_rate_and_beside_its_rivals(tmp_path: Path) -> None:
    text = page(tmp_path, compress_summary())
    assert rows(text, "rates") == [
        ["lambda", "Bits per pixel", "Bits per pixel, estimated", "PSNR"],
        ["0.0018", "0.612", "0.610", "31.42 dB"],
        ["0.025", "0.612", "0.610", "31.42 dB"],
    ]
    minus = "\N{MINUS SIGN}"
    assert rows(text, "rate_distortion")[1:] == [
        ["this network against JPEG", f"{minus}20.0 %", f"{minus}20.0 %"],
        ["this network against WebP", "+14.3 %", "+14.3 %"],
        ["WebP against JPEG", f"{minus}30.0 %", f"{minus}30.0 %"],
    ]
    assert ["Files more than 1 % and 64 bytes off their estimate", "25.0 %", "25.0 %"] in rows(text, "results")
    assert "first 16 images" in text
    cards = re.findall(r"<li><span>(.*?)</span><b>(.*?)</b></li>", text)
    assert cards[0] == ("Bits relative to JPEG, by PSNR", f"{minus}20.0 %")
    assert cards[1:3] == [
        ("Bits per pixel, first 16 images", "0.16 to 0.80"),
        ("PSNR, first 16 images", "26.0 to 34.0 dB"),
    ]
    assert [label for label, _ in cards].count("Loss, test") == 1
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {"samples", "rate_distortion", "first_batch"}


def test_a_codec_of_one_bad_rate(tmp_path: Path) -> None:
    point = Curve("this network", np.array([2.0]), {"psnr": np.array([9.0]), "ms_ssim": np.array([np.nan])})
    alone = replace(
        compress_summary(),
        results={"val": {"loss": 1.2, "bpp": 2.0, "psnr": 9.0}},
        comparison=replace(COMPARISON, curves=[point, *COMPARISON.curves[1:]]),
    )
    text = page(tmp_path, alone)
    assert rows(text, "rate_distortion")[1] == ["this network against JPEG", wording.DASH, wording.DASH]
    assert 'id="rates"' not in text
    assert re.findall(r"<li><span>(.*?)</span><b>(.*?)</b></li>", text)[0] == (
        "Bits per pixel, first 16 images",
        "2.00",
    )


@pytest.mark.parametrize(
    ("shape", "lines"), [((321, 481), 2), ((481, 321), 1), ((20, 30), 1), ((1200, 900), 1), ((1, 700), 1)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size_stand_side_by_side(shape: tuple[int, int], lines: int, channels: int) -> None:
    clean = photograph(*shape, channels)
    for sample in (noisy_sample(clean), coded_sample(clean)):
        grid = sample_grid([sample], FACTS)
        assert grid.dtype == np.uint8
        assert grid.shape[1] <= 1650
        assert grid.shape[0] < (620 if lines == 2 else 480)
        assert sample_grid([sample, sample], FACTS).shape[0] > 1.7 * grid.shape[0] - 60
        assert batch_grid([sample] * 5, FACTS).std() > 0


def test_the_detail_is_exact_and_where_the_texture_is() -> None:
    clean = photograph()
    grid = sample_grid([noisy_sample(clean)], FACTS)
    windows = np.lib.stride_tricks.sliding_window_view(clean, (4, 4, 3))[:, :, 0]
    found = []
    for row, column in ((-170, 830), (-120, 1000), (-80, 1100)):  # inside the detail of the last column
        patch = grid[row : row + 12, column : column + 12]
        offsets = [(y, x) for y in range(3) for x in range(3)]
        hits = [np.argwhere((windows == patch[y::3, x::3][:4, :4]).all((2, 3, 4))) for y, x in offsets]
        found += [tuple(hit) for one in hits for hit in one.tolist()]
    assert found
    assert all(top > 321 * 0.6 and left > 481 * 0.5 for top, left in found)


def test_differences_are_amplified_around_grey_and_the_factor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from imagier.training.pictures import restoration

    told: list[str] = []
    mosaic = restoration.mosaic
    monkeypatch.setattr(restoration, "mosaic", lambda rows, headers: told.extend(headers) or mosaic(rows, headers))
    for step, factor in ((1, 16), (20, 4), (100, 1)):
        sample = Sample("flat", FLAT, FLAT, FLAT + np.uint8(step), {"bytes": 5000})
        grid = sample_grid([sample], FACTS)
        expected = np.array([128 + factor * step] * 3)
        assert (grid == expected).all(2).sum() > 10_000
        assert told[-2] == (f"difference, x {factor}" if factor > 1 else "difference")


def test_the_jpeg_has_the_size_of_the_file() -> None:
    clean = photograph(160, 240)
    for quality in (20, 60):
        size = len(JPEG.encode(clean, quality))
        grid = sample_grid([coded_sample(clean, size)], FACTS)
        shown = decode(JPEG.encode(clean, quality), 3)
        windows = np.lib.stride_tricks.sliding_window_view(grid, (20, 20, 3))[:, :, 0]
        assert (windows == shown[60:80, 100:120]).all((2, 3, 4)).sum() == 1


def test_rates_are_drawn_with_and_without_similarity() -> None:
    both = rate_chart(COMPARISON.curves)
    blank = [replace(one, quality=one.quality | {"ms_ssim": np.full(3, np.nan)}) for one in COMPARISON.curves]
    assert rate_chart(blank).shape[1] < 0.6 * both.shape[1]
    assert in_decibels(np.array([0.9, 0.99])) == pytest.approx([10, 20])
    assert np.isfinite(in_decibels(np.array([1.0]))).all()


def test_the_noisy_score_is_a_line_in_the_panel_of_its_score(tmp_path: Path) -> None:
    header = "epoch,step,time,val/loss,val/psnr,val/psnr_noisy\n"
    (tmp_path / "metrics.csv").write_text(header + "0,1,1,0.5,22,20\n1,2,2,0.4,25,20\n")
    (tmp_path / "without.csv").write_text(header.replace(",val/psnr_noisy", "") + "0,1,1,0.5,22\n1,2,2,0.4,25\n")
    one, other = (draw_curves(read_history(tmp_path / name)) for name in ("metrics.csv", "without.csv"))
    assert one is not None
    assert other is not None
    assert one.shape == other.shape
    amber = (217, 119, 6)
    assert (one == amber).all(2).any()
    assert not (other == amber).all(2).any()


@pytest.mark.parametrize(
    ("metric", "number", "text"),
    [
        ("psnr", 31.4159, "31.42 dB"),
        ("psnr/25", 31.4159, "31.42 dB"),
        ("bpp", 0.61234, "0.612"),
        ("ms_ssim/0.0018", 0.98765, "0.9877"),
        ("mismatches", 0.0, "0.0 %"),
        ("estimate_error", 22.18, "22.2 bytes"),
        ("psnr", float("nan"), wording.DASH),
    ],
)
def test_values_have_their_units(metric: str, number: float, text: str) -> None:
    assert wording.value(metric, number) == text


def test_titles_name_the_score_and_its_part() -> None:
    assert wording.title("psnr/25") == "PSNR · 25"
    assert wording.title("iou/road") == "Mean IoU · road"
    assert wording.title("pixel_accuracy") == "Pixel accuracy"
