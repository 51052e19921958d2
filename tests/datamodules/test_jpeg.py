"""The fast JPEG decoder, against Pillow."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from imagier.datamodules.jpeg import decode_jpeg


def encoded(height: int, width: int, channels: int = 3, **options: Any) -> bytes:
    rng = np.random.default_rng(height * width)
    shape = (height, width, 3) if channels == 3 else (height, width)
    picture = Image.fromarray(rng.integers(0, 256, shape, np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **options)
    return stream.getvalue()


def pillow(data: bytes, channels: int) -> np.ndarray:
    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)


@pytest.mark.parametrize("size", [(1, 1), (31, 45), (200, 301)])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pixels_are_pillows(size: tuple[int, int], progressive: bool, subsampling: int) -> None:
    for quality in (20, 75, 95):
        data = encoded(*size, quality=quality, progressive=progressive, subsampling=subsampling)
        decoded = decode_jpeg(data, 3)
        assert decoded is not None
        assert np.array_equal(decoded, pillow(data, 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_files(channels: int) -> None:
    data = encoded(33, 20, channels=1, comment="a marker more", icc_profile=b"profile", dpi=(300, 300))
    decoded = decode_jpeg(data, channels)
    assert decoded is not None
    assert decoded.flags.writeable
    assert np.array_equal(decoded, pillow(data, channels))


def test_what_is_not_plain_is_left_to_pillow() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    cmyk = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(cmyk, "JPEG")
    whole = encoded(40, 40)
    assert decode_jpeg(whole, 3) is not None
    assert decode_jpeg(whole, 1) is None  # libjpeg converts colour to grey differently from Pillow
    assert decode_jpeg(encoded(40, 40, exif=turned), 3) is None
    assert decode_jpeg(cmyk.getvalue(), 3) is None
    for damaged in (b"", b"\xff\xd8", whole[:-2], whole[: len(whole) // 2], b"GIF89a" + whole, b"\xff\xd8\xff\xd9"):
        assert decode_jpeg(damaged, 3) is None


def test_every_changed_header_byte_is_survived() -> None:
    whole = bytearray(encoded(16, 16))
    for place in range(2, 200):
        changed = bytes(whole[:place]) + bytes([whole[place] ^ 0x5A]) + bytes(whole[place + 1 :])
        decoded = decode_jpeg(changed, 3)
        assert decoded is None or decoded.shape[2] == 3
