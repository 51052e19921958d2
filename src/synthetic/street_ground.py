"""Dimensions of a street, and its ground: road, pavements, verges, markings, shadows of houses."""

from dataclasses import dataclass

import numpy as np

from imagier.synthetic.noise import fractal_noise
from imagier.synthetic.stage import Stage
from imagier.synthetic.street_labels import Label

FAR = 85.0  # metres to the end of the street
ASPHALT = ((0.34, 0.34, 0.35), (0.46, 0.45, 0.44), (0.24, 0.25, 0.27), (0.52, 0.48, 0.43))
PAVING = ((0.52, 0.51, 0.50), (0.40, 0.39, 0.40), (0.62, 0.58, 0.52), (0.48, 0.38, 0.34))
SOIL = ((0.34, 0.40, 0.20), (0.46, 0.42, 0.26), (0.28, 0.32, 0.18), (0.50, 0.44, 0.34))


@dataclass(frozen=True)
class Street:
    """Dimensions in metres; X is 0 at the camera. `left`, `right`: kerbs. `verge`: green strip on either side."""

    left: float
    right: float
    pavement: tuple[float, float]
    verge: tuple[float, float]
    crossing: float
    crossing_width: float

    @classmethod
    def draw_lots(cls, rng: np.random.Generator) -> "Street":
        """Draw a random street; three in five have a crossing street, otherwise `crossing` is out of sight."""
        verge = tuple(float(rng.uniform(1.5, 5) * (rng.random() < 0.45)) for _ in range(2))
        return cls(
            left=-rng.uniform(2.2, 6.5),
            right=rng.uniform(2.2, 5.0),
            pavement=(rng.uniform(1.8, 4.0), rng.uniform(1.8, 4.0)),
            verge=(verge[0], verge[1]),
            crossing=rng.uniform(14, 45) if rng.random() < 0.6 else 10 * FAR,
            crossing_width=rng.uniform(6, 10),
        )

    def front(self, side: int) -> float:
        """Return the X of the house fronts on the left (-1) or the right (1)."""
        if side < 0:
            return self.left - self.pavement[0] - self.verge[0]
        return self.right + self.pavement[1] + self.verge[1]

    def crossed(self, near: float, far: float) -> bool:
        """Whether the crossing street, with its pavements, meets the stretch from `near` to `far`."""
        return near < self.crossing + self.crossing_width + 2 and far > self.crossing - 2


def paint_ground(stage: Stage, street: Street, rng: np.random.Generator) -> None:
    """Paint the ground by world position: road, crossing street, pavements, verges, markings, cast shadows."""
    height, width = stage.label.shape
    top = int(stage.center[1]) + 1
    below = np.arange(top, height, dtype=np.float32)[:, None] + 0.5 - stage.center[1]
    Z = (stage.focal * stage.eye / below).clip(max=400)
    X = (np.arange(width, dtype=np.float32) + 0.5 - stage.center[0]) / stage.focal * Z
    across = _between(Z, street.crossing, street.crossing + street.crossing_width)
    road = _between(X, street.left, street.right) | across
    beside = _between(X, street.left - street.pavement[0], street.right + street.pavement[1])
    beside |= _between(Z, street.crossing - 2, street.crossing + street.crossing_width + 2)
    asphalt, paving, soil = (
        np.array(colors[rng.integers(len(colors))]) + rng.uniform(-0.05, 0.05, 3) for colors in (ASPHALT, PAVING, SOIL)
    )
    label = np.where(road, Label.ROAD, np.where(beside, Label.SIDEWALK, Label.TERRAIN)).astype(np.uint8)
    table = np.zeros((256, 3), np.float32)
    table[[Label.ROAD, Label.SIDEWALK, Label.TERRAIN]] = asphalt, paving, soil
    picture = table[label]
    picture[_markings(street, rng, X, Z, across) & road] = rng.uniform(0.68, 0.85)
    tile = rng.uniform(0.5, 1.2)
    joints = ((X / tile) % 1 < 0.08) | ((Z / tile) % 1 < 0.08)
    picture[joints & (label == Label.SIDEWALK) & (Z < 25)] *= 0.8
    kerb = (np.abs(X - street.left) < 0.12) | (np.abs(X - street.right) < 0.12)
    picture[kerb & ~across] = np.clip(paving * 1.25, 0, 1)
    coarse, fine = fractal_noise(rng, (256, 256), 40), rng.random((256, 256), dtype=np.float32)
    where = np.floor(X * 12).astype(int) % 256, (Z * 12).astype(int) % 256
    rough = np.where(label == Label.TERRAIN, np.float32(0.5), np.float32(0.16))
    picture *= (0.8 + 0.4 * coarse[where] + rough * (fine[where] - 0.5))[..., None]
    if stage.light.sun:
        picture[_house_shadow(stage.light.sun, street, rng, X, Z)] *= rng.uniform(0.45, 0.65)
    shown = stage.light.on(picture.reshape(-1, 3), np.broadcast_to(Z, X.shape).ravel())
    stage.picture[top:] = shown.reshape(picture.shape)
    stage.label[top:] = label


def _markings(street: Street, rng: np.random.Generator, X: np.ndarray, Z: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Mask the paint: a dashed or solid centre line, edge lines, zebra stripes before the crossing street."""
    middle = (street.left + street.right) / 2
    broken = (Z / rng.uniform(4, 7) + rng.random()) % 1 < rng.uniform(0.4, 0.6)
    paint = (np.abs(X - middle) < 0.09) & (broken if rng.random() < 0.7 else True) & (rng.random() < 0.85)
    if rng.random() < 0.5:
        paint |= (np.abs(X - street.left - 0.4) < 0.07) | (np.abs(X - street.right + 0.4) < 0.07)
    zebra = _between(Z, street.crossing - 4, street.crossing - 1.2) & (X % 1.0 < 0.5) & (rng.random() < 0.7)
    return (paint & ~across) | zebra


def _house_shadow(sun: int, street: Street, rng: np.random.Generator, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Mask the shadows of houses on the sun's side, of random length in steps of 9 metres along the street."""
    reach = rng.uniform(0, 5) + 7 * rng.random(64)
    edge = street.front(sun) - sun * reach[(Z / 9).astype(int) % 64]
    return X * sun > edge * sun


def _between(place: np.ndarray, low: float, high: float) -> np.ndarray:
    return (place > low) & (place < high)
