"""Photographs that nobody took: pictures of leaves over leaves, with the statistics of natural pictures.

The dead-leaves model: shapes of random size, colour and texture cover one another, with radii that follow r^-3. Nets
for restoration trained on such pictures alone work on photographs.

Matheron: Modele sequentiel de partition aleatoire, 1968. Lee, Mumford, Huang: Occlusion models for natural images,
IJCV 2001. Achddou, Gousseau, Ladjal: Synthetic images as a regularity prior for image restoration neural networks,
SSVM 2021 (textures, blur and colours here are our own).
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagier.randomness import generator
from imagier.synthetic.leaf_plane import Plane
from imagier.synthetic.leaf_surfaces import Palette, luma, sheet
from imagier.synthetic.noise import smooth_noise

VERSION = 2  # raised whenever the pictures change
SUPERSAMPLING = 2
SHEETS = 5  # textures of one picture


def generate(
    root: Path,
    *,
    count: int = 300,
    size: tuple[int, int] = (256, 256),
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> None:
    """Write `leaves_{number:05d}.png`, RGB, below `root`.

    Args:
        root: folder to write into.
        count: how many pictures.
        size: (height, width) in pixels.
        seed: picture i depends on (seed, i) alone.
        progress: wraps the list of pictures to be drawn, for instance to show how far it has got.
    """
    root.mkdir(parents=True, exist_ok=True)
    for index in progress(range(count)):
        drawn = picture(generator("leaves", seed, index), size)
        Image.fromarray(drawn).save(root / f"leaves_{index:05d}.png")


def picture(rng: np.random.Generator, size: tuple[int, int] = (256, 256)) -> np.ndarray:
    """Draw one picture: uint8 [H, W, 3]; of its planes, the nearer over the farther, one is in focus."""
    palette, sheets = Palette.draw(rng), np.stack([sheet(rng) for _ in range(SHEETS)])
    view = np.zeros((*size, 3), np.float32)
    planes = int(rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))
    focus = int(rng.integers(planes))
    for number in range(planes):
        color, cover = _plane(rng, size, palette, sheets, backdrop=number == 0)
        if number != focus:
            blur = rng.uniform(0.3, 9)
            color, cover = _blurred(color, blur), _blurred(cover, blur)
        view = view * (1 - cover) + color
    return _develop(view, rng)


def _plane(
    rng: np.random.Generator, size: tuple[int, int], palette: Palette, sheets: np.ndarray, *, backdrop: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Colour times cover, float32 [H, W, 3], and cover, float32 [H, W, 1], of a plane of leaves."""
    fine = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    smallest = SUPERSAMPLING * 0.4 * 2 ** int(rng.integers(4)) * rng.uniform(1, 2)
    largest = max(fine) * rng.uniform(0.2, 0.7)
    layers = rng.uniform(0.2, 1.8) if backdrop else rng.uniform(0.05, 0.6)
    plane = Plane(rng, fine, layers, smallest, largest, backdrop=backdrop)
    cover = plane.cover()
    return _averaged(plane.painted(palette, sheets) * cover), _averaged(cover)


def _averaged(fine: np.ndarray) -> np.ndarray:
    """The mean of each pixel's parts, as a sensor takes it."""
    rows = fine[::2] + fine[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)


def _blurred(picture: np.ndarray, variance: float) -> np.ndarray:
    """Blur of this variance in squared pixels, by as many small blurs as it takes."""
    reach = 1
    while variance > 0:
        weight = np.float32(min(variance / reach**2, 0.5))  # a blur (w/2, 1 - w, w/2) of this reach has w reach^2
        for axis in (0, 1):
            padded = np.pad(picture, [(reach, reach) if axis == other else (0, 0) for other in range(3)], "edge")
            ends = np.arange(picture.shape[axis])
            around = padded.take(ends, axis) + padded.take(ends + 2 * reach, axis)
            picture = picture * (1 - weight) + around * (weight / 2)
        variance -= 0.5 * reach**2
        reach = min(2 * reach, 4)
    return picture


def _develop(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From light to bytes: light that changes over the picture, the lens, contrast, exposure, a file's colours."""
    height, width = view.shape[:2]
    light = smooth_noise(rng, (height, width), rng.uniform(60, 200))[..., None]
    view = view * (1 + np.float32(rng.uniform(0, 1.1)) * (light - np.float32(0.5)))
    view = _blurred(view, max(rng.uniform(-0.3, 0.4), 0))
    view = view + np.float32(rng.uniform(0, 0.6)) * (view - _blurred(view, 0.8))  # cameras sharpen
    view = np.clip(view, 0, 1)
    view = view + np.float32(rng.uniform(-0.3, 0.4)) * view * (1 - view)
    return np.rint(np.clip(_with_coarse_colors(view), 0, 1) * 255).astype(np.uint8)


def _with_coarse_colors(view: np.ndarray) -> np.ndarray:
    """Brightness as it is and colours at half the sides: JPEG's 4:2:0, in which most cameras write photographs."""
    height, width = view.shape[:2]
    gray = luma(view)[..., None].astype(np.float32)
    color = np.pad(view - gray, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return gray + _doubled(_doubled(_averaged(color), 0), 1)[:height, :width]


def _doubled(half: np.ndarray, axis: int) -> np.ndarray:
    """Twice as many along one axis, each nearer to its own than to its neighbour, as decoders of JPEG have it."""
    ends = np.arange(half.shape[axis])
    neighbours = [half.take(ends + step, axis, mode="clip") for step in (-1, 1)]
    pairs = [half * np.float32(0.75) + neighbour * np.float32(0.25) for neighbour in neighbours]
    shape = list(half.shape)
    shape[axis] *= 2
    return np.stack(pairs, axis + 1).reshape(shape)
