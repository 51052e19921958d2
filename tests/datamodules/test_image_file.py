import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier.datamodules.image_file import picture_size, pixels_of, read_image
from imagier.errors import DataError

GREY_HW = np.array([[0, 40, 80], [120, 160, 200]], np.uint8)
COLOR_HWC = np.array([[[10, 20, 30], [200, 100, 0]]], np.uint8)
# What a viewer shows of GREY_HW for each EXIF orientation (CIPA DC-008, 4.6.4 A).
UPRIGHT = {
    1: [[0, 40, 80], [120, 160, 200]],
    2: [[80, 40, 0], [200, 160, 120]],
    3: [[200, 160, 120], [80, 40, 0]],
    4: [[120, 160, 200], [0, 40, 80]],
    5: [[0, 120], [40, 160], [80, 200]],
    6: [[120, 0], [160, 40], [200, 80]],
    7: [[200, 80], [160, 40], [120, 0]],
    8: [[80, 200], [40, 160], [0, 120]],
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY_HW).save(tmp_path / f"a.{suffix}", exif=exif, lossless=True)
    assert read_image(tmp_path / f"a.{suffix}", 1)[:, :, 0].tolist() == UPRIGHT[orientation]
    assert picture_size(tmp_path / f"a.{suffix}") == np.shape(UPRIGHT[orientation])
    # Not loaded yet, and opened from memory: from its path, Pillow 12.3 mixes up the pixels of such a TIFF.
    with Image.open(io.BytesIO((tmp_path / f"a.{suffix}").read_bytes())) as image:
        assert pixels_of(image, 1)[:, :, 0].tolist() == UPRIGHT[orientation]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_and_rounded(tmp_path: Path, suffix: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    got = read_image(tmp_path / f"a.{suffix}", 1)[:, :, 0]
    assert got.dtype == np.uint8
    assert np.array_equal(got, np.rint(values / 257).astype(np.uint8))


def test_sixteen_bits_as_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.array([[65535, 257]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 3).tolist() == [[[255] * 3, [1] * 3]]


@pytest.mark.parametrize(
    ("mode", "color", "rgb"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (100, 255), (100, 100, 100)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBA", (9, 9, 9, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_color_modes(tmp_path: Path, mode: str, color: int | tuple[int, ...], rgb: tuple[int, ...]) -> None:
    Image.new(mode, (3, 2), color).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", 3)
    assert image.shape == (2, 3, 3)
    assert image[1, 2].tolist() == list(rgb)
    assert image.flags.writeable
    grey = read_image(tmp_path / "a.tif", 1)
    assert grey.shape == (2, 3, 1)
    assert abs(int(grey[0, 0, 0]) - np.dot(rgb, [0.299, 0.587, 0.114])) <= 1


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", 3).min() >= 254


def test_transparent_palette_and_transparent_color_become_white(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "opaque.png")
    palette.save(tmp_path / "palette.png", transparency=0)
    palette.save(tmp_path / "palette.gif", transparency=0)
    Image.fromarray(COLOR_HWC).save(tmp_path / "color.png", transparency=(10, 20, 30))
    assert read_image(tmp_path / "opaque.png", 3).tolist() == COLOR_HWC.tolist()
    for name in ("palette.png", "palette.gif", "color.png"):
        assert read_image(tmp_path / name, 3).tolist() == [[[255, 255, 255], [200, 100, 0]]], name


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.gif", 3)[0, 0].tolist() == [255, 0, 0]


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(COLOR_HWC).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(read_image(tmp_path / "a.jpg", 3), COLOR_HWC)


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_encoded("JPEG")[:2000], "truncated"),
        (_encoded("PNG")[:2000], "truncated"),
        (_encoded("TIFF")[:2000], "truncated"),
        (_encoded("PNG")[:3000] + b"x" * 20 + _encoded("PNG")[3020:], "cannot be decoded"),
        (b"", "empty"),
        (b"not a picture at all", "not an image"),
    ],
)
def test_damaged_files_are_named_with_a_cure(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_image(path, 3)
    assert str(path) in str(caught.value)
    assert "Replace or delete the file." in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
        read_image(tmp_path / "gone.png", 3)
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path, 3)


@pytest.mark.parametrize(("dtype", "said"), [(np.int32, "32-bit"), (np.float32, "floating-point")])
def test_pixels_without_a_known_white_are_refused(tmp_path: Path, dtype: type, said: str) -> None:
    Image.fromarray(GREY_HW.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif holds {said} pixels"):
        read_image(tmp_path / "a.tif", 1)


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GREY_HW).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(DataError, match="too large"):
        read_image(tmp_path / "a.png", 1)
