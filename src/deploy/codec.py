"""Pictures as small files, and back: a codec in use."""

import numpy as np
import torch

from imagier.errors import ConfigError
from imagier.models.bitstream import compress, decompress
from imagier.models.coded import Codec
from imagier.models.pixels import FromPixels

SUFFIX = ".imgr"


class PictureCodec:
    """Writes and reads files of one net.

    Args:
        net: of task `compress`, in evaluation.
        threads: that compute, of the whole process; None leaves them as they are.

    Raises:
        ConfigError: the net is no codec.
    """

    def __init__(self, net: FromPixels, threads: int | None = None) -> None:
        if not isinstance(net.net, Codec):
            raise ConfigError(
                f"{type(net.net).__name__} is no codec: compress and decompress need a checkpoint of task=compress."
            )
        self.net, self.channels, self.qualities = net, len(net.mean), len(net.net.lambdas)
        if threads:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def compress(self, image_HWC: np.ndarray, quality: int | None = None) -> bytes:
        """Return the file of a picture.

        Args:
            image_HWC: uint8, with the net's channels.
            quality: 1, the smallest files, to `qualities`, the best pictures; None: the middle one.

        Raises:
            ConfigError: the net has no such quality.
            DataError: the picture is empty or too large.
        """
        image_CHW = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))
        return compress(self.net, image_CHW, self.rate(quality))

    def rate(self, quality: int | None) -> int:
        """The index of the net's rate that a quality means. Raises ConfigError where there is none."""
        if quality is None:
            return self.qualities // 2
        if not 1 <= quality <= self.qualities:
            raise ConfigError(f"quality={quality} is out of range: this net has the qualities 1 to {self.qualities}.")
        return quality - 1

    @torch.inference_mode()
    def decompress(self, data: bytes) -> np.ndarray:
        """Return the pixels, uint8 [H, W, C], of a file that `compress` wrote with this net.

        Raises:
            DataError: it is of another kind, damaged, or written with another net.
        """
        image_CHW = decompress(self.net, data)
        return np.ascontiguousarray(image_CHW.numpy().transpose(1, 2, 0))
