"""Street scenes with exact labels, in Cityscapes' published layout.

A camera on a car looks along a street: road, pavements, houses, trees, poles, people and vehicles in perspective, each
painted over what is farther away. Images are drawn at three times the resolution and averaged, as by a sensor; a label
is that of the centre of its pixel.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagier.randomness import generator
from imagier.synthetic.noise import smooth_noise
from imagier.synthetic.stage import Cutout, Stage
from imagier.synthetic.street_ground import FAR, Street, paint_ground
from imagier.synthetic.street_houses import facade, fence, gable, hedge, skyline, wall
from imagier.synthetic.street_labels import Label
from imagier.synthetic.street_light import draw_light, paint_sky
from imagier.synthetic.street_things import bicycle, bin_or_box, cyclist, lamp, person, sign, signal, tree
from imagier.synthetic.street_vehicles import Vehicle

VERSION = 2  # increment whenever the images change
CITIES = {
    "train": ("ahornheim", "birkenau", "eschenbach", "fichtenberg"),
    "val": ("lindenfels", "ulmenhof"),
    "test": ("weidenau", "zedernburg"),
}
SUPERSAMPLING = 3
Thing = tuple[float, Callable[[], None]]  # distance in metres, and the function that draws it


def generate(
    root: Path,
    *,
    train: int = 240,
    val: int = 60,
    test: int = 60,
    size: tuple[int, int] = (96, 192),
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> None:
    """Write `leftImg8bit/` and `gtFine/` (labelIds only) with splits, cities and file names as in Cityscapes.

    Args:
        root: folder to write into.
        train, val, test: number of images of each split, shared among its cities.
        size: (height, width) in pixels.
        seed: image i of a split depends on (seed, split, i) alone.
        progress: wraps the list of images to draw, for instance with a progress bar.
    """
    counts = {"train": train, "val": val, "test": test}
    for split, index in progress([(split, index) for split, count in counts.items() for index in range(count)]):
        picture, label = scene(generator("streets", seed, split, index), size)
        cities = CITIES[split]
        city, frame = cities[index % len(cities)], index // len(cities)
        for folder, kind, array in (("leftImg8bit", "leftImg8bit", picture), ("gtFine", "gtFine_labelIds", label)):
            path = root / folder / split / city / f"{city}_{frame:06d}_000019_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)


def scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one street: the image, uint8 [H, W, 3], and Cityscapes label ids, uint8 [H, W]."""
    height, width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    center = width * rng.uniform(0.36, 0.64), height * rng.uniform(0.38, 0.5)
    stage = Stage((height, width), width * rng.uniform(0.8, 1.0), center, rng.uniform(1.3, 1.8), draw_light(rng))
    street = Street.draw_lots(rng)
    paint_sky(stage, rng)
    paint_ground(stage, street, rng)
    stage.stand(skyline(rng, 260, 22), 0, FAR + 60, 260, rng.uniform(10, 24))
    things = [*_houses(stage, street, rng), *_furniture(stage, street, rng), *_traffic(stage, street, rng)]
    for _, hang in sorted(things, key=lambda thing: -thing[0]):
        hang()
    _paint_border(stage, rng)
    middle = SUPERSAMPLING // 2
    return _develop(stage.picture, rng), stage.label[middle::SUPERSAMPLING, middle::SUPERSAMPLING].copy()


def _houses(stage: Stage, street: Street, rng: np.random.Generator) -> list[Thing]:
    """Line both sides of the street with houses, gaps, and walls, fences or hedges with trees behind."""
    things: list[Thing] = []
    for side in (-1, 1):
        front, z = street.front(side), rng.uniform(3, 8)
        lit = 0.8 if not stage.light.sun else 1.05 if stage.light.sun == -side else 0.6
        tall = rng.uniform(5, 14)
        built = rng.uniform(0.55, 0.95)
        while z < FAR:
            length = rng.uniform(6, 15)
            if street.crossed(z, z + length):
                z += 3.0
                continue
            if rng.random() < built:
                height = tall * rng.uniform(0.7, 1.4)
                things += _house(stage, rng, side, front, z, length, height, lit)
            else:
                make, high = [(wall, 2.0), (fence, 1.4), (hedge, 2.2)][rng.integers(3)]
                high *= rng.uniform(0.6, 1.2)
                things += _flank(stage, make(rng, length, high), side, front, z, length, high, lit)
                things += _trees(stage, rng, front + side * 4, z, z + length, int(rng.integers(1, 3)))
            z += length + (rng.uniform(1, 5) if rng.random() < 0.3 else 0)
    return things


def _flank(
    stage: Stage, cutout: Cutout, side: int, x: float, z: float, length: float, height: float, lit: float
) -> list[Thing]:
    """Hang a cut-out along the street, from z to z + length; sorted by its far end, before what stands beside it."""
    cutout.picture *= lit
    if side < 0:
        return [(z + length, lambda: stage.hang(cutout, (x, 0, z), (0, 0, length), (0, height, 0)))]
    return [(z + length, lambda: stage.hang(cutout, (x, 0, z + length), (0, 0, -length), (0, height, 0)))]


def _house(
    stage: Stage, rng: np.random.Generator, side: int, x: float, z: float, length: float, height: float, lit: float
) -> list[Thing]:
    front, depth = facade(rng, length, height), rng.uniform(6, 12)
    end = gable(rng, front, depth, height)
    end.picture *= rng.uniform(0.7, 0.95)
    things = [(z, lambda: stage.stand(end, x + side * depth / 2, z, depth, height))]
    return _flank(stage, front, side, x, z, length, height, lit) + things


def _trees(stage: Stage, rng: np.random.Generator, x: float, near: float, far: float, count: int) -> list[Thing]:
    return [_thing(stage, tree(rng), x, rng.uniform(near, far), rng.uniform(3.5, 8), 2 / 3) for _ in range(count)]


def _thing(stage: Stage, cutout: Cutout, x: float, z: float, height: float, aspect: float) -> Thing:
    """Stand a cut-out facing the camera, `height` metres tall and `aspect` times as wide, with a shadow at its foot."""

    def hang() -> None:
        stage.shade(x, z, height * aspect * 0.8, height * aspect * 0.6, 0.4)
        stage.stand(cutout, x, z, height * aspect, height)

    return z, hang


def _furniture(stage: Stage, street: Street, rng: np.random.Generator) -> list[Thing]:
    """Furnish the kerbs: street trees, lamps, signs, signals at the crossing, bins, parked bicycles, pedestrians."""
    things: list[Thing] = []

    def put(cutout: Cutout, x: float, z: float, height: float, aspect: float) -> None:
        things.append(_thing(stage, cutout, x, z, height, aspect))

    for side, kerb, pavement in ((-1, street.left, street.pavement[0]), (1, street.right, street.pavement[1])):
        edge = kerb + side * 0.5
        for z in np.arange(rng.uniform(7, 16), FAR, rng.uniform(14, 26)):
            put(lamp(rng), edge, z, rng.uniform(5, 8), 0.2)
        for _ in range(rng.integers(1, 4)):
            put(sign(rng), edge, rng.uniform(6, 30), rng.uniform(2.4, 3.2), 0.25)
        if street.crossing < FAR:
            put(signal(rng), edge, street.crossing - 1, rng.uniform(3, 3.8), 1 / 6)
        if rng.random() < 0.5:
            for z in np.arange(rng.uniform(8, 16), 60, rng.uniform(6, 14)):
                if not street.crossed(z, z):
                    put(tree(rng), edge + side * 0.4, z, rng.uniform(3.5, 8), 2 / 3)
        for _ in range(rng.integers(3)):
            put(bin_or_box(rng), edge + side * 0.4, rng.uniform(6, 30), rng.uniform(0.8, 1.4), 0.7)
        if rng.random() < 0.4:
            put(bicycle(rng), edge + side * 0.3, rng.uniform(7, 20), 1.7, 1)
        for _ in range(rng.integers(2, 7)):
            x = kerb + side * rng.uniform(0.2, pavement)
            put(person(rng), x, 5.5 + 28 * rng.random() ** 2, rng.uniform(1.5, 1.9), 0.5)
    return things


def _traffic(stage: Stage, street: Street, rng: np.random.Generator) -> list[Thing]:
    """Add parked cars, traffic in both lanes, cyclists, and vehicles and pedestrians at the crossing."""
    things: list[Thing] = []

    def add(label: Label, x: float, z: float, towards: bool) -> float:
        vehicle = Vehicle.draw_lots(rng, label, towards)
        things.append((z, lambda: vehicle.park(stage, rng, x, z)))
        return vehicle.length

    kinds, odds = (Label.CAR, Label.TRUCK, Label.BUS), (0.78, 0.13, 0.09)
    for side, kerb in ((-1, street.left), (1, street.right)):
        if rng.random() < 0.6 and street.right - street.left > 6:
            z = rng.uniform(6, 14)
            while z < 60:
                if not street.crossed(z, z + 5) and rng.random() < 0.7:
                    z += add(Label.CAR, kerb - side * 1.0, z, side < 0)
                z += rng.uniform(0.8, 4)
    lane = (street.right - street.left) / 4
    for place, towards in ((street.left + 1.4 * lane, True), (street.right - 1.4 * lane, False)):
        z = rng.uniform(7, 30)
        for _ in range(rng.integers(0, 4)):
            z += add(kinds[rng.choice(3, p=odds)], place + rng.uniform(-0.3, 0.3), z, towards) + rng.uniform(3, 20)
    for _ in range(rng.integers(0, 3)):
        x = rng.uniform(street.left + 0.5, street.right - 0.5)
        things.append(_thing(stage, cyclist(rng), x, rng.uniform(6, 22), rng.uniform(1.65, 1.85), 1.0))
    if street.crossing < FAR:
        if rng.random() < 0.6:
            vehicle = Vehicle.draw_lots(rng, kinds[rng.choice(3, p=odds)], towards=False)
            ahead, across = street.crossing + rng.uniform(1.5, street.crossing_width - 1.5), rng.uniform(-12, 12)
            things.append((ahead, lambda: vehicle.cross(stage, rng, across, ahead)))
        for _ in range(rng.integers(0, 4)):
            x, z = rng.uniform(street.left, street.right), street.crossing - rng.uniform(1.5, 3.5)
            things.append(_thing(stage, person(rng), x, z, rng.uniform(1.5, 1.9), 0.5))
    return things


def _paint_border(stage: Stage, rng: np.random.Generator) -> None:
    """Paint the car's bonnet in three of five images; label a one-pixel frame as outside the region of interest."""
    height, width = stage.label.shape
    if rng.random() < 0.6:
        columns = (np.arange(width) / width - rng.uniform(0.45, 0.55)) * 2
        top = height * (1 - rng.uniform(0.05, 0.1) * (1 - 0.6 * columns * columns))
        bonnet = np.arange(height)[:, None] > top
        gloss = smooth_noise(rng, (height, width), (height / 12, width / 5))[..., None]
        stage.picture[bonnet] = ((0.1 + 0.25 * gloss) * stage.light.horizon)[bonnet]
        stage.label[bonnet] = Label.EGO_VEHICLE
    frame = np.ones((height, width), bool)
    frame[SUPERSAMPLING:-SUPERSAMPLING, SUPERSAMPLING:-SUPERSAMPLING] = False
    stage.label[frame] = Label.OUT_OF_ROI


def _develop(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convert light to uint8: lens blur, averaging over pixels, exposure, contrast, sensor noise."""
    height, width = picture.shape[0] // SUPERSAMPLING, picture.shape[1] // SUPERSAMPLING
    if rng.random() < 0.5:
        picture = (picture + np.roll(picture, 1, 0) + np.roll(picture, 1, 1) + np.roll(picture, (1, 1), (0, 1))) / 4
    small = picture.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean((1, 3))
    small = np.clip(small * rng.uniform(0.85, 1.15), 0, 1)
    small = small + rng.uniform(-0.15, 0.35) * small * (1 - small)
    noise = rng.standard_normal(small.shape, dtype=np.float32) * rng.uniform(0.005, 0.025)
    return np.rint(np.clip(small + noise, 0, 1) * 255).astype(np.uint8)
