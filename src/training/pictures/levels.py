"""Chart of scores over the noise level."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from imagier.training.pictures import wording
from imagier.training.pictures.canvas import ACCENT, MUTED, draw


def level_chart(levels: np.ndarray, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draw PSNR (with that of the noisy images, if given) and SSIM over the noise level.

    Args:
        levels: float [N], standard deviations on the scale 0 to 255, ascending.
        scores: "psnr", optionally "psnr_noisy", both in dB, and "ssim" -> float [N].

    Returns:
        uint8 [H, W, 3].
    """
    panels = [name for name in ("psnr", "ssim") if name in scores]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, name in zip(axes, panels, strict=True):
            axis.plot(levels, scores[name], "o-", color=ACCENT, linewidth=2, label="denoised", zorder=3)
            if f"{name}_noisy" in scores:
                axis.plot(levels, scores[f"{name}_noisy"], "o--", color=MUTED, label="noisy")
                axis.legend(fontsize=8.5)
            axis.set_title(f"{wording.title(name)} (dB)" if name == "psnr" else wording.title(name))
            axis.set_xlabel("noise level")
            axis.set_xticks(levels, [f"{level:g}" for level in levels])
            axis.margins(0.08, 0.14)
            axis.grid(axis="y")

    return draw(3.1 * len(panels), 2.7, paint)
