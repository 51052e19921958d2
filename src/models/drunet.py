"""DRUNet, after Zhang et al. 2021, arXiv 2008.13751: a residual U-Net without biases.

    image -> unshuffle, C(w0) -> R.. ----------------------- + -> R.. -> C(4 x image) -> shuffle, + image
                                  down -> R.. --------- + -> R.. -> up
                                           down -> R.. -> up

C is a padded 3x3 convolution, R a residual block (C, ReLU, C), down a 2x2 convolution of stride 2, up its transpose.
Deviations: the network is blind, that is, does not get the noise level as an input; it works at half resolution, with
2x2 pixels as channels (Shi et al. 2016, arXiv 1609.05158), which makes it four times as fast; skip connections add a
level's output after upsampling, where the paper adds its input before; and the output is added to the image. Without
any bias, f(a x) = a f(x) for a > 0, so that it generalises to noise levels it was not trained on (Mohan et al. 2020,
arXiv 1906.05478). With widths 32, 64, 128, depth 2 and RGB: 1,047,296 parameters.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_minimum
from imagier.models.views import over_symmetries
from imagier.models.weights import load_weights

UNSHUFFLE = 2  # side of the cells of pixels that become channels


class DRUNet(nn.Module):
    """Map noisy images, float [B, in_channels, H, W] of about 0 to 1, to denoised images of the same shape.

    Args:
        in_channels: channels of the image.
        widths: channels of each level, at least one; each level halves the sides of the one before, and H and W must be
            multiples of `stride` = 2 ** len(widths).
        depth: residual blocks per level, in the encoder and in the decoder each; the paper has 4.
        symmetries: in evaluation, average over the eight rotations and reflections of the image.
        weights: None to start as the identity, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    unit_range = True

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = (32, 64, 128),
        depth: int = 2,
        symmetries: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.symmetries = symmetries
        if isinstance(widths, str | int) or not widths:
            raise ConfigError(f"model.widths={widths} is not a list: give the channels of each level, as in [32,64].")
        for width in widths:
            check_minimum("widths", width)
        check_minimum("depth", depth)
        self.stride = UNSHUFFLE * 2 ** (len(widths) - 1)
        pixels = in_channels * UNSHUFFLE**2
        self.head = conv(pixels, widths[0])
        self.encoder = nn.ModuleList(blocks(width, depth) for width in widths)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairwise(widths))
        rising = list(pairwise(reversed(widths)))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2, bias=False) for a, b in rising)
        self.decoder = nn.ModuleList(blocks(width, depth) for _, width in rising)
        self.tail = conv(widths[0], pixels)
        # The network and each of its blocks start as the identity: weights larger than torch's default, or an initial
        # output other than the image, take hundreds of steps to unlearn.
        for layer in (self.tail, *(block.second for block in self.modules() if isinstance(block, Residual))):
            nn.init.zeros_(layer.weight)
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the denoised images."""
        if self.symmetries and not self.training:
            return over_symmetries(self._cleaned, image_BCHW)
        return self._cleaned(image_BCHW)

    def _cleaned(self, image_BCHW: Tensor) -> Tensor:
        features = self.encoder[0](self.head(F.pixel_unshuffle(image_BCHW, UNSHUFFLE)))
        skips = []
        for down, level in zip(self.downs, list(self.encoder)[1:], strict=True):
            skips.append(features)
            features = level(down(features))
        for up, level in zip(self.ups, self.decoder, strict=True):
            features = level(up(features) + skips.pop())
        return image_BCHW + F.pixel_shuffle(self.tail(features), UNSHUFFLE)


class Residual(nn.Module):
    """x + C(ReLU(C(x))), on float [B, width, H, W] of any size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return features of the same shape."""
        return features_BCHW + self.second(F.relu(self.first(features_BCHW), inplace=True))


def conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Build a padded 3x3 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


def blocks(width: int, count: int) -> nn.Sequential:
    """Build a sequence of `count` residual blocks."""
    return nn.Sequential(*(Residual(width) for _ in range(count)))
