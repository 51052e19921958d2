"""A small perspective renderer: flat cut-outs stand in a world, and a camera sees them with their labels.

World coordinates are in metres: X to the right, Y up from the ground, Z ahead of the camera. Images are float32
[H, W, 3] in [0, 1], labels uint8 [H, W].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from imagier.synthetic.noise import smooth_noise

CLEAR = 255  # the label of a cut-out's transparent pixels
Color = tuple[float, float, float]
Point = tuple[float, float]
Vector = tuple[float, float, float]


class Cutout:
    """A flat image with a label for every pixel, drawn in fractions of its width and height (y down)."""

    def __init__(self, height: int, width: int, color: Color = (0, 0, 0), label: int = CLEAR) -> None:
        self.picture = np.empty((height, width, 3), np.float32)
        self.picture[:] = color
        self.label = np.full((height, width), label, np.uint8)

    def polygon(self, points: Sequence[Point], color: Color, label: int) -> "Cutout":
        """Fill the polygon with these corners."""
        corners = [self._pixels(points)]
        cv2.fillPoly(self.picture, corners, color)
        cv2.fillPoly(self.label, corners, label)
        return self

    def box(self, left: float, top: float, right: float, bottom: float, color: Color, label: int) -> "Cutout":
        """Fill an upright rectangle."""
        height, width = self.label.shape
        rows = slice(round(top * height), max(round(bottom * height), round(top * height) + 1))
        columns = slice(round(left * width), max(round(right * width), round(left * width) + 1))
        self.picture[rows, columns] = color
        self.label[rows, columns] = label
        return self

    def disc(self, x: float, y: float, radius_x: float, radius_y: float, color: Color, label: int) -> "Cutout":
        """Fill an ellipse; the radii are fractions of width and height."""
        height, width = self.label.shape
        rows, columns = np.ogrid[:height, :width]
        across, down = ((columns + 0.5) / width - x) / radius_x, ((rows + 0.5) / height - y) / radius_y
        inside = across * across + down * down <= 1
        self.picture[inside] = color
        self.label[inside] = label
        return self

    def line(self, points: Sequence[Point], thickness: int, color: Color, label: int) -> "Cutout":
        """Join points with strokes `thickness` pixels wide."""
        corners = [self._pixels(points)]
        cv2.polylines(self.picture, corners, False, color, thickness)
        cv2.polylines(self.label, corners, False, label, thickness)
        return self

    def grain(self, rng: np.random.Generator, strength: float, cell: float) -> "Cutout":
        """Multiply by smooth noise from 1 - `strength` to 1 + `strength`."""
        noise = smooth_noise(rng, (self.label.shape[0], self.label.shape[1]), cell)
        self.picture *= 1 + strength * (2 * noise[..., None] - 1)
        return self

    def _pixels(self, points: Sequence[Point]) -> np.ndarray:
        height, width = self.label.shape
        return np.array([(round(x * (width - 1)), round(y * (height - 1))) for x, y in points], np.int32)


@dataclass(frozen=True)
class Light:
    """Time of day and weather.

    gain:     colour of the light, multiplied into everything it falls on: float32 [3].
    zenith:   colour of the sky overhead: float32 [3].
    horizon:  colour of the sky above the horizon, and of the haze: float32 [3].
    sight:    distance in metres at which haze makes up half of a colour.
    sun:      -1 if the sun is to the left, 1 to the right, 0 if there is none.
    clouds:   share of the sky that is covered, 0 to 1.
    """

    gain: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    sight: float
    sun: int
    clouds: float

    def on(self, picture: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Return how colours [N, 3] look in this light from `distance` metres [N]."""
        haze = (distance / (distance + self.sight))[:, None].astype(np.float32)
        return picture * self.gain * (1 - haze) + self.horizon * haze


class Stage:
    """What the camera sees so far. Far cut-outs must be hung before near ones.

    Args:
        size: (height, width) in pixels.
        focal: focal length in pixels.
        center: (x, y) of the vanishing point in pixels.
        eye: height of the camera above the ground in metres.
        light: light of the scene.
    """

    def __init__(self, size: tuple[int, int], focal: float, center: Point, eye: float, light: Light) -> None:
        self.focal, self.center, self.eye, self.light = focal, center, eye, light
        self.picture = np.zeros((*size, 3), np.float32)
        self.label = np.zeros(size, np.uint8)

    def hang(self, cutout: Cutout, origin: Sequence[float], across: Sequence[float], up: Sequence[float]) -> None:
        """Hang a cut-out in the world.

        Args:
            cutout: what to hang.
            origin: (X, Y, Z) of its lower left corner; every corner must have a positive Z.
            across: vector from there to the lower right corner.
            up: vector from there to the upper left corner.
        """
        P, U, V = self._column(origin, 1), self._column(across, 0), self._column(up, 0)
        corners = [
            ((P[0] + a * U[0] + b * V[0]) / depth, (P[1] + a * U[1] + b * V[1]) / depth)
            for a, b, depth in ((a, b, P[2] + a * U[2] + b * V[2]) for a in (0, 1) for b in (0, 1))
        ]
        height, width = self.label.shape
        left, right = max(int(min(x for x, _ in corners)), 0), min(int(max(x for x, _ in corners)) + 2, width)
        top, bottom = max(int(min(y for _, y in corners)), 0), min(int(max(y for _, y in corners)) + 2, height)
        if left >= right or top >= bottom:
            return
        # The homography from the cut-out to the image has the columns U, V, P; cross products invert it.
        columns = np.arange(left, right, dtype=np.float32) + 0.5
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5
        u, v, scale = (a * columns + b * rows + c for a, b, c in (_cross(V, P), _cross(P, U), _cross(U, V)))
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = u / scale, v / scale
            hit = (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        u, v = u[hit], v[hit]
        down, over = cutout.label.shape
        source = np.minimum(((1 - v) * down).astype(int), down - 1), np.minimum((u * over).astype(int), over - 1)
        label = cutout.label[source]
        opaque = label != CLEAR
        hit[hit] = opaque
        distance = P[2] + u[opaque] * U[2] + v[opaque] * V[2]
        self.label[top:bottom, left:right][hit] = label[opaque]
        self.picture[top:bottom, left:right][hit] = self.light.on(cutout.picture[source][opaque], distance)

    def stand(self, cutout: Cutout, x: float, z: float, width: float, height: float) -> None:
        """Stand a cut-out upright, facing the camera, its foot centred on (x, z)."""
        self.hang(cutout, (x - width / 2, 0, z), (width, 0, 0), (0, height, 0))

    def shade(self, x: float, z: float, width: float, depth: float, strength: float) -> None:
        """Darken the ground under an object with this footprint by a soft-edged oval; labels do not change."""
        P = self._column((x, 0, z), 1)
        center_x, center_y = P[0] / P[2], P[1] / P[2]
        radius_x = self.focal * width / 2 / z
        radius_y = max(self.focal * self.eye * depth / 2 / (z * z), 1.5)
        height, wide = self.label.shape
        left, right = max(int(center_x - radius_x), 0), min(int(center_x + radius_x) + 2, wide)
        top, bottom = max(int(center_y - radius_y), 0), min(int(center_y + radius_y) + 2, height)
        if left >= right or top >= bottom:
            return
        across = (np.arange(left, right) - center_x) / radius_x
        down = (np.arange(top, bottom)[:, None] - center_y) / radius_y
        inside = np.clip(1.6 * (1 - across * across - down * down), 0, 1)[..., None]
        self.picture[top:bottom, left:right] *= (1 - strength * inside).astype(np.float32)

    def _column(self, vector: Sequence[float], point: int) -> Vector:
        """Return the homogeneous image coordinates of a point (1) or a direction (0)."""
        X, Y, Z = map(float, vector)
        return self.focal * X + self.center[0] * Z, self.focal * (self.eye * point - Y) + self.center[1] * Z, Z


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
