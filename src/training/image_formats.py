"""The image formats that a net is measured against: JPEG, WebP and AVIF, by the bytes that Pillow writes."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ImageFormat:
    """An image format and how it is written.

    name:      Pillow's.
    qualities: at which its curve is drawn, ascending: from a tenth of a bit to two bits per pixel.
    options:   others of Pillow's for writing.
    best:      the greatest of its qualities that loses something.
    """

    name: str
    qualities: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    best: int = 95

    def encode(self, image_HWC: np.ndarray, quality: int | None = None) -> bytes:
        """Return the file of a picture, uint8 [H, W, 1 or 3]; a format without loss has no quality."""
        picture = image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC
        options = self.options if quality is None else {"quality": quality, **self.options}
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, self.name, **options)
        return buffer.getvalue()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures, uint8 of one shape, in dB: 100 at most, where they are identical."""
    return min(cv2.PSNR(one, other), 100.0)


def decode(data: bytes, channels: int) -> np.ndarray:
    """Return the picture in a file, uint8 [H, W, channels]."""
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


JPEG = ImageFormat(
    "JPEG", (5, 12, 25, 45, 70, 87), {"optimize": True}
)  # tables made for the picture: the fairest rival
WEBP_LONGEST = 16383  # pixels of a side that WebP can hold, the least of all
RIVALS: dict[str, ImageFormat] = {
    "JPEG": JPEG,
    "WebP": ImageFormat("WEBP", (1, 12, 30, 55, 75, 88), best=100),
    "AVIF": ImageFormat("AVIF", (10, 22, 35, 48, 62, 76), best=100),
}


def best_within(form: ImageFormat, image_HWC: np.ndarray, size: int) -> tuple[bytes, int]:
    """Return the best file of at most `size` bytes and its quality; the smallest of all where none is so small."""
    low, high = 1, form.best
    best = form.encode(image_HWC, low)
    while low < high:  # `best` has the quality `low`
        middle = (low + high + 1) // 2
        data = form.encode(image_HWC, middle)
        if len(data) <= size:
            low, best = middle, data
        else:
            high = middle - 1
    return best, low
