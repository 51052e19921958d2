"""Reads masks: image files with one 8-bit number per pixel."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from imagier.datamodules.image_file import FORMATS, turned_upright
from imagier.errors import DataError

SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})  # of lossless formats

_MENDED = {
    **dict.fromkeys(("I", "I;16", "I;16B", "I;16L", "F"), "Save it with 8 bits per pixel."),
    **dict.fromkeys(("LA", "PA"), "Save it without transparency."),
    "1": "Save it with 8 bits per pixel, 0 and 1.",
}


def read_mask(path: Path, cure: str, white: int | None = None) -> np.ndarray:
    """Read a mask as uint8 [H, W], turned upright like its image; a palette's indices count, not its colours.

    Args:
        path: the mask file.
        cure: sentence that says what to use instead of a colour image.
        white: value of a set bit, if masks of one bit per pixel are accepted; black is 0. None refuses them.

    Raises:
        DataError: the file is missing, corrupt, too large, coloured, or holds values outside 0 to 255.
    """
    try:
        # From memory, as in `decode_image`: Pillow turns a memory-mapped TIFF twice.
        with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as mask:
            return _values(mask, path, cure, white)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing; each image needs its mask. Restore it, remove the image, or skip such pairs with "
            "data.on_error=skip."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path} is too large: {error} Cut it into tiles or scale it down, together with its image."
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image, or an empty file; restore it from its source.") from error
    except DataError:
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything, even SyntaxError
        raise DataError(f"{path} cannot be decoded, probably damaged or truncated: {error}. Restore it.") from error


def _values(mask: Image.Image, path: Path, cure: str, white: int | None) -> np.ndarray:
    if (numbers := _numbers(mask)) is not None:
        return numbers
    if mask.mode not in (("L", "P") if white is None else ("1", "L", "P")):
        mended = _MENDED.get(mask.mode, f"Was a colour image saved instead? {cure}")
        raise DataError(
            f"{path} has pixels of mode {mask.mode}, but a mask has one 8-bit number per pixel (L or P). {mended}"
        )
    mask.load()
    upright = turned_upright(mask)
    values = np.array(upright, np.uint8)
    return values * np.uint8(white) if white is not None and upright.mode == "1" else values


def _numbers(mask: Image.Image) -> np.ndarray | None:
    """Return an RGB or integer mask that still holds one 8-bit number per pixel, uint8 [H, W], upright; else None."""
    if mask.mode != "RGB" and not mask.mode.startswith("I"):
        return None
    mask.load()
    values = np.asarray(turned_upright(mask))
    if mask.mode == "RGB":
        grey = (values == values[:, :, :1]).all()
        return np.array(values[:, :, 0]) if grey else None
    return values.astype(np.uint8) if values.min() >= 0 and values.max() < 256 else None
