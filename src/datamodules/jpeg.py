"""The JPEG files that nearly all JPEG files are, decoded several times faster than through Pillow.

OpenCV and Pillow both use libjpeg-turbo with equal settings, so that their pixels are the same; what Pillow needs time
for is everything else that a file could be. Whatever is not plain is left to it.
"""

import cv2
import numpy as np

_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive; Huffman-coded
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_EXIF, _ADOBE, _SCAN = 0xE1, 0xEE, 0xDA
_MOST_PIXELS = 50_000_000  # Pillow warns of pictures that are larger


def decode_jpeg(data: bytes, channels: int) -> np.ndarray | None:
    """Decode a plain JPEG file: uint8 [H, W, channels], RGB or grey; None where Pillow should have a look.

    Plain is a whole file of 8-bit RGB or grey, with `channels` of 3, or 1 where it is grey, that asks for no turning
    (Exif) and states no colour transform of its own (Adobe).
    """
    components = _components(data)
    if components is None or channels < components:
        return None
    flags = cv2.IMREAD_COLOR if components == 3 else cv2.IMREAD_GRAYSCALE
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if pixels is None:
        return None
    if components == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return np.repeat(pixels[:, :, None], channels, axis=2)


def _components(data: bytes) -> int | None:
    """Components of a plain file, 1 or 3, from its markers (ITU T.81, annex B); None where it is not plain."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return None
    place, components = 2, None
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _NO_LENGTH:
            place += 2
            continue
        if marker == _SCAN:
            return components
        if marker in (_EXIF, _ADOBE):
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = int.from_bytes(data[place + 5 : place + 7]), int.from_bytes(data[place + 7 : place + 9])
            plain = marker in _FRAMES and data[place + 4] == 8 and 0 < height * width <= _MOST_PIXELS
            components = data[place + 9] if plain and data[place + 9] in (1, 3) else None
            if components is None:
                return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None
