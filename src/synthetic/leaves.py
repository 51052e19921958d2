"""Synthetic images of overlapping leaves, with the statistics of natural photographs.

The dead-leaves model: shapes of random size, colour and texture occlude one another, with radii distributed as r^-3.
Networks for image restoration that are trained on such images alone work on photographs.

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

VERSION = 3  # increment whenever the images change
SUPERSAMPLING = 2
SHEETS = 5  # textures per image


def generate(
    root: Path,
    *,
    count: int = 133,
    size: tuple[int, int] = (384, 384),
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> None:
    """Write `leaves_{number:05d}.png`, RGB, below `root`.

    Args:
        root: folder to write into.
        count: number of images.
        size: (height, width) in pixels. As in photographs, busy and smooth places should be larger than what a codec
            sees at once; in images of 256 x 256 they are not.
        seed: image i depends on (seed, i) alone.
        progress: wraps the list of images to draw, for instance with a progress bar.
    """
    root.mkdir(parents=True, exist_ok=True)
    for index in progress(range(count)):
        drawn = picture(generator("leaves", seed, index), size)
        Image.fromarray(drawn).save(root / f"leaves_{index:05d}.png")


def picture(rng: np.random.Generator, size: tuple[int, int] = (256, 256)) -> np.ndarray:
    """Draw one image, uint8 [H, W, 3], of one to three planes from far to near, one of them in focus."""
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
    """Draw a plane of leaves; return colour times cover, float32 [H, W, 3], and cover, float32 [H, W, 1]."""
    fine = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    smallest = SUPERSAMPLING * 0.4 * 2 ** int(rng.integers(4)) * rng.uniform(1, 2)
    largest = max(fine) * rng.uniform(0.2, 0.7)
    layers = rng.uniform(0.2, 1.8) if backdrop else rng.uniform(0.05, 0.6)
    plane = Plane(rng, fine, layers, smallest, largest, backdrop=backdrop)
    cover = plane.cover()
    return _averaged(plane.painted(palette, sheets) * cover), _averaged(cover)


def _averaged(fine: np.ndarray) -> np.ndarray:
    """Average each 2 x 2 pixels, as a sensor does."""
    rows = fine[::2] + fine[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)


def _blurred(picture: np.ndarray, variance: float) -> np.ndarray:
    """Blur with this variance, in squared pixels, by a sequence of small blurs."""
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
    """Convert light to uint8: uneven light, lens blur, sharpening, contrast, and a JPEG's coarse colours."""
    height, width = view.shape[:2]
    light = smooth_noise(rng, (height, width), rng.uniform(60, 200))[..., None]
    view = view * (1 + np.float32(rng.uniform(0, 1.1)) * (light - np.float32(0.5)))
    view = _blurred(view, max(rng.uniform(-0.3, 0.4), 0))
    view = view + np.float32(rng.uniform(0, 0.6)) * (view - _blurred(view, 0.8))  # cameras sharpen
    view = np.clip(view, 0, 1)
    view = view + np.float32(rng.uniform(-0.3, 0.4)) * view * (1 - view)
    return np.rint(np.clip(_with_coarse_colors(view), 0, 1) * 255).astype(np.uint8)


def _with_coarse_colors(view: np.ndarray) -> np.ndarray:
    """Keep the luma and halve the resolution of colour, as JPEG's 4:2:0 does, which most cameras write."""
    height, width = view.shape[:2]
    gray = luma(view)[..., None].astype(np.float32)
    color = np.pad(view - gray, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return gray + _doubled(_doubled(_averaged(color), 0), 1)[:height, :width]


def _doubled(half: np.ndarray, axis: int) -> np.ndarray:
    """Double the length of one axis, weighting the nearer value 3/4 and the farther 1/4, as JPEG decoders do."""
    ends = np.arange(half.shape[axis])
    neighbours = [half.take(ends + step, axis, mode="clip") for step in (-1, 1)]
    pairs = [half * np.float32(0.75) + neighbour * np.float32(0.25) for neighbour in neighbours]
    shape = list(half.shape)
    shape[axis] *= 2
    return np.stack(pairs, axis + 1).reshape(shape)
