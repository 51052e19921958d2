"""Two small networks, one that halves the sides of an image and one that doubles them again, without entropy coding.

    encoder: image -> conv 5x5 to `width`, ReLU -> 2x2 max-pooling -> conv 5x5 to the image's channels
    decoder: codes -> conv 5x5 to `width`, ReLU -> x2 upsampling -> conv 5x5 to the image's channels

Codes are stored as bytes: 2 bits per pixel and channel. With width 64 and grey images each has 3,265 parameters.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from imagier.errors import ConfigError, DataError
from imagier.models.arguments import check_minimum
from imagier.models.coded import Codec, Coded
from imagier.models.entropy_models import lower_bound, round_through, to_numpy
from imagier.models.weights import initialize, load_weights


class Pair(Codec):
    """Code images, float [B, in_channels, H, W] of 0 to 1, in a quarter of their bytes.

    Args:
        in_channels: channels of the image.
        width: channels of the hidden layers.
        lambdas: a single trade-off, which does not change the files: their size depends only on that of the image.
        weights: None to train from scratch, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    stride = 2

    def __init__(
        self, in_channels: int, width: int = 64, lambdas: Sequence[float] = (0.01,), weights: str | None = None
    ) -> None:
        super().__init__(lambdas)
        if len(self.lambdas) > 1:
            raise ConfigError(
                f"model.lambdas={list(self.lambdas)}: pair has a single rate, one byte per four pixels; give one "
                "number."
            )
        check_minimum("width", width)
        self.in_channels = in_channels
        self.encoder = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, in_channels, 5, padding=2),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(width, in_channels, 5, padding=2),
        )
        for first, last in ((self.encoder[0], self.encoder[-1]), (self.decoder[0], self.decoder[-1])):
            initialize(first)
            assert isinstance(last.bias, Tensor)
            nn.init.constant_(last.bias, 0.5)  # the middle of the range of codes and grey values, 0 to 1
        load_weights(self, weights)

    def relaxed(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """See `Codec`; codes are rounded with a straight-through gradient, and the bits, a constant, have none."""
        level_BChw = self._levels(image_BCHW)
        rounded_BChw = round_through(level_BChw)
        return Coded(self.decoder(rounded_BChw / 255), self._bits(level_BChw))

    def measured(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """See `Codec`."""
        level_BChw = self._levels(image_BCHW).round()
        return Coded(self.synthesise(level_BChw, rate_B).to(image_BCHW), self._bits(level_BChw))

    def analyse(self, image_BCHW: Tensor, rate_B: Tensor) -> tuple[Tensor, ...]:
        """See `Codec`."""
        return (self._levels(image_BCHW),)

    def synthesis_at(self, rate_B: Tensor) -> tuple[nn.Sequential, Tensor]:
        """See `Codec`."""
        return self.decoder, torch.full((1, 1, 1, 1), 255.0, device=rate_B.device)

    def write(self, analysed: Sequence[Tensor], rate: int) -> bytes:
        """See `Codec`."""
        (levels,) = self.rounded(analysed, rate)
        return levels.astype(np.uint8).tobytes()

    def rounded(self, analysed: Sequence[Tensor], rate: int) -> tuple[np.ndarray, ...]:
        """See `Codec`."""
        (level_1Chw,) = analysed
        return (to_numpy(level_1Chw.nan_to_num().round().clamp(0, 255)),)

    def read(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """See `Codec`."""
        shape = (1, self.in_channels, height // 2, width // 2)
        levels = np.frombuffer(data, np.uint8)
        if levels.size != np.prod(shape):
            raise DataError(
                f"The compressed image has {levels.size} bytes, but an image of {height} x {width} has "
                f"{np.prod(shape)}: it is truncated or from another network. Compress the image again."
            )
        return torch.from_numpy(levels.reshape(shape).astype(np.float32))

    def _levels(self, image_BCHW: Tensor) -> Tensor:
        """Return the codes before rounding, float32, 0 to 255."""
        code_BChw = self.encoder(image_BCHW).float()
        return -lower_bound(-lower_bound(code_BChw * 255, 0.0), -255.0)

    @staticmethod
    def _bits(level_BChw: Tensor) -> Tensor:
        return torch.full((len(level_BChw),), 8.0 * level_BChw[0].numel(), device=level_BChw.device)
