"""Class colours: defaults for data sets that define none, and overlays on images."""

import colorsys

import cv2
import numpy as np

Color = tuple[int, int, int]

# Multiples of these, modulo 1, fill a cube evenly for any count: inverse powers of the positive root of x^4 = x + 1
# (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").
_STEPS = (0.8191725134, 0.6710436067, 0.5497004779)
_PER_PIXEL_OF_EDGE = 500  # pixels of an image's shorter side per pixel of edge, so that it stays visible when shrunk
_FIRST = 4  # the early starting point whose first ten colours are furthest apart


def distinct_colors(count: int) -> tuple[Color, ...]:
    """Return `count` different RGB triples of 0 to 255; the first ones do not depend on `count`."""
    return tuple(_color(index) for index in range(count))


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """Convert grey or RGB, uint8 [H, W], [H, W, 1] or [H, W, 3], to uint8 [H, W, 3]."""
    grey = picture[..., None] if picture.ndim == 2 else picture
    return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey


def blended(image_HWC: np.ndarray, paint_HWC: np.ndarray, labels_HW: np.ndarray, opacity: float) -> np.ndarray:
    """Overlay class colours on an image: blended inside, opaque along edges, so that small objects stand out.

    Args:
        image_HWC: uint8 [H, W, 3].
        paint_HWC: uint8 [H, W, 3], the colour of each pixel's class.
        labels_HW: integers [H, W] of -32768 to 32767; pixels near a different label form an edge, on both sides.
        opacity: 0 leaves the image unchanged, without edges; 1 gives the colours alone.

    Returns:
        uint8 [H, W, 3].
    """
    shown_HWC = np.asarray(cv2.addWeighted(image_HWC, 1 - opacity, paint_HWC, opacity, 0))
    if opacity:
        width = 1 + 2 * max(1, round(min(labels_HW.shape) / _PER_PIXEL_OF_EDGE))
        window = np.ones((width, width), np.uint8)
        edges_HW = cv2.morphologyEx(labels_HW.astype(np.int16), cv2.MORPH_GRADIENT, window) != 0
        shown_HWC[edges_HW] = paint_HWC[edges_HW]
    return shown_HWC


def _color(index: int) -> Color:
    hue, saturation, value = ((index + _FIRST) * step % 1 for step in _STEPS)
    # Neither so pale nor so dark that a line or text would vanish on a white or black background.
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.45 + 0.55 * saturation, 0.55 + 0.4 * value)
    return round(255 * red), round(255 * green), round(255 * blue)
