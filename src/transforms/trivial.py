"""TrivialAugment (Müller and Hutter 2021, arXiv 2103.10158) for small images, several times faster than by a library.

Each image gets one of fourteen changes, all equally likely, at a uniformly drawn strength up to those of RandAugment
(Cubuk et al. 2019, arXiv 1909.13719). Brightness, contrast, saturation and sharpness are as in Pillow's `ImageEnhance`:
a blend with black, mean grey, greyscale and the smoothed image, or away from it for factors above 1.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from imagier.transforms.base import Transform

Change = Callable[[np.ndarray, float], np.ndarray]  # takes an image, uint8 [H, W, C], and a strength in [-1, 1)

_SHEAR, _SHIFT, _DEGREES, _FACTOR = 0.3, 0.3, 30.0, 0.9  # maxima; shifts as a fraction of the side
_LEVELS = np.arange(256, dtype=np.float64)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13


class TrivialAugment(Transform):
    """Shear, shift, rotate, brighten, sharpen, ... or leave unchanged. Masks follow the changes that move pixels."""

    draws = 2

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Return the changed pixels: the first number selects the change, the second its strength."""
        which, strength = int(numbers[0] * (len(_MOVES) + len(_CHANGES))), 2 * numbers[1] - 1
        if which < len(_MOVES):
            return _moved(pixels, *_MOVES[which](strength), fill)
        return pixels if pixels.ndim == 2 else _CHANGES[which - len(_MOVES)](pixels, strength)


def _moved(pixels: np.ndarray, linear: np.ndarray, shift: Sequence[float], fill: int) -> np.ndarray:
    """Move the pixel at x, relative to the centre, to linear x + shift (in sides); masks use nearest neighbour."""
    height, width = pixels.shape[:2]
    sides = np.array([width, height])
    centre = (sides - 1) / 2
    matrix = np.column_stack([linear, centre - linear @ centre + sides * shift])
    how = cv2.INTER_NEAREST if pixels.ndim == 2 else cv2.INTER_LINEAR
    return cv2.warpAffine(pixels, matrix, (width, height), flags=how, borderValue=(fill,) * 4).reshape(pixels.shape)


def _turn(strength: float) -> tuple[np.ndarray, Sequence[float]]:
    angle = math.radians(_DEGREES * strength)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]), (0, 0)


_MOVES: tuple[Callable[[float], tuple[np.ndarray, Sequence[float]]], ...] = (
    lambda strength: (np.array([[1, _SHEAR * strength], [0, 1]]), (0, 0)),
    lambda strength: (np.array([[1, 0], [_SHEAR * strength, 1]]), (0, 0)),
    lambda strength: (np.eye(2), (_SHIFT * strength, 0)),
    lambda strength: (np.eye(2), (0, _SHIFT * strength)),
    _turn,
)


def _mapped(pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Map values through a lookup table, float [256], or [256, C] with one table per channel."""
    table = np.clip(levels + 0.5, 0, 255).astype(np.uint8)
    return cv2.LUT(pixels, table if table.ndim == 1 else table[:, None]).reshape(pixels.shape)


def _blended(pixels: np.ndarray, other: np.ndarray, strength: float) -> np.ndarray:
    factor = 1 + _FACTOR * strength
    return cv2.addWeighted(pixels, factor, other.reshape(pixels.shape), 1 - factor, 0).reshape(pixels.shape)


def _grey(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.shape[2] == 3 else pixels[..., 0]


def _brighten(pixels: np.ndarray, strength: float) -> np.ndarray:
    return _mapped(pixels, _LEVELS * (1 + _FACTOR * strength))


def _contrast(pixels: np.ndarray, strength: float) -> np.ndarray:
    mean = round(cv2.mean(_grey(pixels))[0])
    return _mapped(pixels, mean + (_LEVELS - mean) * (1 + _FACTOR * strength))


def _saturate(pixels: np.ndarray, strength: float) -> np.ndarray:
    return _blended(pixels, cv2.merge([_grey(pixels)] * pixels.shape[2]), strength)


def _sharpen(pixels: np.ndarray, strength: float) -> np.ndarray:
    return _blended(pixels, cv2.filter2D(pixels, -1, _SMOOTH, borderType=cv2.BORDER_REPLICATE), strength)


def _posterize(pixels: np.ndarray, strength: float) -> np.ndarray:
    return pixels & np.uint8(256 - (1 << round(4 * abs(strength))))  # keeps four bits or more


def _solarize(pixels: np.ndarray, strength: float) -> np.ndarray:
    return _mapped(pixels, np.where(256 * abs(strength) > _LEVELS, _LEVELS, 255 - _LEVELS))


def _stretch(pixels: np.ndarray, strength: float) -> np.ndarray:
    """Stretch each channel's values to the range 0 to 255 (autocontrast)."""
    low, high = pixels.min((0, 1)).astype(np.float64), pixels.max((0, 1)).astype(np.float64)
    scale = 255 / np.where(high > low, high - low, 255)
    return _mapped(pixels, (_LEVELS[:, None] - np.where(high > low, low, 0)) * scale)


def _equalize(pixels: np.ndarray, strength: float) -> np.ndarray:
    """Equalise each channel's histogram."""
    return cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(pixels)]).reshape(pixels.shape)


_CHANGES: tuple[Change, ...] = (
    lambda pixels, strength: pixels,
    _brighten,
    _contrast,
    _saturate,
    _sharpen,
    _posterize,
    _solarize,
    _stretch,
    _equalize,
)
