"""Convert an image given as path, bytes, array or PIL image to uint8 [H, W, C]."""

from pathlib import Path

import numpy as np
from PIL import Image

from imagier.datamodules.image_file import decode_image, pixels_of, read_image
from imagier.errors import DataError

Given = str | Path | bytes | np.ndarray | Image.Image


def to_pixels(given: Given, channels: int) -> np.ndarray:
    """Return the image as uint8 [H, W, channels], RGB or grey, decoded as in training.

    Args:
        given: the path or the bytes of a file, a PIL image, or an array uint8 [H, W], [H, W, 1] (grey) or [H, W, 3]
            (RGB).
        channels: 3 or 1.

    Raises:
        DataError: the file cannot be read, `given` is not an image, or the array has another dtype or shape.
    """
    if isinstance(given, str | Path):
        return read_image(given, channels)
    if isinstance(given, bytes | bytearray):
        return decode_image(bytes(given), "the image", channels)
    if isinstance(given, Image.Image):
        return pixels_of(given, channels)
    if not isinstance(given, np.ndarray):
        raise DataError(
            f"an image cannot be given as {type(given).__name__}: give a path, bytes, an array or a PIL image."
        )
    return _of_array(given, channels)


def _of_array(given: np.ndarray, channels: int) -> np.ndarray:
    image_HWC = given[:, :, None] if given.ndim == 2 else given
    if given.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] not in (1, 3) or not given.size:
        raise DataError(
            f"an image cannot be given as {given.dtype} {list(given.shape)}: give uint8 [H, W], [H, W, 1] or [H, W, "
            "3], with values of 0 to 255."
        )
    if image_HWC.shape[2] == channels:
        return image_HWC
    if channels == 3:
        return np.repeat(image_HWC, 3, axis=2)
    return pixels_of(Image.fromarray(image_HWC), channels)
