"""U-Net, after Ronneberger et al. 2015, arXiv 1505.04597.

    image -> D(w) ---------------------------------- concat -> D(w) -> 1x1 -> logits
               pool -> D(2w) ------------- concat -> D(2w) -> up
                         pool -> ... -> D(w 2^depth) -> up

D is twice (3x3 convolution, batch normalisation, ReLU); pool halves the sides, up is a transposed 2x2 convolution that
doubles them. Deviations: convolutions are padded, so that the logits cover the whole image; batch normalisation follows
each 3x3 convolution, which keeps its bias. With width 64, depth 4, RGB and 8 classes there are 31,043,976 parameters.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from imagier.models.arguments import check_minimum
from imagier.models.weights import initialize, load_weights


class UNet(nn.Module):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes, H, W].

    Args:
        in_channels: channels of the image.
        num_classes: channels of the logits.
        width: channels of the first level; each level doubles them.
        depth: number of times the image is halved; H and W must be multiples of `stride` = 2 ** depth.
        weights: None for Kaiming initialisation, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 64, depth: int = 4, weights: str | None = None
    ) -> None:
        super().__init__()
        check_minimum("width", width)
        check_minimum("depth", depth)
        self.stride = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(double_conv(a, b) for a, b in pairwise([in_channels, *widths]))
        self.pool = nn.MaxPool2d(2)
        rising = list(pairwise(reversed(widths)))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(below, here, 2, stride=2) for below, here in rising)
        self.decoder = nn.ModuleList(double_conv(2 * here, here) for _, here in rising)
        self.head = nn.Conv2d(width, num_classes, 1)
        initialize(self)
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        features = self.encoder[0](image_BCHW)
        skips = []
        for block in list(self.encoder)[1:]:
            skips.append(features)
            features = block(self.pool(features))
        for up, block in zip(self.ups, self.decoder, strict=True):
            features = block(torch.cat([up(features), skips.pop()], dim=1))
        return self.head(features)


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build two 3x3 convolutions with bias, each followed by batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
