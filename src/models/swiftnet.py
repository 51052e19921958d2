"""SwiftNet, after Orsic et al. 2019, arXiv 1903.08469: a residual encoder and a lightweight decoder.

    image -> C(w/2), /2 -> C(w), /2 -> R -> C(2w), /2 -> R R -> C(4w), /2 -> R R (dilated by 2 and 4)
                                       |                   |              |
       logits <- shuffle x4 <- 1x1 <- L <----------------- L <----------- 1x1

C is a 3x3 convolution without bias, batch normalisation, ReLU; R a basic residual block of two convolutions; L
upsamples the coarser map by 2, adds a 1x1 convolution of the encoder's map, and smooths with C. Deviations: a narrower
encoder that stops at a sixteenth of the sides and is dilated there, instead of pyramid pooling, which suits small
frames and training from scratch; the last upsampling is a convolution whose channels are the pixels of 4x4 cells (Shi
et al. 2016, arXiv 1609.05158), since objects such as poles are narrower than a cell. Cells of 2x2 pixels are for frames
in which people are only a few cells wide: the first C then has stride 1, and every feature map twice the sides. With
width 64, RGB and 19 classes: 3,537,680 parameters.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_minimum, check_probability
from imagier.models.views import Mirrored
from imagier.models.weights import initialize, load_weights


class SwiftNet(Mirrored):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes, H, W].

    H and W must be multiples of `stride`, four times `cell`.

    Args:
        in_channels: channels of the image.
        num_classes: channels of the logits.
        width: channels of the finest feature map; each level below doubles them.
        ladder: channels of the decoder.
        cell: stride of the finest feature map, 4 or 2.
        mirror: in evaluation, average the logits over the image and its mirror image.
        dropout: probability, in [0, 1), of dropping a channel of a residual branch, as in ENet (Paszke et al. 2016,
            arXiv 1606.02147).
        weights: None for Kaiming initialisation, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 64,
        ladder: int = 64,
        cell: int = 4,
        mirror: bool = False,
        dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.mirror = mirror
        check_minimum("width", width, 2)
        check_minimum("ladder", ladder)
        check_probability("dropout", dropout)
        if cell not in (2, 4):
            raise ConfigError(
                f"model.cell={cell} is out of range: the finest feature map of swiftnet has cells of 2 or 4 pixels."
            )
        self.cell, self.stride = cell, 4 * cell
        widths = [width // 2, width, 2 * width, 4 * width]
        self.stem = conv(in_channels, widths[0], stride=cell // 2)
        dilations = [[1], [1, 1], [2, 4]]
        self.levels = nn.ModuleList(
            nn.Sequential(conv(a, b, stride=2), *(Residual(b, dilation, dropout) for dilation in level))
            for (a, b), level in zip(pairwise(widths), dilations, strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(channels, ladder, 1) for channels in widths[1:])
        self.smooth = nn.ModuleList(conv(ladder, ladder) for _ in widths[2:])
        self.head = nn.Conv2d(ladder, num_classes * cell**2, 1)
        initialize(self)
        for block in self.modules():
            if isinstance(block, Residual):
                nn.init.zeros_(block.norm.weight)  # each block starts as the identity (arXiv 1706.02677)
        load_weights(self, weights)

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits of the image itself."""
        features, maps = self.stem(image_BCHW), []
        for level in self.levels:
            features = level(features)
            maps.append(features)
        *finer, coarsest = (lateral(features) for lateral, features in zip(self.laterals, maps, strict=True))
        for lateral, smooth in zip(reversed(finer), self.smooth, strict=True):
            coarsest = smooth(F.interpolate(coarsest, scale_factor=2.0, mode="nearest") + lateral)
        return F.pixel_shuffle(self.head(coarsest), self.cell)


class Residual(nn.Module):
    """ReLU(x + dropout(BN(conv(C(x))))), both convolutions dilated, on float [B, width, H, W]."""

    def __init__(self, width: int, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = conv(width, width, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout2d(dropout)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return features of the same shape."""
        return F.relu(features_BCHW + self.drop(self.norm(self.second(self.first(features_BCHW)))))


def conv(in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Build C: a 3x3 convolution without bias, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
