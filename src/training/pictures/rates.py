"""Rate-distortion curves: quality of the decoded images over bits per pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from imagier.training.pictures import wording
from imagier.training.pictures.canvas import ACCENT, draw

RIVAL_COLORS = ("#64748b", "#0d9488", "#d97706", "#9333ea")
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Curve:
    """The points of one codec, means over the same images.

    name:    name of the codec.
    bpp:     float64 [N], bits per pixel of real files, ascending.
    quality: "psnr" in dB and "ms_ssim" -> float64 [N], of the decoded images; NaN where undefined.
    """

    name: str
    bpp: np.ndarray
    quality: Mapping[str, np.ndarray]

    def decibels(self, name: str) -> np.ndarray:
        """Return a quality in decibels, in which it is drawn and compared, float64 [N]."""
        return in_decibels(self.quality[name]) if name == "ms_ssim" else self.quality[name]


@dataclass(frozen=True)
class Comparison:
    """The curves of a network, first, and of its rivals, all over the same images, `pictures` in number."""

    pictures: int
    curves: Sequence[Curve]


def rate_chart(curves: Sequence[Curve]) -> np.ndarray:
    """Draw quality over bits per pixel, the first curve emphasised; uint8 [H, W, 3].

    The axis of bits is logarithmic, so that a horizontal distance is a ratio of sizes; MS-SSIM is drawn in decibels,
    -10 log10(1 - MS-SSIM), since it differs only in the last digits.
    """
    panels = [name for name in ("psnr", "ms_ssim") if any(np.isfinite(curve.quality[name]).any() for curve in curves)]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, name in zip(axes, panels, strict=True):
            _paint_panel(axis, curves, name)
        axes[0].legend(fontsize=8.5)

    return draw(3.85 * len(panels), 3.3, paint)


def in_decibels(ms_ssim: np.ndarray) -> np.ndarray:
    """Return -10 log10(1 - x), at most 100: 0.9 -> 10, 0.99 -> 20."""
    return -10 * np.log10(np.maximum(1 - ms_ssim, 1e-10))


def _paint_panel(axis: Axes, curves: Sequence[Curve], name: str) -> None:
    for number, curve in enumerate(curves):
        color = RIVAL_COLORS[(number - 1) % len(RIVAL_COLORS)] if number else ACCENT
        axis.plot(
            curve.bpp, curve.decibels(name), "o-", color=color, label=curve.name, linewidth=1.3 if number else 2.2,
            markersize=3 if number else 6, zorder=3 if number else 4,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(_TICKS))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axis.set_title(f"{wording.title(name)} (dB)")
    axis.set_xlabel("bits per pixel")
    axis.grid(axis="both")
