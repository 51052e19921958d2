"""The Bjøntegaard delta rate: how much larger one codec's files are than another's at the same quality."""

import numpy as np
from scipy.interpolate import PchipInterpolator


def bd_rate(anchor_rate: np.ndarray, anchor_quality: np.ndarray, rate: np.ndarray, quality: np.ndarray) -> float:
    """Return the mean relative difference in rate from the anchor over the qualities that both codecs reach.

    Logarithms of the rates are interpolated over quality by monotone cubic pieces (PCHIP), as in the spreadsheets of
    JCT-VC and JVET (Bjøntegaard, VCEG-M33 and VCEG-AI11), and averaged. A codec with a single rate is compared at its
    one quality.

    Args:
        anchor_rate: float [N], above 0, in any unit, such as bits per pixel.
        anchor_quality: float [N], such as PSNR in dB; points that are not finite are left out.
        rate: float [M], above 0, in the anchor's unit.
        quality: float [M], the same measure as the anchor's; points that are not finite are left out.

    Returns:
        -0.3 for files 30 % smaller than the anchor's; NaN if the ranges of quality do not overlap, or the anchor has
        fewer than two points.
    """
    anchor, other = _frontier(anchor_rate, anchor_quality), _frontier(rate, quality)
    if len(anchor[0]) < 2 or not len(other[0]):
        return float("nan")
    low, high = max(anchor[0][0], other[0][0]), min(anchor[0][-1], other[0][-1])
    if low > high:
        return float("nan")
    if low == high:
        return float(np.exp(_at(*other, low) - _at(*anchor, low)) - 1)
    gained = _integral(*other, low, high) - _integral(*anchor, low, high)
    return float(np.exp(gained / (high - low)) - 1)


def _frontier(rate: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ascending qualities and the logarithms of their rates, without points that cost more and are no better."""
    points = sorted((cost, -value) for cost, value in zip(rate, quality, strict=True) if np.isfinite(value))
    qualities: list[float] = []
    rates: list[float] = []
    for cost, negative in points:
        if not qualities or -negative > qualities[-1]:
            qualities.append(-negative)
            rates.append(cost)
    return np.array(qualities), np.log(rates)


def _at(quality: np.ndarray, log_rate: np.ndarray, place: float) -> float:
    return float(PchipInterpolator(quality, log_rate)(place)) if len(quality) > 1 else float(log_rate[0])


def _integral(quality: np.ndarray, log_rate: np.ndarray, low: float, high: float) -> float:
    return float(PchipInterpolator(quality, log_rate).integrate(low, high))
