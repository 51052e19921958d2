"""Wide ResNet, after Zagoruyko and Komodakis 2016, arXiv 1605.07146: the reference for small images.

    image -> 3x3 (16) -> B.. (16k) -> B.., /2 (32k) -> B.., /2 (64k) -> BN ReLU -> mean -> dropout -> logits

B is a pre-activation residual block: BN, ReLU, 3x3, BN, ReLU, 3x3, added to its input or, if width or size change, to a
1x1 convolution of the first ReLU's output. Deviation: dropout comes before the logits, where the paper has it in the
blocks. WRN-28-10 with RGB and 10 classes: 36,479,194 parameters.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_minimum, check_probability
from imagier.models.views import Mirrored
from imagier.models.weights import initialize, load_weights


class WideResNet(Mirrored):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        depth: number of layers, 6 n + 4, with n blocks at each of the three sizes.
        widen: k, the factor by which the blocks' channels, 16, 32 and 64, are multiplied.
        dropout: probability, in [0, 1), of dropping a feature before the last layer.
        mirror: in evaluation, average the logits over the image and its mirror image.
        weights: None for Kaiming initialisation, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        depth: int = 28,
        widen: int = 10,
        dropout: float = 0.0,
        mirror: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_minimum("depth", depth, 10)
        check_minimum("widen", widen)
        check_probability("dropout", dropout)
        if (depth - 4) % 6:
            nearest = 6 * round((depth - 4) / 6) + 4
            raise ConfigError(
                f"model.depth={depth} is not possible for a wide ResNet: it must be 6 n + 4, such as {nearest}."
            )
        self.mirror = mirror
        self.features = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1, bias=False))
        channels = 16
        for level, stride in enumerate((1, 2, 2)):
            for block in range((depth - 4) // 6):
                self.features.append(Block(channels, 16 * widen * 2**level, stride if block == 0 else 1))
                channels = 16 * widen * 2**level
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)
        load_weights(self, weights)

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits of the image itself."""
        features_BC = F.relu(self.norm(self.features(image_BCHW)), inplace=True).mean(dim=(-2, -1))
        logits_BK: Tensor = self.classifier(self.dropout(features_BC))
        return logits_BK


class Block(nn.Module):
    """B, on float [B, in_channels, H, W]; `stride` 2 halves the sides."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.BatchNorm2d(in_channels), nn.BatchNorm2d(out_channels)
        self.first = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        changes = stride > 1 or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if changes else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum, [B, out_channels, H / stride, W / stride], rounded up."""
        active_BCHW = F.relu(self.first_norm(x_BCHW))
        kept_BCHW = x_BCHW if self.shortcut is None else self.shortcut(active_BCHW)
        return kept_BCHW + self.second(F.relu(self.second_norm(self.first(active_BCHW)), inplace=True))
