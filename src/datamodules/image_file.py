"""One picture from one file: whatever its colour mode, it becomes uint8 with one or three channels."""

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

# What a folder is searched for, in lower case. Pillow knows more suffixes, but few that people keep pictures under.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
# What is decoded. Pillow knows others: EPS, which a Ghostscript executes, and such as hold no picture of pixels.
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
_AT_ONCE = 1 << 16  # bytes
_FAINT = 1 << 12  # of 16 bits: a sensor's of twelve use no more
_CURE = "Replace or delete the file."


def read_image(path: str | Path, channels: int) -> np.ndarray:
    """Decode the picture at `path` as a viewer shows it: uint8 [H, W, channels], RGB or grey, writable.

    - EXIF orientation is applied.
    - Transparency, also that of a palette, is laid on white: the colour beneath transparent pixels is arbitrary.
    - 16-bit grey is divided by 257 and rounded, so that 65535 becomes 255 and 257 becomes 1.
    - Colour becomes grey by the luma of ITU-R 601-2; CMYK becomes RGB without regard to its colour profile.
    - Of an animation, or of a file of many pages, the first picture counts.

    Args:
        path: a file in one of FORMATS; its content counts, not its suffix.
        channels: 3 for RGB, 1 for grey.

    Raises:
        DataError: the file is missing, empty, cut short, no picture, larger than Pillow admits (some 179 million
            pixels), or holds 32-bit or floating-point pixels, of which nothing tells what is white.
    """
    try:
        data = _content(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Restore the file or its permissions.") from error
    return decode_image(data, path, channels)


def decode_image(data: bytes, name: str | Path, channels: int) -> np.ndarray:
    """Decode the bytes of a file, as `read_image` does; `name` is what errors call it."""
    if not data:
        raise DataError(f"{name} is empty (0 bytes), as after an interrupted copy. {_CURE}")
    if (pixels := decode_jpeg(data, channels)) is not None:
        return pixels
    try:
        # From memory, because Pillow maps an uncompressed TIFF into memory from its path and then turns it twice.
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
    """What a reader of pictures may not think of: several in a file, or 16 bits of which few are used; or None."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if (count := getattr(image, "n_frames", 1)) > 1:
                return f"holds {count} images, of which only the first is read"
            if image.mode.startswith("I;16") and (most := int(np.asarray(image).max())) < _FAINT:
                return f"has 16 bits per pixel, none above {most} of 65535, so it is read as nearly black: scale it"
    except Exception:  # whatever is wrong, reading it will say so
        return None
    return None


def picture_size(path: Path) -> tuple[int, int] | None:
    """(height, width) as `read_image` will find them, from the head of the file alone; None where it cannot be told."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose `size` is turned already
                width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
            return (width, height) if turned else (height, width)
    except Exception:  # whatever is wrong, reading it will say so
        return None


def _content(path: str | Path) -> bytes:
    # Neither a Path nor a file object, which take longer to make than a small picture takes to read.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        parts = []
        while part := os.read(file, _AT_ONCE):
            parts.append(part)
    finally:
        os.close(file)
    return b"".join(parts)


def pixels_of(image: Image.Image, channels: int) -> np.ndarray:
    """A picture of Pillow's, turned upright and brought to uint8 [H, W, channels], as `read_image` says."""
    image.load()  # of TIFF, Pillow turns the picture itself while it does, and forgets the orientation
    image = turned_upright(image, _eight_bits(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "RGB" if channels == 3 else "L"
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    return pixels if channels == 3 else pixels[:, :, None]


def turned_upright(image: Image.Image, pixels: Image.Image | None = None) -> Image.Image:
    """`pixels`, or else the picture itself, turned as the orientation in the loaded picture's file says."""
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    pixels = image if pixels is None else pixels
    return pixels if turn is None else pixels.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    # Of 32-bit files only PGM states its white; Pillow has then scaled it to 65535.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise DataError(
            f"holds {kind} pixels without a known value for white. Scale the image and save it with 8 or 16 bits."
        )
    return image
