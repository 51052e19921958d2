"""Outlines of leaves, each with the same number of points, so that all are computed at once.

Like `noise`, this uses only operations that every machine computes alike: + - * / and square roots.
"""

import numpy as np

QUARTER = 12  # points per quarter turn


def radii(rng: np.random.Generator, count: int, smallest: float, largest: float) -> np.ndarray:
    """Draw radii, float64 [count], with density r^-3 from `smallest` to `largest`: images become scale invariant.

    Lee, Mumford, Huang: Occlusion models for natural images, IJCV 2001.
    """
    near, far = 1 / (smallest * smallest), 1 / (largest * largest)
    return 1 / np.sqrt(far + (near - far) * rng.random(count))


def unit_vectors(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw random directions, float64 [count, 2], close to uniform."""
    vectors = rng.uniform(-1, 1, (count, 2))
    return vectors / np.sqrt((vectors * vectors).sum(1, keepdims=True) + 1e-12)


def outlines(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw ellipses, blades, boxes, polygons and blobs at random angles, each of about the area of a unit disc.

    Returns:
        float64 [count, 4 x QUARTER, 2]: points (x, y) around (0, 0).
    """
    kinds = rng.choice(len(KINDS), count, p=[share for _, share in KINDS])
    points = np.empty((count, 4 * QUARTER, 2))
    for kind, (draw, _) in enumerate(KINDS):
        chosen = kinds == kind
        points[chosen] = draw(rng, int(chosen.sum()))
    turn = unit_vectors(rng, count)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([x * turn[..., 0] - y * turn[..., 1], x * turn[..., 1] + y * turn[..., 0]], -1)


def _turn() -> np.ndarray:
    """Return points on the unit circle in order, float64 [4 x QUARTER, 2]; (1 - t^2, 2 t) / (1 + t^2) needs no sine."""
    t = np.arange(QUARTER) / QUARTER
    quarter = np.stack([1 - t * t, 2 * t], 1) / (1 + t * t)[:, None]
    half = np.concatenate([quarter, np.stack([-quarter[:, 1], quarter[:, 0]], 1)])
    return np.concatenate([half, -half])


CIRCLE = _turn()


def _ellipses(rng: np.random.Generator, count: int) -> np.ndarray:
    """Ellipses, from discs to 2.5 times as long as wide."""
    return _stretched(CIRCLE, 1 + 1.5 * rng.random(count) ** 2)


def _blades(rng: np.random.Generator, count: int) -> np.ndarray:
    """Grass, twigs and hair: 3 to 20 times as long as wide, and bent."""
    points = _stretched(CIRCLE, 3 + 17 * rng.random(count) ** 2)
    bend = rng.uniform(-0.25, 0.25, count)[:, None]
    points[..., 1] += bend * points[..., 0] * points[..., 0]
    return points


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Rectangles, up to 8 times as long as wide."""
    box, long = CIRCLE / np.abs(CIRCLE).max(1, keepdims=True), rng.random(count)
    return 0.85 * _stretched(box, 1 + 7 * long * long * long)


def _polygons(rng: np.random.Generator, count: int) -> np.ndarray:
    """Discs of radius 1.2, each clipped by seven half planes."""
    normals = unit_vectors(rng, count * 7).reshape(count, 7, 1, 2)
    towards = normals[..., 0] * CIRCLE[:, 0] + normals[..., 1] * CIRCLE[:, 1]
    reach = rng.uniform(0.5, 1.1, (count, 7, 1)) / np.maximum(towards, 0.05)
    return CIRCLE * np.minimum(reach.min(1), 1.2)[..., None]


def _blobs(rng: np.random.Generator, count: int) -> np.ndarray:
    """Lobes, whose radius interpolates smoothly between eight random values."""
    knots = rng.random((count, 8))
    place = np.arange(4 * QUARTER) * (2 / QUARTER)
    before = place.astype(int)
    rest = place - before
    ease = rest * rest * (3 - 2 * rest)
    reach = knots[:, before] + (knots[:, (before + 1) % 8] - knots[:, before]) * ease
    return CIRCLE * (0.35 + 1.1 * reach)[..., None]


def _stretched(points: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Stretch `points` to be `ratio` times as long as wide, with the same area: float64 [count, ..., 2]."""
    long = np.sqrt(ratio)[:, None]
    return np.stack([points[:, 0] * long, points[:, 1] / long], -1)


KINDS = ((_ellipses, 0.3), (_blades, 0.2), (_boxes, 0.15), (_polygons, 0.15), (_blobs, 0.2))
