"""Data for the benchmarks: real files if `--data` has them, otherwise generated ones in the same layouts."""

from pathlib import Path

import numpy as np
from PIL import Image

from imagier.synthetic import garments, leaves, materials, streets


def fashion_mnist(data: Path | None, folder: Path) -> Path:
    """Return a folder with Fashion-MNIST's files."""
    if data and (data / "FashionMNIST").is_dir():
        return data
    root = folder / "garments"
    if not root.is_dir():
        garments.generate(root)
    return root


def small_photographs(data: Path | None, folder: Path) -> Path:
    """Return a folder of small photographs, one folder per class: objects32/, or 25,000 generated 32x32 JPEG files."""
    if data and (data / "objects32").is_dir():
        return data / "objects32"
    root = folder / "objects"
    if not root.is_dir():
        materials.generate(folder / "materials")
        pictures = sorted((folder / "materials").rglob("*.*"))
        for number in range(25_000):
            path = pictures[number % len(pictures)]
            target = root / path.parent.name / f"{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).convert("RGB").resize((32, 32)).rotate(number % 360).save(target, quality=90)
    return root


def photographs(data: Path | None, folder: Path) -> Path:
    """Return a folder of photographs: photos/, or 300 generated PNG files of 481x321 pixels."""
    if data and (data / "photos").is_dir():
        return data / "photos"
    root = folder / "leaves"
    if not root.is_dir():
        leaves.generate(root, count=300, size=(321, 481))
    return root


def frames(folder: Path, count: int) -> Path:
    """Generate 2048x1024 street scenes with masks in Cityscapes' layout, with camera-like noise."""
    root = folder / "frames"
    if root.is_dir():
        return root
    streets.generate(folder / "small", train=count, val=2, test=1, size=(256, 512))
    for path in sorted((folder / "small").rglob("*.png")):
        picture = Image.open(path)
        large = picture.resize(
            (2048, 1024), Image.Resampling.NEAREST if picture.mode in "LP" else Image.Resampling.BICUBIC
        )
        if picture.mode == "RGB":  # noise-free images would decode faster than real ones
            noise = np.random.default_rng(len(path.name)).normal(0, 2.5, (1024, 2048, 3))
            large = Image.fromarray(np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8))
        target = root / path.relative_to(folder / "small")
        target.parent.mkdir(parents=True, exist_ok=True)
        large.save(target)
    return root
