"""Textures from random numbers.

Only additions, multiplications, divisions and comparisons are used, no sine or power, so that every machine computes
the same bytes.
"""

import numpy as np


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float]) -> np.ndarray:
    """Value noise: random numbers on a lattice, interpolated smoothly.

    Args:
        rng: random generator.
        shape: (height, width) in pixels.
        cell: spacing of lattice points in pixels, one number or (down, across); at least 1 is used.

    Returns:
        float32 [H, W] in [0, 1].
    """
    cells = cell if isinstance(cell, tuple) else (cell, cell)
    (top, ease_H), (left, ease_W) = (_lattice(rng, length, step) for length, step in zip(shape, cells, strict=True))
    knots = rng.random((int(top[-1]) + 2, int(left[-1]) + 2), dtype=np.float32)
    rows = knots[top] + (knots[top + 1] - knots[top]) * ease_H[:, None]
    return rows[:, left] + (rows[:, left + 1] - rows[:, left]) * ease_W


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float], octaves: int = 3
) -> np.ndarray:
    """Sum of smooth noises, each with half the cell and half the weight of the one before: float32 [H, W] in [0, 1]."""
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += smooth_noise(rng, shape, (down / 2**octave, across / 2**octave)) * np.float32(0.5**octave)
    return total / np.float32(2 - 0.5 ** (octaves - 1))


def wave(phase: np.ndarray) -> np.ndarray:
    """A smooth wave of period 1 between 0 (at whole phases) and 1 (halfway), much like a cosine but exact."""
    ramp = 1 - np.abs(2 * (phase - np.floor(phase)) - 1)
    return ramp * ramp * (3 - 2 * ramp)


def _lattice(rng: np.random.Generator, length: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each of `length` pixels, the lattice point before it and the eased fraction towards the next."""
    place = np.arange(length, dtype=np.float32) / np.float32(max(step, 1)) + rng.random(dtype=np.float32)
    before = np.floor(place)
    rest = place - before
    return before.astype(np.intp), rest * rest * (3 - 2 * rest)
