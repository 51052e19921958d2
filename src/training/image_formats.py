"""The image formats that codecs are compared with: JPEG, WebP and AVIF, as written by Pillow."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ImageFormat:
    """An image format and its encoder settings.

    name:      Pillow's name of the format.
    qualities: quality settings of its rate-distortion curve, ascending: about 0.1 to 2 bits per pixel.
    options:   further options of Pillow's encoder.
    best:      highest quality setting that `best_within` tries.
    """

    name: str
    qualities: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    best: int = 95

    def encode(self, image_HWC: np.ndarray, quality: int | None = None) -> bytes:
        """Encode an image, uint8 [H, W, 1 or 3]; leave `quality` out for lossless formats."""
        picture = image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC
        options = self.options if quality is None else {"quality": quality, **self.options}
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, self.name, **options)
        return buffer.getvalue()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two uint8 images of one shape in dB, at most 100 (identical)."""
    return min(cv2.PSNR(one, other), 100.0)


def decode(data: bytes, channels: int) -> np.ndarray:
    """Decode a file's bytes to an image, uint8 [H, W, channels], with 1 or 3 channels."""
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


JPEG = ImageFormat(
    "JPEG", (5, 12, 25, 45, 70, 87), {"optimize": True}
)  # Huffman tables optimised for the image: the fairest rival
WEBP_LONGEST = 16383  # maximum pixels per side in WebP, the lowest limit of the formats
RIVALS: dict[str, ImageFormat] = {
    "JPEG": JPEG,
    "WebP": ImageFormat("WEBP", (1, 12, 30, 55, 75, 88), best=100),
    "AVIF": ImageFormat("AVIF", (10, 22, 35, 48, 62, 76), best=100),
}


def best_within(form: ImageFormat, image_HWC: np.ndarray, size: int) -> tuple[bytes, int]:
    """Return the file of highest quality with at most `size` bytes, and its quality; the lowest if none fits."""
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
