"""Drawing of figures: one style for charts, one font and pixel density for all images."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DENSITY = 1.6  # image pixels per CSS pixel of the page, so that text stays crisp on high-density screens
INK, FAINT, ACCENT, MUTED, ALARM = "#1f2937", "#6b7280", "#1d4ed8", "#94a3b8", "#c81e1e"

_STYLE: Any = {  # Any: new matplotlib releases type its keys as literals, old ones as str
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text looks the same on every machine
    "font.size": 9,
    "text.parse_math": False,  # a class may be named "$5 note"
    "text.color": INK,
    "axes.edgecolor": "#cbd5e1",
    "axes.labelcolor": FAINT,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#cbd5e1",
    "ytick.color": "#cbd5e1",
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


def draw(width: float, height: float, paint: Callable[[Figure], None]) -> np.ndarray:
    """Let `paint` fill a figure of `width` x `height` inches (100 CSS pixels each); return uint8 [H, W, 3]."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # Characters that the font lacks become boxes in the image; the page's tables show them properly.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), dpi=100 * DENSITY, layout="constrained")
        paint(figure)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def shorten(text: str, length: int) -> str:
    """Cut the middle of `text` to leave at most `length` characters, since file names differ at both ends."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"
