"""A plane of leaves at about the same distance, painted all at once from the leaf index at each pixel."""

import cv2
import numpy as np

from imagier.synthetic.leaf_outlines import outlines, radii, unit_vectors
from imagier.synthetic.leaf_surfaces import Palette, luma
from imagier.synthetic.noise import smooth_noise

MOST = 4000  # leaves per plane; more would be hidden or too small to see
MAP = 64  # side of the maps of properties over the image


class Plane:
    """Overlapping leaves, the later ones in front.

    Args:
        rng: random generator.
        size: (height, width) in pixels.
        layers: total area of the leaves drawn, in multiples of the plane's area.
        smallest, largest: range of radii in pixels.
        backdrop: whether leaf 0 fills the plane; otherwise there are gaps.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: tuple[int, int],
        layers: float,
        smallest: float,
        largest: float,
        *,
        backdrop: bool,
    ) -> None:
        self.rng, self.size = rng, size
        radius = radii(rng, MOST, smallest, largest)
        count = int(np.searchsorted(np.cumsum(3.14 * radius * radius), layers * size[0] * size[1])) + 1
        radius = radius[:count]
        center = rng.uniform(-0.1, 1.1, (len(radius), 2)) * (size[1], size[0])
        radius[0], center[0] = max(size), (size[1] / 2, size[0] / 2)
        kept = self._crowded(radius, center)
        self.radius, self.center = radius[kept], center[kept]
        self.count = len(self.radius)
        self.label = np.full(size, 0 if backdrop else -1, np.int32)
        points = outlines(rng, self.count) * self.radius[:, None, None] + self.center[:, None]
        for number, leaf in enumerate(np.rint(points[1:] * 16).astype(np.int32), 1):
            cv2.fillPoly(self.label, [leaf], number, shift=4)

    def cover(self) -> np.ndarray:
        """Return where there is a leaf: float32 [H, W, 1], 0 or 1."""
        return (self.label >= 0)[..., None].astype(np.float32)

    def painted(self, palette: Palette, sheets: np.ndarray) -> np.ndarray:
        """Return the colour of each pixel: float32 [H, W, 3], about 0 to 1."""
        tints = len(palette.tints)
        near = self._map(self.rng.uniform(10, 60), self.center) + self.rng.uniform(-0.3, 0.3, self.count)
        color = palette.colors(self.rng, np.clip(near * tints, 0, tints - 1).astype(np.intp))
        other = luma(color)[:, None] * palette.tints[self.rng.integers(tints, size=self.count)]
        contrast = 0.5 * self.rng.random((self.count, 1)) ** 2
        ink = contrast * np.where(self.rng.random((self.count, 1)) < 0.7, color, other)
        texture, shade = self._textured(sheets), self._shaded()
        return np.stack([(self._each(color[:, c]) + self._each(ink[:, c]) * texture) * shade for c in range(3)], -1)

    def _crowded(self, radius: np.ndarray, center: np.ndarray) -> np.ndarray:
        """Select the leaves to keep, bool [N]: small ones only in some places, so that others stay smooth like sky."""
        crowd = self._map(self.rng.uniform(10, 40), center)
        small = radius < max(self.size) * self.rng.uniform(0, 0.1)
        return ~small | (crowd > self.rng.uniform(0.3, 0.8))

    def _map(self, cell: float, center: np.ndarray) -> np.ndarray:
        """Return a number in [0, 1] for each leaf, similar for neighbours: float32 [N]."""
        values = smooth_noise(self.rng, (MAP, MAP), cell)
        column, row = (np.clip(center / (self.size[1], self.size[0]), 0, 0.999) * MAP).astype(np.intp).T
        return values[row, column]

    def _each(self, values: np.ndarray) -> np.ndarray:
        """Return the value of each pixel's leaf: float32 [H, W]."""
        return np.take(values.astype(np.float32), self.label, mode="wrap")

    def _textured(self, sheets: np.ndarray) -> np.ndarray:
        """Fill each leaf with a part of a random sheet, rotated and scaled: float32 [H, W]."""
        side = sheets.shape[1]
        turn = unit_vectors(self.rng, self.count) * self.rng.uniform(0.4, 1.4, (self.count, 1))
        across, down = self.rng.uniform(0, side, (2, self.count))
        a, b = self._each(turn[:, 0]), self._each(turn[:, 1])
        y, x = self._pixels()
        u, v = (x * a - y * b + self._each(across)), (x * b + y * a + self._each(down))
        which = np.take(self.rng.integers(len(sheets), size=self.count), self.label, mode="wrap")
        return sheets[which, _mirrored(v, side), _mirrored(u, side)]

    def _shaded(self) -> np.ndarray:
        """Return the light on leaves, from one side and weaker towards the rim of bulging ones: float32 [H, W]."""
        lean = unit_vectors(self.rng, self.count) * self.rng.uniform(0, 0.4, (self.count, 1))
        y, x = self._pixels()
        scale = self._each(1 / self.radius)
        x, y = (x - self._each(self.center[:, 0])) * scale, (y - self._each(self.center[:, 1])) * scale
        bulge = self._each(self.rng.uniform(-0.1, 0.4, self.count))
        shade = 1 + self._each(lean[:, 0]) * x + self._each(lean[:, 1]) * y - bulge * (x * x + y * y)
        return np.clip(shade, 0.3, 1.6)

    def _pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel coordinates (y, x): float32 [H, 1] and [W]."""
        y, x = (np.arange(side, dtype=np.float32) for side in self.size)
        return y[:, None], x


def _mirrored(place: np.ndarray, side: int) -> np.ndarray:
    """Map coordinates onto a sheet that is repeated by mirroring at its edges: int32 [H, W]."""
    whole = np.floor(place).astype(np.int32) % (2 * side)
    return np.where(whole < side, whole, 2 * side - 1 - whole)
