"""Images restored by a network beside the originals: denoised, or decoded from files; with an enlarged detail."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagier.datamodules.palette import as_rgb
from imagier.training.image_formats import JPEG, best_within, decode, psnr
from imagier.training.pictures.mosaic import Row, Tile, fit, mosaic
from imagier.training.pictures.sample import Sample

_BOX = (300, 396)  # largest height and width of an image: four per row fill the page
_DETAIL, _ZOOM = 150, 3  # an enlarged detail's height under an image, least width beside one, and its enlargement
_GAP = 6  # between an image and its detail


def denoised_grid(samples: Sequence[Sample]) -> np.ndarray:
    """Draw a row per sample: noisy, denoised and clean, with the PSNR before and after; uint8 [H, W, 3]."""
    return mosaic([_denoised_row(sample) for sample in samples], ("noisy", "denoised", "clean"))


def coded_grid(samples: Sequence[Sample]) -> np.ndarray:
    """Draw a row per sample: original, decoded, their difference, and a JPEG of the same size; uint8 [H, W, 3].

    The JPEG is the best one no larger than the network's file, or the smallest if none is. One factor, given in the
    header, amplifies the differences of all samples; grey means no difference.
    """
    factor = _amplification(samples)
    rows = [_coded_row(sample, factor) for sample in samples]
    amplified = f"difference, x {factor}" if factor > 1 else "difference"
    return mosaic(rows, ("original", "decoded", amplified, "JPEG of this size"))


def _denoised_row(sample: Sample) -> Row:
    noisy, denoised, clean = sample.image, np.asarray(sample.prediction), np.asarray(sample.target)
    window = _telling_window(clean)
    before, after = psnr(noisy, clean), psnr(denoised, clean)
    gain = f"{after - before:+.2f} dB".replace("-", "\N{MINUS SIGN}")
    tiles = [
        Tile(_with_detail(noisy, window), (f"PSNR {before:.2f} dB", f"sigma {sample.figures['sigma']:.1f}")),
        Tile(_with_detail(denoised, window), (f"PSNR {after:.2f} dB", gain)),
        Tile(_with_detail(clean, window, framed=True)),
    ]
    return Row(tiles, title=sample.id)


def _coded_row(sample: Sample, factor: int) -> Row:
    original, decoded, size = np.asarray(sample.target), np.asarray(sample.prediction), int(sample.figures["bytes"])
    data, quality = best_within(JPEG, original, size)
    jpeg = decode(data, original.shape[2])
    window = _telling_window(original)
    difference = np.clip(128 + factor * (decoded.astype(np.int32) - original), 0, 255).astype(np.uint8)
    tiles = [
        Tile(_with_detail(original, window, framed=True), (f"{original.size:,} bytes",)),
        Tile(_with_detail(decoded, window), _priced(size, decoded, original)),
        Tile(_with_detail(difference, window)),
        Tile(
            _with_detail(jpeg, window),
            (*_priced(len(data), jpeg, original), f"quality {quality}" if len(data) <= size else "no smaller JPEG"),
        ),
    ]
    return Row(tiles, title=sample.id)


def _priced(size: int, made_HWC: np.ndarray, original_HWC: np.ndarray) -> tuple[str, str]:
    rate = 8 * size / (original_HWC.shape[0] * original_HWC.shape[1])
    return f"{size:,} bytes, {rate:.3f} bpp", f"PSNR {psnr(made_HWC, original_HWC):.2f} dB"


def _amplification(samples: Sequence[Sample]) -> int:
    """Return the largest power of two, up to 16, that keeps 98 % of the differences within a byte's range."""
    differences = [np.abs(np.asarray(one.prediction).astype(np.int32) - one.target).ravel() for one in samples]
    common = float(np.percentile(np.concatenate(differences), 98))
    return next((factor for factor in (16, 8, 4, 2) if factor * common <= 127), 1)


@dataclass(frozen=True)
class _Window:
    """A region of an image, in its pixels, and whether it is shown beside the image or below it."""

    top: int
    left: int
    height: int
    width: int
    beside: bool


def _telling_window(truth_HWC: np.ndarray) -> _Window | None:
    """Return the region with the most edges and texture; None if the image is so small that all of it is enlarged."""
    height, width = truth_HWC.shape[:2]
    tall, wide = fit(truth_HWC, *_BOX).shape[:2]
    if tall >= 2 * height:
        return None
    free = _BOX[1] - wide - _GAP
    beside = free >= _DETAIL
    rows = min(height, (tall if beside else _DETAIL) // _ZOOM)
    columns = min(width, (free if beside else wide) // _ZOOM)
    grey_HW = np.pad(truth_HWC.mean(2), ((0, 1), (0, 1)), "edge")
    slope_HW = np.abs(np.diff(grey_HW, axis=0)[:, :-1]) + np.abs(np.diff(grey_HW, axis=1)[:-1])
    sums = np.pad(np.minimum(slope_HW, 80).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return _Window(int(top), int(left), rows, columns, beside)


def _with_detail(picture: np.ndarray, window: _Window | None, *, framed: bool = False) -> np.ndarray:
    """Return the image with the enlarged window, uint8 [H, W, 3]; `framed` outlines the window in the image."""
    shown = as_rgb(fit(picture, *_BOX))
    if window is None:
        return shown
    if framed:
        shown = _framed(shown, window, picture.shape[:2])
    part = as_rgb(picture)[window.top : window.top + window.height, window.left : window.left + window.width]
    detail = part.repeat(_ZOOM, 0).repeat(_ZOOM, 1)
    (tall, wide), (high, broad) = shown.shape[:2], detail.shape[:2]
    place = (0, wide + _GAP) if window.beside else (tall + _GAP, 0)
    sheet = np.full((max(tall, place[0] + high), max(wide, place[1] + broad), 3), 255, np.uint8)
    sheet[:tall, :wide] = shown
    sheet[place[0] : place[0] + high, place[1] : place[1] + broad] = detail
    return sheet


def _framed(shown: np.ndarray, window: _Window, size: tuple[int, ...]) -> np.ndarray:
    """Outline the window, given in pixels of the original of height and width `size`, in the resized image."""
    framed = shown.copy()
    down, across = (there / here for there, here in zip(shown.shape, size, strict=False))
    top, left = round(window.top * down), round(window.left * across)
    bottom, right = round((window.top + window.height) * down), round((window.left + window.width) * across)
    for inset, level in ((0, 0), (1, 255)):  # a dark and a light line, visible on any background
        part = framed[top + inset : bottom - inset, left + inset : right - inset]
        for edge in (part[:1], part[-1:], part[:, :1], part[:, -1:]):
            edge[...] = level
    return framed
