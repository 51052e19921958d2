"""What lines a street: facades, walls, fences, hedges, and the skyline at its end."""

import numpy as np

from imagier.synthetic.noise import fractal_noise, smooth_noise
from imagier.synthetic.stage import CLEAR, Color, Cutout
from imagier.synthetic.street_labels import Label

PIXELS = 10  # per metre of facade

PLASTER: tuple[Color, ...] = (
    (0.72, 0.68, 0.60), (0.62, 0.62, 0.62), (0.80, 0.78, 0.74), (0.52, 0.32, 0.26), (0.46, 0.40, 0.36),
    (0.66, 0.70, 0.74), (0.70, 0.60, 0.42), (0.38, 0.40, 0.42), (0.56, 0.60, 0.50), (0.74, 0.54, 0.46),
)  # fmt: skip
GLASS: tuple[Color, ...] = ((0.14, 0.16, 0.18), (0.22, 0.26, 0.30), (0.45, 0.54, 0.62), (0.75, 0.66, 0.40))


def tinted(rng: np.random.Generator, colors: tuple[Color, ...], spread: float = 0.06) -> Color:
    """Return one of `colors`, slightly varied."""
    red, green, blue = np.clip(np.array(colors[rng.integers(len(colors))]) + rng.uniform(-spread, spread, 3), 0, 1)
    return float(red), float(green), float(blue)


def scaled(color: Color, factor: float) -> Color:
    """Return `color`, darker or brighter, at most 1."""
    red, green, blue = (min(part * factor, 1.0) for part in color)
    return red, green, blue


def facade(rng: np.random.Generator, width: float, height: float) -> Cutout:
    """Draw a house front, sizes in metres: storeys of windows, a ground floor with a door or shop, a cornice."""
    color = tinted(rng, PLASTER)
    house = Cutout(round(height * PIXELS), round(width * PIXELS), color, Label.BUILDING)
    if rng.random() < 0.4:
        _courses(rng, house)
    storey = rng.uniform(2.8, 3.6) / height
    windows = max(round(width / rng.uniform(1.8, 3.2)), 1)
    share_x, share_y = rng.uniform(0.35, 0.8), rng.uniform(0.4, 0.65)
    trim, glass = scaled(color, rng.choice((0.7, 1.25))), tinted(rng, GLASS)
    for floor in range(1, int(1 / storey)):
        bottom = 1 - floor * storey - storey * 0.2
        if rng.random() < 0.3:
            house.box(0, bottom + storey * 0.12, 1, bottom + storey * 0.16, trim, Label.BUILDING)
        for window in range(windows):
            middle = (window + 0.5) / windows
            half = share_x / windows / 2
            pane = tinted(rng, GLASS, 0.03) if rng.random() < 0.2 else glass
            house.box(middle - half * 1.2, bottom - storey * share_y * 1.08, middle + half * 1.2, bottom, trim, 11)
            house.box(middle - half, bottom - storey * share_y, middle + half, bottom, pane, Label.BUILDING)
    _ground_floor(rng, house, storey, windows)
    house.box(0, 0, 1, rng.uniform(0.3, 0.9) / height, scaled(color, rng.uniform(0.4, 1.2)), Label.BUILDING)
    return house.grain(rng, 0.12, 30).grain(rng, 0.08, 3)


def _courses(rng: np.random.Generator, house: Cutout) -> None:
    """Rows of bricks or boards."""
    house.picture[:: rng.integers(3, 6)] *= rng.uniform(0.75, 0.92)


def _ground_floor(rng: np.random.Generator, house: Cutout, storey: float, windows: int) -> None:
    """Draw shop windows under a sign, or a door between windows."""
    if rng.random() < 0.45:
        house.box(0.04, 1 - storey * 0.8, 0.96, 1 - storey * 0.1, tinted(rng, GLASS), Label.BUILDING)
        sign = float(rng.random()), float(rng.random()), float(rng.random())
        house.box(0.02, 1 - storey, 0.98, 1 - storey * 0.78, scaled(sign, 0.8), Label.BUILDING)
        for post in np.linspace(0.04, 0.96, windows + 1):
            house.box(post - 0.008, 1 - storey * 0.8, post + 0.008, 1, scaled(sign, 0.5), Label.BUILDING)
        return
    door = rng.integers(windows)
    for window in range(windows):
        middle, half = (window + 0.5) / windows, 0.25 / windows
        if window == door:
            house.box(middle - half, 1 - storey * 0.75, middle + half, 1, tinted(rng, PLASTER, 0.3), Label.BUILDING)
        else:
            house.box(middle - half, 1 - storey * 0.75, middle + half, 1 - storey * 0.3, tinted(rng, GLASS), 11)


def gable(rng: np.random.Generator, front: Cutout, width: float, height: float) -> Cutout:
    """Draw the nearly blank side wall of the house with this front."""
    side = Cutout(round(height * PIXELS), round(width * PIXELS), label=Label.BUILDING)
    side.picture[:] = front.picture.mean(axis=(0, 1)) * rng.uniform(0.75, 1.15)
    for _ in range(rng.integers(4)):
        x, y = rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.7)
        side.box(x, y, x + 0.8 / width, y + 1.3 / height, tinted(rng, GLASS), Label.BUILDING)
    return side.grain(rng, 0.1, 20).grain(rng, 0.06, 3)


def wall(rng: np.random.Generator, width: float, height: float) -> Cutout:
    """Draw a garden wall with a coping."""
    color = tinted(rng, PLASTER)
    built = Cutout(round(height * PIXELS * 2), round(width * PIXELS), color, Label.WALL)
    built.picture[:: rng.integers(4, 8)] *= 0.8
    built.box(0, 0, 1, 0.08, scaled(color, 1.2), Label.WALL)
    return built.grain(rng, 0.2, 12)


def fence(rng: np.random.Generator, width: float, height: float) -> Cutout:
    """Draw pickets and rails; as in Cityscapes, the label covers the gaps, which show foliage."""
    color = tinted(rng, (*PLASTER, (0.2, 0.25, 0.2), (0.1, 0.1, 0.1)))
    built = Cutout(round(height * PIXELS * 2), round(width * PIXELS), tinted(rng, LEAVES, 0.04), Label.FENCE)
    built.grain(rng, 0.4, 6)
    for post in np.arange(0, 1, rng.uniform(0.25, 0.5) / width):
        built.box(post, 0, post + 0.12 / width, 1, color, Label.FENCE)
    for rail in (0.05, 0.8):
        built.box(0, rail, 1, rail + 0.08, color, Label.FENCE)
    return built


LEAVES: tuple[Color, ...] = (
    (0.24, 0.34, 0.16), (0.34, 0.42, 0.20), (0.16, 0.24, 0.14), (0.48, 0.38, 0.18), (0.44, 0.26, 0.16),
    (0.30, 0.32, 0.26), (0.40, 0.44, 0.34),
)  # fmt: skip


def hedge(rng: np.random.Generator, width: float, height: float) -> Cutout:
    """Draw foliage with an uneven top edge."""
    shape = max(round(height * PIXELS), 4), max(round(width * PIXELS), 4)
    plant = Cutout(*shape, tinted(rng, LEAVES), Label.VEGETATION)
    leaf_through(rng, plant)
    top = shape[0] * (0.05 + 0.35 * fractal_noise(rng, (1, shape[1]), PIXELS * 0.8)[0])
    plant.label[np.arange(shape[0])[:, None] < top] = CLEAR
    return plant


def leaf_through(rng: np.random.Generator, plant: Cutout) -> None:
    """Turn a flat colour into foliage: clumps in light and shade, brighter towards the top."""
    shape = plant.label.shape[0], plant.label.shape[1]
    clumps = 0.6 * fractal_noise(rng, shape, 9, 2) + 0.4 * smooth_noise(rng, shape, 2)
    falling = np.linspace(1.25, 0.75, shape[0], dtype=np.float32)[:, None]
    plant.picture *= ((0.35 + 1.3 * clumps) * falling)[..., None]


def skyline(rng: np.random.Generator, width: float, height: float) -> Cutout:
    """Draw the distant background: trees, with houses among them."""
    shape = round(height * 4), round(width * 4)
    far = Cutout(*shape, tinted(rng, LEAVES), CLEAR)
    leaf_through(rng, far)
    rows = np.arange(shape[0])[:, None]
    trees = shape[0] * (1 - rng.uniform(0.2, 0.6) * (0.5 + fractal_noise(rng, (1, shape[1]), 40)[0]))
    far.label[rows >= trees] = Label.VEGETATION
    for _ in range(rng.integers(2, 9)):
        left, roof = rng.uniform(0, 0.95), rng.uniform(0.0, 0.8)
        far.box(left, roof, left + rng.uniform(0.03, 0.1), 1, tinted(rng, PLASTER), Label.BUILDING)
    return far
