"""The canvas on which garments are drawn: outlines, seams, patterns, folds."""

from collections.abc import Sequence

import cv2
import numpy as np

from imagier.synthetic.noise import smooth_noise, wave

SIZE, SUPERSAMPLING = 28, 4
Points = Sequence[tuple[float, float]] | np.ndarray


class Cloth:
    """A garment being drawn: x from -1 (left) to 1, y from -1 (top) to 1, tone from 0 to 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tone = np.zeros((SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING), np.float32)
        self.base = rng.uniform(0.25, 0.95)
        turn, lean = rng.uniform(-0.12, 0.12) * (rng.random() < 0.5), rng.uniform(-0.05, 0.05)
        width, height = rng.uniform(0.8, 1.02), rng.uniform(0.82, 1.0)
        self.turn = np.array([[width, height * (lean - turn)], [width * turn, height]]) / np.sqrt(1 + turn * turn)
        self.shift = rng.uniform(-0.08, 0.08, 2)

    def fill(self, points: Points, factor: float = 1.0, smooth: int = 1) -> None:
        """Fill a polygon with the garment's tone times `factor`, its corners cut `smooth` times."""
        cv2.fillPoly(self.tone, [self._pixels(points, smooth)], min(self.base * factor, 1.0), shift=4)

    def clear(self, points: Points, smooth: int = 1) -> None:
        """Cut a hole."""
        cv2.fillPoly(self.tone, [self._pixels(points, smooth)], 0.0, shift=4)

    def both(self, points: Points, factor: float = 1.0, smooth: int = 1) -> None:
        """Fill a polygon and its mirror image."""
        self.fill(points, factor, smooth)
        self.fill([(-x, y) for x, y in points], factor, smooth)

    def seam(self, points: Points, factor: float, thickness: int = 4) -> None:
        """Draw a line through points; a `thickness` of 4 is one pixel of the finished image."""
        line = self._pixels(points, 0)
        cv2.polylines(self.tone, [line], False, min(self.base * factor, 1.0), thickness, shift=4)

    def strap(self, points: Points, factor: float, thickness: int) -> None:
        """Draw a curve from the first point to the last, bent towards the middle one (a quadratic Bezier curve)."""
        start, bend, end = np.array(points)
        part = np.linspace(0, 1, 9)[:, None]
        self.seam((1 - part) ** 2 * start + 2 * part * (1 - part) * bend + part**2 * end, factor, thickness)

    def develop(self) -> np.ndarray:
        """Apply folds and a pattern, average down, add sensor noise, and return uint8 [28, 28]."""
        rng, size = self.rng, self.tone.shape[0]
        worn = self.tone > 0
        folds = 1 + rng.uniform(0.1, 0.45) * (smooth_noise(rng, (size, size), (size / 2, size / 5)) - 0.5)
        rows, columns = np.mgrid[:size, :size]
        pattern = rng.random()
        period, strength = rng.uniform(8, 24), rng.uniform(0.15, 0.6)
        if pattern < 0.12:
            folds *= 1 - strength * wave(rows / period)
        elif pattern < 0.2:
            folds *= 1 - strength * wave(columns / period)
        elif pattern < 0.28:
            folds *= 1 - strength * wave(columns / period) * wave(rows / period)
        elif pattern < 0.4:
            folds *= 1 - strength * (smooth_noise(rng, (size, size), period / 2) > 0.6)
        tone = np.where(worn, np.clip(self.tone * folds, 0.06, 1), 0).astype(np.float32)
        small = tone.reshape(SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING).mean((1, 3))
        noise = rng.standard_normal(small.shape, dtype=np.float32) * rng.uniform(0.01, 0.05) * (small > 0.02)
        return np.rint(np.clip(small + noise, 0, 1) * 255).astype(np.uint8)

    def _pixels(self, points: Points, smooth: int) -> np.ndarray:
        corners = np.array(points, np.float64)
        for _ in range(smooth):
            after = np.roll(corners, -1, 0)
            corners = np.stack([0.75 * corners + 0.25 * after, 0.25 * corners + 0.75 * after], 1).reshape(-1, 2)
        x = corners[:, 0] * self.turn[0, 0] + corners[:, 1] * self.turn[0, 1] + self.shift[0]
        y = corners[:, 0] * self.turn[1, 0] + corners[:, 1] * self.turn[1, 1] + self.shift[1]
        half = SIZE * SUPERSAMPLING / 2
        return np.rint((np.stack([x, y], 1) + 1) * half * 16).astype(np.int32)
