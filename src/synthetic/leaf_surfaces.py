"""Surfaces of leaves: texture sheets, and palettes with the colours of photographs."""

from dataclasses import dataclass

import cv2
import numpy as np

from imagier.synthetic.leaf_outlines import outlines, radii
from imagier.synthetic.noise import smooth_noise, wave

SHEET = 256  # side of a texture sheet in pixels
LUMA = np.array([0.299, 0.587, 0.114])


def sheet(rng: np.random.Generator) -> np.ndarray:
    """Draw a random texture: float32 [SHEET, SHEET] with mean 0 and standard deviation 1."""
    texture = TEXTURES[rng.choice(len(TEXTURES), p=SHARES)](rng)
    texture -= texture.mean(dtype=np.float64)
    return (texture / (texture.std(dtype=np.float64) + 1e-6)).astype(np.float32)


def _log_uniform(rng: np.random.Generator, low: float, octaves: int) -> float:
    """Draw from `low` to `low` x 2^octaves, each octave equally likely."""
    return float(low * 2 ** int(rng.integers(octaves)) * rng.uniform(1, 2))


def _rough(rng: np.random.Generator, down: float, across: float) -> np.ndarray:
    """Sum noise of all scales below (down, across); a gain of 0.5 per octave gives clouds, 1 equal roughness."""
    total, weight = np.zeros((SHEET, SHEET), np.float32), 1.0
    gain = rng.uniform(0.5, 1.05)
    while max(down, across) >= 1:
        total += np.float32(weight) * (smooth_noise(rng, total.shape, (down, across)) - np.float32(0.5))
        down, across, weight = down / 2, across / 2, weight * gain
    return total


def _clouds(rng: np.random.Generator) -> np.ndarray:
    """Stone, plaster, sand, cloth, clouds; sometimes folded into ridges or cut into patches."""
    cell = _log_uniform(rng, 2, 6)
    noise = _rough(rng, cell, cell)
    form = rng.random()
    if form < 0.2:
        return np.abs(noise)
    if form < 0.4:
        return np.clip((noise - rng.uniform(-0.15, 0.15)) * rng.uniform(4, 20), -1, 1)
    return noise


def _streaks(rng: np.random.Generator) -> np.ndarray:
    """Hair, grass, bark, water: noise drawn out in one direction."""
    across = _log_uniform(rng, 1.5, 4)
    return _rough(rng, across * rng.uniform(3, 16), across)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    """Gratings and grids, slightly bent, with soft to sharp edges."""
    bend = np.float32(rng.uniform(0, 12)) * smooth_noise(rng, (SHEET, SHEET), rng.uniform(30, 90))
    rows, columns = np.mgrid[:SHEET, :SHEET].astype(np.float32)
    period = _log_uniform(rng, 4, 3)
    stripes = wave((columns + bend) / np.float32(period))
    if rng.random() < 0.4:
        stripes = stripes * wave((rows + bend) / np.float32(period * rng.uniform(0.5, 2)))
    sharp = rng.uniform(1, 6)
    noise = smooth_noise(rng, (SHEET, SHEET), 3)
    return np.clip((stripes - 0.5) * sharp, -1, 1) + np.float32(rng.uniform(0, 0.6)) * noise


def _litter(rng: np.random.Generator) -> np.ndarray:
    """Foliage, gravel, crowds: small overlapping leaves."""
    smallest = _log_uniform(rng, 1, 2)
    count = min(int(SHEET * SHEET / (6 * smallest * smallest)), 4000)
    size = radii(rng, count, smallest, 10 * smallest)
    points = outlines(rng, count) * size[:, None, None] + rng.uniform(0, SHEET, (count, 1, 2))
    texture = np.full((SHEET, SHEET), 0.5, np.float32)
    for leaf, tone in zip(np.rint(points * 16).astype(np.int32), rng.random(count).tolist(), strict=True):
        cv2.fillPoly(texture, [leaf], tone, shift=4)
    return texture + np.float32(0.5) * smooth_noise(rng, (SHEET, SHEET), _log_uniform(rng, 2, 3))


TEXTURES = (_clouds, _streaks, _stripes, _litter)
SHARES = (0.45, 0.2, 0.1, 0.25)


@dataclass
class Palette:
    """Colours of one image: a few tints, each given as RGB gains at luma 1, and their brightness."""

    tints: np.ndarray  # float64 [tints, 3]
    lumas: np.ndarray  # float64 [tints]
    spread: float  # standard deviation of luma among leaves of one tint
    stray: float  # relative standard deviation of their gains

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Palette":
        """Draw a palette: mostly muted, more often warm than cool, varying more in blue-yellow than in red-green."""
        count = int(rng.integers(2, 6))
        saturation = rng.uniform(0.4, 1.6)
        warm = saturation * (rng.uniform(-0.1, 0.3) + 0.22 * rng.standard_normal(count))
        red = 0.3 * warm + saturation * 0.07 * rng.standard_normal(count)
        gains = np.stack([0.4 * warm + red, -0.6 * red, -1.2 * warm], 1)
        tints = np.clip(1 + gains, 0.15, 2.5)
        exposure, contrast = rng.uniform(0.3, 0.56), rng.uniform(0.15, 0.4)
        lumas = rng.standard_normal(count)
        lumas = exposure + contrast * (lumas - lumas.mean())
        return cls(tints / luma(tints)[:, None], lumas, rng.uniform(0.05, 0.2), rng.uniform(0.01, 0.06))

    def colors(self, rng: np.random.Generator, choice: np.ndarray) -> np.ndarray:
        """Draw a colour for each leaf, of tint `choice`, int [N]: float64 [N, 3], about 0 to 1."""
        count = len(choice)
        bright = np.clip(self.lumas[choice] + self.spread * rng.standard_normal(count), 0.04, 1.0)
        gains = self.tints[choice] * (1 + self.stray * rng.standard_normal((count, 3)))
        return gains * bright[:, None]


def luma(color: np.ndarray) -> np.ndarray:
    """Return the luma (ITU-R 601-2) of RGB in the last axis."""
    return color[..., 0] * LUMA[0] + color[..., 1] * LUMA[1] + color[..., 2] * LUMA[2]
