"""ResNet-9, for small images and short training, after D. Page, "How to Train Your ResNet", 2018 (DAWNBench).

    image -> C(w, stride) -> [C(2w) pool + residual(C C)] -> [C(4w) pool] -> [C(4w) + residual(C C)] -> max -> logits

C is a padded 3x3 convolution without bias, batch normalisation, then ReLU. Page's network is twice as wide and works at
full resolution; here the first convolution halves it (`stride`), and the third stage neither pools nor widens. Thus
28x28 pixels become 3x3, and an image costs 15 million multiplications instead of 275 million. The last layer has a
bias, and logits are not divided by eight. With grey images and 10 classes there are 611,306 trainable parameters.
"""

from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_minimum, check_probability
from imagier.models.pooling import GlobalMaxPool
from imagier.models.views import Mirrored
from imagier.models.weights import initialize, load_weights


class ResNet9(Mirrored):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes]. H and W are at least 4 * stride.

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W), or None if images differ in size.
        width: channels of the first convolution; the stages have 2, 4 and 4 times as many.
        stride: stride of the first convolution: 2 for speed, 1 for detail at four times the cost.
        dropout: probability, in [0, 1), of dropping a feature before the last layer.
        mirror: in evaluation, average the logits over the image and its mirror image. If a mirrored image has the same
            class, this gains as much as longer training, at twice the cost of inference.
        weights: None for Kaiming initialisation, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range, images that are too small, or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int] | None = None,
        width: int = 32,
        stride: int = 2,
        dropout: float = 0.0,
        mirror: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_minimum("width", width)
        check_minimum("stride", stride)
        check_probability("dropout", dropout)
        self.shortest, self.mirror = 4 * stride, mirror
        if image_size is not None:
            self._check(*image_size)
        self.features = nn.Sequential(
            *_conv(in_channels, width, stride),
            *_conv(width, 2 * width, pool=True),
            Residual(2 * width),
            *_conv(2 * width, 4 * width, pool=True),
            *_conv(4 * width, 4 * width),
            Residual(4 * width),
        )
        self.head = nn.Sequential(GlobalMaxPool(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * width, num_classes))
        initialize(self)
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        self._check(image_BCHW.shape[-2], image_BCHW.shape[-1])
        return super().forward(image_BCHW)

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits of the image itself."""
        logits_BK: Tensor = self.head(self.features(image_BCHW))
        return logits_BK

    def _check(self, height: int, width: int) -> None:
        if min(height, width) < self.shortest:
            raise ConfigError(
                f"resnet9 with model.stride={self.shortest // 4} got images of {height}x{width} pixels but needs at "
                f"least {self.shortest} on each side: set a larger data.size, or model.stride=1."
            )


class Residual(nn.Module):
    """x + C(C(x)), on float [B, channels, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_conv(channels, channels), *_conv(channels, channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum, [B, channels, H, W]."""
        return x_BCHW + self.branch(x_BCHW)


def _conv(in_channels: int, out_channels: int, stride: int = 1, *, pool: bool = False) -> list[nn.Module]:
    """Build C; with `pool`, 2x2 max pooling comes before the normalisation, which then costs a quarter."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        *([nn.MaxPool2d(2)] if pool else []),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
