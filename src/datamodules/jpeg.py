"""Decodes plain JPEG files, which nearly all are, several times faster than Pillow.

simplejpeg and Pillow both use libjpeg-turbo, here with the same settings, so that their pixels are equal; Pillow spends
its time on everything else that a file could be. Files that are not plain are left to it.
"""

import numpy as np
import simplejpeg

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
_EXIF, _ADOBE = b"\xff\xe1", b"\xff\xee"  # markers, which entropy-coded data never contains
_PLAIN = {("YCbCr", 3), ("Gray", 3), ("Gray", 1)}
_MOST_PIXELS = 50_000_000  # larger images are left to Pillow, which enforces its own limit


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return the (height, width) that a JPEG file's header declares; (0, 0) if libjpeg does not read it."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return 0, 0
    return height, width


def decode_jpeg(data: bytes, channels: int) -> np.ndarray | None:
    """Decode a plain JPEG file: uint8 [H, W, channels], RGB or grey; None if it is left to Pillow.

    Plain is a complete, undamaged file of colour with `channels` of 3, or of grey with 1 or 3, without Exif data (which
    may hold an orientation) and without an Adobe segment (which may state another colour transform).
    """
    if data[:2] != _BEGIN or data[-2:] != _END or _EXIF in data or _ADOBE in data:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if (space, channels) not in _PLAIN or height * width > _MOST_PIXELS:
            return None
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            data, "RGB" if channels == 3 else "Gray", fastdct=False, fastupsample=False
        )
    except ValueError:  # damaged, or not supported
        return None
    return pixels
