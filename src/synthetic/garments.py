"""Grey images of ten garments in Fashion-MNIST's file format.

Outlines are drawn at four times the resolution, smoothed by cutting corners (Chaikin 1974), given patterns, folds and
seams, and averaged. Some classes overlap on purpose: a high sneaker and a low boot, a short coat and a long pullover.
"""

import gzip
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagier.randomness import generator
from imagier.synthetic.cloth import SIZE, Cloth

VERSION = 1  # increment whenever the images change
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def generate(
    root: Path,
    *,
    train: int = 6000,
    test: int = 1000,
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> None:
    """Write `FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte`, plain and gzipped, below `root`.

    Args:
        root: folder to write into.
        train, test: number of images of each split; the ten classes alternate.
        seed: image i of a split depends on (seed, split, i) alone.
        progress: wraps the list of images to draw, for instance with a progress bar.
    """
    keys = [(split, index) for split, count in (("train", train), ("t10k", test)) for index in range(count)]
    images = {"train": np.empty((train, SIZE, SIZE), np.uint8), "t10k": np.empty((test, SIZE, SIZE), np.uint8)}
    for split, index in progress(keys):
        images[split][index] = garment(generator("garments", seed, split, index), index % len(CLASSES))
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for split, pictures in images.items():
        _write_idx(raw / f"{split}-images-idx3-ubyte", pictures)
        _write_idx(raw / f"{split}-labels-idx1-ubyte", (np.arange(len(pictures)) % len(CLASSES)).astype(np.uint8))


def garment(rng: np.random.Generator, kind: int) -> np.ndarray:
    """Draw one garment of class index `kind`: uint8 [28, 28], 0 in the background."""
    cloth = Cloth(rng)
    DRAW[kind](cloth, rng)
    return cloth.develop()


def _upper(
    cloth: Cloth, rng: np.random.Generator, hem: float, sleeve: float, waist: float = 1.0
) -> tuple[float, float]:
    """Draw body and sleeves of length `sleeve`, as a fraction of the arm; return half width and top."""
    half, top = rng.uniform(0.36, 0.5), rng.uniform(-0.92, -0.78)
    flare = half * rng.uniform(0.92, 1.2)
    pinched = half * waist
    body = [(-0.14, top), (-half, top + 0.13), (-half, top + 0.55), (-pinched, top + 0.9), (-flare, hem),
            (flare, hem), (pinched, top + 0.9), (half, top + 0.55), (half, top + 0.13), (0.14, top)]  # fmt: skip
    if sleeve:
        reach, girth = 1.45 * sleeve, rng.uniform(0.17, 0.26)
        spread = rng.uniform(0.08, 0.3)
        x, y = half + spread * reach, top + 0.13 + reach * 0.95
        arm = [(half * 0.75, top + 0.02), (half + 0.1, top + 0.12), (x + girth / 2, y - 0.04), (x - girth / 2, y),
               (half * 0.8, top + 0.6 * min(1.0, 0.5 + sleeve))]  # fmt: skip
        cloth.both(arm, rng.uniform(0.78, 1.0), 0)
        if sleeve > 0.6 and rng.random() < 0.8:
            cloth.seam([(half, top + 0.5), (half, hem)], 0.5, 3)
            cloth.seam([(-half, top + 0.5), (-half, hem)], 0.5, 3)
    cloth.fill(body, smooth=0)
    return half, top


def _neck(cloth: Cloth, rng: np.random.Generator, top: float) -> None:
    width, depth = rng.uniform(0.14, 0.26), rng.uniform(0.06, 0.3)
    cloth.clear([(-width, top - 0.1), (width, top - 0.1), (width, top + 0.02), (0, top + depth), (-width, top + 0.02)])


def _collar(cloth: Cloth, rng: np.random.Generator, top: float) -> None:
    depth, factor = rng.uniform(0.14, 0.26), float(rng.choice((0.6, 0.75, 1.25)))
    cloth.both([(0, top + 0.06), (0.2, top - 0.08), (0.26, top + 0.06), (0.12, top + depth)], factor, 0)


def _opening(cloth: Cloth, rng: np.random.Generator, top: float, hem: float, strength: float) -> None:
    """Draw a front opening: a line from neck to hem, often with buttons."""
    x = rng.uniform(-0.04, 0.08)
    factor = 1 - strength if rng.random() < 0.7 else 1 + strength
    cloth.seam([(x, top + 0.15), (x, hem)], factor, int(rng.integers(2, 6)))
    if rng.random() < 0.6:
        for y in np.arange(top + 0.25, hem - 0.05, rng.uniform(0.18, 0.3)):
            cloth.seam([(x + 0.05, y), (x + 0.07, y)], 0.4 if cloth.base > 0.5 else 1.7, 5)


def _t_shirt(cloth: Cloth, rng: np.random.Generator) -> None:
    hem = rng.uniform(0.5, 0.92)
    sleeve = rng.choice((0.0, rng.uniform(0.2, 0.42), 0.95), p=(0.1, 0.84, 0.06))
    half, top = _upper(cloth, rng, hem, sleeve)
    _neck(cloth, rng, top)
    if rng.random() < 0.35:
        width, low = half * rng.uniform(0.3, 0.8), rng.uniform(-0.2, 0.2)
        cloth.fill([(-width, -0.4), (width, -0.4), (width, low), (-width, low)], rng.choice((0.5, 1.5)))


def _pullover(cloth: Cloth, rng: np.random.Generator) -> None:
    hem = rng.uniform(0.5, 0.9)
    half, top = _upper(cloth, rng, hem, rng.uniform(0.85, 1.05))
    neck = rng.random()
    if neck < 0.65:
        _neck(cloth, rng, top)
    elif neck < 0.85:
        cloth.fill([(-0.18, top - 0.1), (0.18, top - 0.1), (0.2, top + 0.1), (-0.2, top + 0.1)], rng.uniform(0.7, 1.1))
    else:
        _collar(cloth, rng, top)
    if rng.random() < 0.6:
        cloth.seam([(-half, hem - 0.06), (half, hem - 0.06)], rng.uniform(0.6, 0.85), 6)
    if rng.random() < 0.12:
        _opening(cloth, rng, top, hem * 0.1, 0.3)


def _coat(cloth: Cloth, rng: np.random.Generator) -> None:
    hem = rng.uniform(0.62, 0.98)
    _, top = _upper(cloth, rng, hem, rng.uniform(0.85, 1.05), rng.uniform(0.86, 1.0))
    lapel = rng.random()
    if lapel < 0.6:
        _collar(cloth, rng, top)
    elif lapel < 0.85:
        _neck(cloth, rng, top)
    _opening(cloth, rng, top, hem, rng.uniform(0.25, 0.7))
    if rng.random() < 0.5:
        cloth.seam([(0.15, 0.3), (0.32, 0.27)], 0.6, 4)
        cloth.seam([(-0.15, 0.3), (-0.32, 0.27)], 0.6, 4)


def _shirt(cloth: Cloth, rng: np.random.Generator) -> None:
    hem = rng.uniform(0.5, 0.94)
    sleeve = rng.uniform(0.85, 1.05) if rng.random() < 0.65 else rng.uniform(0.2, 0.5)
    _, top = _upper(cloth, rng, hem, sleeve, rng.uniform(0.86, 1.0))
    if rng.random() < 0.85:
        _collar(cloth, rng, top)
    else:
        _neck(cloth, rng, top)
    if rng.random() < 0.85:
        _opening(cloth, rng, top, hem - 0.05, rng.uniform(0.12, 0.35))
    if rng.random() < 0.3:
        cloth.fill([(0.14, -0.35), (0.3, -0.35), (0.3, -0.15), (0.14, -0.15)], 0.8, 0)


def _dress(cloth: Cloth, rng: np.random.Generator) -> None:
    half, top, hem = rng.uniform(0.22, 0.38), rng.uniform(-0.98, -0.88), rng.uniform(0.78, 0.98)
    waist, flare = half * rng.uniform(0.7, 1.0), half * rng.uniform(1.0, 2.0)
    style = rng.random()
    if style < 0.5:
        reach = rng.uniform(0.25, 0.5) if style < 0.28 else rng.uniform(0.9, 1.2)
        cuff = half + 0.12 * reach
        sleeve = [(half * 0.7, top + 0.02), (half + 0.1, top + 0.12), (cuff + 0.12, top + reach), (cuff, top + reach),
                  (half * 0.8, top + 0.45)]  # fmt: skip
        cloth.both(sleeve, rng.uniform(0.75, 1.0), 0)
    cloth.fill([(-0.1, top), (-half, top + 0.1), (-half, top + 0.4), (-waist, -0.2), (-flare, hem), (flare, hem),
                (waist, -0.2), (half, top + 0.4), (half, top + 0.1), (0.1, top)], smooth=0)  # fmt: skip
    _neck(cloth, rng, top)
    if rng.random() < 0.3:
        cloth.seam([(-waist, -0.2), (waist, -0.2)], rng.choice((0.5, 1.4)), 6)


def _trouser(cloth: Cloth, rng: np.random.Generator) -> None:
    waist, hip, top = rng.uniform(0.2, 0.32), rng.uniform(0.26, 0.4), rng.uniform(-0.98, -0.88)
    hem, crotch, ankle = rng.uniform(0.75, 0.98), rng.uniform(-0.45, -0.15), rng.uniform(0.12, 0.26)
    gap = rng.uniform(0.01, 0.16)
    cloth.both([(0, top), (waist, top), (hip, crotch), (gap + ankle, hem), (gap, hem), (0, crotch)], 1.0, 0)
    cloth.fill([(-waist, top), (waist, top), (hip, crotch), (-hip, crotch)], 1.0, 0)
    cloth.seam([(-waist, top + 0.08), (waist, top + 0.08)], 0.7, 4)
    cloth.seam([(0, top + 0.1), (0, crotch + 0.05)], 0.6, 3)


def _shoe(cloth: Cloth, rng: np.random.Generator, collar: float, heel: float) -> float:
    """Draw a closed shoe pointing left, with its opening at y = `collar`; return the y of the sole."""
    ground = rng.uniform(0.4, 0.62)
    toe, instep = rng.uniform(0.18, 0.34), rng.uniform(-0.05, 0.1)
    back = rng.uniform(0.66, 0.82)
    front = rng.uniform(0.02, 0.22)
    upper = [(-0.88, ground), (-0.86, ground - toe), (-0.5, ground - toe - 0.1), (front - 0.2, instep),
             (front, collar), (back - 0.03, collar), (back, ground - 0.2), (back + 0.03, ground)]  # fmt: skip
    cloth.fill(upper, smooth=2)
    rubber, low = rng.choice((0.45, 0.6, 1.5)), ground + heel
    sole = [(-0.88, ground - 0.06), (back, ground - 0.06 - heel * 0.3), (back, ground + 0.05), (-0.86, ground + 0.05)]
    cloth.fill(sole, rubber, 0)
    if heel:
        cloth.fill([(back - 0.35, ground), (back, ground), (back - 0.04, low), (back - 0.28, low)], rubber, 0)
    return ground


def _sneaker(cloth: Cloth, rng: np.random.Generator) -> None:
    collar = rng.uniform(-0.22, 0.02) if rng.random() < 0.8 else rng.uniform(-0.55, -0.2)
    ground = _shoe(cloth, rng, collar, 0.0)
    lace = 1.5 if cloth.base < 0.6 else 0.5
    for step in range(rng.integers(0, 5)):
        x, y = -0.35 + 0.12 * step, ground - 0.3 - 0.05 * step
        cloth.seam([(x, y - 0.12), (x + 0.12, y)], lace, 3)
    if rng.random() < 0.5:
        cloth.seam([(-0.2, ground - 0.1), (0.35, ground - 0.35), (0.6, ground - 0.2)], rng.choice((0.5, 1.5)), 6)


def _ankle_boot(cloth: Cloth, rng: np.random.Generator) -> None:
    collar = rng.uniform(-0.92, -0.5) if rng.random() < 0.85 else rng.uniform(-0.5, -0.3)
    ground = _shoe(cloth, rng, collar, rng.uniform(0.08, 0.28) if rng.random() < 0.7 else 0.0)
    if rng.random() < 0.5:
        cloth.seam([(0.4, collar + 0.05), (0.45, ground - 0.3)], 0.6, 4)
    if rng.random() < 0.3:
        cloth.seam([(0.05, collar + 0.12), (0.7, collar + 0.12)], 0.6, 5)


def _sandal(cloth: Cloth, rng: np.random.Generator) -> None:
    ground, heel = rng.uniform(0.4, 0.6), rng.uniform(0.0, 0.5) * (rng.random() < 0.6)
    arch = ground - heel * 0.8
    sole = [(-0.88, ground - 0.08), (-0.3, ground - 0.08), (0.3, arch - 0.08), (0.8, arch - 0.1),
            (0.82, arch + 0.04), (0.3, arch + 0.06), (-0.3, ground + 0.06), (-0.86, ground + 0.06)]  # fmt: skip
    cloth.fill(sole, rng.choice((0.6, 1.0, 1.3)))
    if heel:
        cloth.fill([(0.6, arch), (0.82, arch), (0.78, ground + 0.06), (0.68, ground + 0.06)], 1.0, 0)
    high = rng.uniform(-0.5, 0.05)
    for _ in range(rng.integers(2, 6)):
        start, end = rng.uniform(-0.8, 0.1), rng.uniform(-0.1, 0.75)
        crest = (start + end) / 2, 2 * rng.uniform(high, ground - 0.2) - ground
        arc = [(start, ground - 0.05), crest, (end, arch - 0.05)]
        cloth.strap(arc, rng.uniform(0.7, 1.3), int(rng.integers(4, 13)))
    if rng.random() < 0.6:
        cloth.strap([(0.78, arch), (0.85, high), (0.2, high + 0.08)], 1.0, int(rng.integers(4, 9)))


def _bag(cloth: Cloth, rng: np.random.Generator) -> None:
    half, top, bottom = rng.uniform(0.5, 0.88), rng.uniform(-0.45, 0.05), rng.uniform(0.5, 0.85)
    narrow, handle = half * rng.uniform(0.75, 1.0), rng.uniform(-0.95, -0.3)
    if rng.random() < 0.85:
        grip = half * rng.uniform(0.25, 0.8)
        arc = [(-grip, top + 0.1), (0, 2 * handle - top), (grip, top + 0.1)]
        cloth.strap(arc, rng.uniform(0.6, 1.2), int(rng.integers(4, 11)))
    cloth.fill([(-narrow, top), (narrow, top), (half, bottom), (-half, bottom)], 1.0, int(rng.random() < 0.2))
    if rng.random() < 0.5:
        flap = [(-narrow, top), (narrow, top), (narrow * 0.95, 0.3), (-narrow * 0.95, 0.3)]
        cloth.fill(flap, rng.uniform(0.75, 1.15))
    if rng.random() < 0.5:
        cloth.seam([(-0.05, 0.2), (0.05, 0.2)], 1.8 if cloth.base < 0.5 else 0.4, 8)


DRAW = (_t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot)


def _write_idx(path: Path, array: np.ndarray) -> None:
    """Write uint8 as IDX, plain and gzipped: two zero bytes, 8 for uint8, number of dimensions, sizes, values."""
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(data)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, mtime=0))
