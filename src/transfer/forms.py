"""The forms in which an image can be sent: PNG, JPEG, WebP, AVIF, and a codec's files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from imagier.deploy.codec import PictureCodec
from imagier.training.image_formats import RIVALS, ImageFormat, decode

PNG = ImageFormat("PNG", ())


@dataclass(frozen=True)
class Form:
    """One form at one quality.

    name:    of the format, or of the codec's network.
    quality: on the format's own scale; None: it has none.
    encode:  maps uint8 [H, W, C] to the bytes of a file.
    decode:  maps these bytes to uint8 [H, W, C].
    """

    name: str
    quality: int | None
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]


def forms_for(codec: PictureCodec) -> list[Form]:
    """Return the codec at each of its qualities, then PNG, then JPEG, WebP and AVIF at theirs, as written by Pillow."""
    own = [
        Form(codec.description.name, quality, partial(codec.compress, quality=quality), codec.decompress)
        for quality in range(1, codec.qualities + 1)
    ]
    read = partial(decode, channels=codec.channels)
    others = [
        Form(name, quality, partial(rival.encode, quality=quality), read)
        for name, rival in RIVALS.items()
        for quality in rival.qualities
    ]
    return [*own, Form("PNG", None, PNG.encode, read), *others]
