"""Reads one image from one file, of any colour mode, as uint8 with one or three channels."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import (
    AvifImagePlugin,  # noqa: F401
    ExifTags,
    Image,
    Jpeg2KImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from imagier.datamodules.jpeg import decode_jpeg
from imagier.errors import DataError

# Suffixes that folders are searched for, in lower case. Pillow knows more, but few that are used for photographs.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
# Formats that are decoded. Pillow knows others: EPS, which Ghostscript executes, and some that hold no raster image.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_AT_ONCE = 1 << 16  # bytes per read
_FAINT = 1 << 12  # values of a 12-bit sensor lie below it
_CURE = "Replace or delete the file."


def read_image(path: str | Path, channels: int) -> np.ndarray:
    """Decode the image at `path` as a viewer shows it: uint8 [H, W, channels], RGB or grey, writable.

    - EXIF orientation is applied.
    - Transparency, including that of a palette, is blended with white: the colour of transparent pixels is arbitrary.
    - 16-bit grey is divided by 257 and rounded, so that 65535 becomes 255 and 257 becomes 1.
    - Colour becomes grey by the luma of ITU-R 601-2; CMYK becomes RGB without applying its colour profile.
    - Of an animation or a multi-page file, the first image is read.

    Args:
        path: a file in one of FORMATS, detected from its content, not its suffix.
        channels: 3 for RGB, 1 for grey.

    Raises:
        DataError: the file is missing, empty, truncated, not an image, larger than Pillow allows (about 179 million
            pixels), or holds 32-bit or floating-point pixels without a known white level.
    """
    try:
        data = _content(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Restore the file or its permissions.") from error
    return decode_image(data, path, channels)


def decode_image(data: bytes, name: str | Path, channels: int) -> np.ndarray:
    """Decode the bytes of a file as `read_image` does; `name` identifies it in errors."""
    if not data:
        raise DataError(f"{name} is empty (0 bytes), as after an interrupted copy. {_CURE}")
    if (pixels := decode_jpeg(data, channels)) is not None:
        return pixels
    try:
        # From memory: opened by path, Pillow memory-maps an uncompressed TIFF and then applies its orientation twice.
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            return pixels_of(image, channels)
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} is too large: {error} Cut it into tiles or scale it down.") from error
    except UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*"):
            raise DataError(
                f"{name} is an unsupported kind of TIFF, such as floating-point RGB. Save it with 8 bits per channel."
            ) from error
        raise DataError(f"{name} is not an image in one of the formats {', '.join(FORMATS)}. {_CURE}") from error
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything, even SyntaxError
        raise DataError(f"{name} cannot be decoded, probably damaged or truncated: {error}. {_CURE}") from error


def told_of(path: Path) -> str | None:
    """Describe a pitfall of an image file: several images, or 16 bits of which few are used; None if there is none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if (count := getattr(image, "n_frames", 1)) > 1:
                return f"holds {count} images, of which only the first is read"
            if image.mode.startswith("I;16") and (most := int(np.asarray(image).max())) < _FAINT:
                return f"has 16 bits per pixel, none above {most} of 65535, so it is read as nearly black: scale it"
    except Exception:  # whatever is wrong, `read_image` reports it
        return None
    return None


def picture_size(path: Path) -> tuple[int, int] | None:
    """Return (height, width) as `read_image` would, from the file's header alone; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose `size` is already rotated
                width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
            return (width, height) if turned else (height, width)
    except Exception:  # whatever is wrong, `read_image` reports it
        return None


def _content(path: str | Path) -> bytes:
    # os.open: creating a Path and a file object takes longer than reading a small image.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        parts = []
        while part := os.read(file, _AT_ONCE):
            parts.append(part)
    finally:
        os.close(file)
    return b"".join(parts)


def pixels_of(image: Image.Image, channels: int) -> np.ndarray:
    """Convert a Pillow image to upright uint8 [H, W, channels], as `read_image` does, with its errors."""
    image.load()  # for TIFF, this already applies the orientation, and then drops it
    image = turned_upright(image, _eight_bits(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "RGB" if channels == 3 else "L"
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    return pixels if channels == 3 else pixels[:, :, None]


def turned_upright(image: Image.Image, pixels: Image.Image | None = None) -> Image.Image:
    """Apply the EXIF orientation of the loaded `image` to `pixels`, or to the image itself if None."""
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    pixels = image if pixels is None else pixels
    return pixels if turn is None else pixels.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    # Of 32-bit images, only PGM states its white level, which Pillow scales to 65535.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise DataError(
            f"holds {kind} pixels without a known value for white. Scale the image and save it with 8 or 16 bits."
        )
    return image
