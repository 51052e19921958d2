"""Small images of five materials, one folder per class.

All classes share the same palettes and contrast, so that structure, not colour, identifies a material.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagier.randomness import generator
from imagier.synthetic.noise import fractal_noise, smooth_noise, wave

VERSION = 1  # increment whenever the images change
SIZE = 32
PALETTES = (  # dark, light
    ((0.30, 0.20, 0.12), (0.72, 0.54, 0.34)), ((0.36, 0.16, 0.12), (0.74, 0.46, 0.36)),
    ((0.14, 0.22, 0.10), (0.52, 0.62, 0.30)), ((0.28, 0.29, 0.31), (0.76, 0.76, 0.74)),
    ((0.16, 0.20, 0.32), (0.60, 0.66, 0.76)), ((0.34, 0.30, 0.22), (0.84, 0.80, 0.68)),
)  # fmt: skip


def generate(
    root: Path,
    *,
    per_class: int = 400,
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> None:
    """Write `{class}/{class}_{number:05d}.png`, RGB, 32x32, below `root`.

    Args:
        root: folder to write into.
        per_class: number of images of each class.
        seed: image i of a class depends on (seed, class, i) alone.
        progress: wraps the list of images to draw, for instance with a progress bar.
    """
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, index in progress([(name, index) for name in CLASSES for index in range(per_class)]):
        picture = material(generator("materials", seed, name, index), name)
        Image.fromarray(picture).save(root / name / f"{name}_{index:05d}.png")


def material(rng: np.random.Generator, name: str) -> np.ndarray:
    """Draw one sample of the class `name`: uint8 [32, 32, 3]."""
    tone = CLASSES[name](rng)
    tone = (tone - tone.mean()) / (tone.std() + 1e-6)  # the same mean and contrast for every class
    light = np.linspace(-1, 1, SIZE)
    light = light[:, None] * rng.uniform(-0.5, 0.5) + light * rng.uniform(-0.5, 0.5)
    mix = np.clip(0.5 + rng.uniform(0.12, 0.26) * (tone + light) * rng.choice((-1, 1)), 0, 1)[..., None]
    dark, bright = (np.array(color) for color in PALETTES[rng.integers(len(PALETTES))])
    picture = dark + (bright - dark) * mix + rng.uniform(-0.08, 0.08, 3)
    picture = picture * rng.uniform(0.7, 1.2) + rng.standard_normal((SIZE, SIZE, 3)) * rng.uniform(0.01, 0.06)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _turned(rng: np.random.Generator, most: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (down, across) in pixels on a randomly shifted and rotated sheet: float64 [H, W] each.

    `most` is the largest tangent of the rotation; half of the sheets have their axes swapped.
    """
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    slope = rng.uniform(-most, most)
    scale = np.sqrt(1 + slope * slope)
    down, across = (rows + slope * columns) / scale, (columns - slope * rows) / scale
    down, across = down + rng.uniform(0, SIZE), across + rng.uniform(0, SIZE)
    return (across, down) if rng.random() < 0.5 else (down, across)


def _sampled(noise: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Sample `noise` at these coordinates, repeating it beyond its edges."""
    return noise[np.floor(down).astype(int) % noise.shape[0], np.floor(across).astype(int) % noise.shape[1]]


def _wood(rng: np.random.Generator) -> np.ndarray:
    """Growth rings cut lengthwise: waves bent by slow noise, with pores along the grain."""
    down, across = _turned(rng)
    bend = 10 * _sampled(smooth_noise(rng, (128, 128), (14, 60)), down, across)
    rings = wave((down + bend) / rng.uniform(4, 9))
    pores = _sampled(smooth_noise(rng, (128, 128), (1.5, 16)), down, across)
    return rings * rng.uniform(0.4, 1.0) + pores


def _brick(rng: np.random.Generator) -> np.ndarray:
    """Courses of bricks in running bond, each brick with its own tone, between joints of mortar."""
    down, across = _turned(rng, 0.2)
    course, length = rng.uniform(5, 9), rng.uniform(10, 18)
    row = np.floor(down / course)
    shifted = across / length + 0.5 * (row % 2)
    joint = ((down / course) % 1 < 1.3 / course) | (shifted % 1 < 1.3 / length)
    tones = rng.random((64, 64))[row.astype(int) % 64, np.floor(shifted).astype(int) % 64]
    rough = fractal_noise(rng, (SIZE, SIZE), 4, 2)
    return np.where(joint, rng.choice((-0.5, 1.3)), 0.6 * tones + 0.5 * rough)


def _knit(rng: np.random.Generator) -> np.ndarray:
    """Threads over and under: slanted loops in columns."""
    down, across = _turned(rng)
    wale, loop = rng.uniform(4, 7), rng.uniform(3, 5)
    lean = np.abs((across / wale) % 1 - 0.5)
    loops = wave(down / loop + 1.6 * lean)
    ribs = wave(across / wale)
    return loops * (0.4 + 0.6 * ribs) + 0.5 * ribs + 0.4 * smooth_noise(rng, (SIZE, SIZE), 8)


def _marble(rng: np.random.Generator) -> np.ndarray:
    """Veins where warped noise crosses its middle value, on cloudy stone."""
    clouds = fractal_noise(rng, (SIZE, SIZE), rng.uniform(12, 22), 4)
    down, across = _turned(rng)
    bent = _sampled(fractal_noise(rng, (128, 128), rng.uniform(14, 26), 3), down + 14 * clouds, across + 9 * clouds)
    veins = np.clip(1 - np.abs(bent - 0.5) * rng.uniform(12, 22), 0, 1)
    return rng.choice((-1, 1)) * 0.7 * veins + 1.2 * clouds


def _foliage(rng: np.random.Generator) -> np.ndarray:
    """Overlapping leaves: pointed ovals in every direction, each brightest along its middle."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    tone = 0.2 * fractal_noise(rng, (SIZE, SIZE), 5, 2)
    size = rng.uniform(3, 6.5)
    for _ in range(int(900 / (size * size)) + 12):
        y, x = rng.uniform(-2, SIZE + 2, 2)
        step = rng.uniform(-1, 1, 2)
        step /= np.sqrt((step * step).sum()) + 1e-6
        along = ((rows - y) * step[0] + (columns - x) * step[1]) / size
        aside = ((rows - y) * step[1] - (columns - x) * step[0]) / (size * 0.5)
        leaf = np.abs(aside) < 1 - along * along
        tone[leaf] = (rng.uniform(0.3, 1.0) - 0.35 * np.abs(aside) + 0.15 * along)[leaf]
    return tone


CLASSES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "brick": _brick,
    "foliage": _foliage,
    "knit": _knit,
    "marble": _marble,
    "wood": _wood,
}
