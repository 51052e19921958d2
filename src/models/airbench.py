"""The net of K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498.

    image -> conv 2x2 -> GELU -> G(w0) -> G(w1) -> G(w2) -> max of 3x3 -> logits / 9

G is a 3x3 convolution, the maximum of 2x2, batch normalisation, GELU, then convolution, normalisation and GELU again.
Convolutions begin as the identity, as far as they have channels to pass on (dirac). Most of the work is done where an
image is small. Deviations: the first convolution is learnt, not set to whiten patches of the training images, so that
a net needs no data to be built; what is left of an image is pooled to one pixel whatever its size. With RGB, 10
classes and widths 64, 256, 256: 1,972,792 parameters.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_minimum
from imagier.models.views import with_mirror
from imagier.models.weights import initialize, load_weights

SHORTEST = 17  # the side of which three poolings leave one pixel


class Airbench(nn.Module):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W), or None where images differ in size.
        widths: channels of the three groups.
        mirror: in evaluation, answer with the mean of the logits of the image and of its mirror image.
        weights: None to begin as the paper does, or the path of a file of weights.

    Raises:
        ConfigError: for an argument out of range, images that are too small, or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int] | None = None,
        widths: Sequence[int] = (64, 256, 256),
        mirror: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(widths, str | int) or len(widths) != 3:
            raise ConfigError(f"model.widths={widths} is no list of three: give the channels of each group.")
        for width in widths:
            check_minimum("widths", width)
        if image_size is not None:
            _check(*image_size)
        self.mirror = mirror
        first = 8 * in_channels  # as many as whitening makes: every pattern of 2x2 pixels, and its negative
        self.stem = nn.Sequential(nn.Conv2d(in_channels, first, 2), nn.GELU())
        self.groups = nn.Sequential(*(_group(a, b) for a, b in pairwise([first, *widths])))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)
        initialize(self)
        for group in self.groups:
            for layer in group.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.dirac_(layer.weight.data[: layer.in_channels])
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        _check(image_BCHW.shape[-2], image_BCHW.shape[-1])
        if self.mirror and not self.training:
            return with_mirror(self._logits, image_BCHW)
        return self._logits(image_BCHW)

    def _logits(self, image_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.classifier(self.pool(self.groups(self.stem(image_BCHW))).flatten(1)) / 9
        return logits_BK


def _group(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(out_channels),
        nn.GELU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.GELU(),
    )


def _check(height: int, width: int) -> None:
    if min(height, width) < SHORTEST:
        raise ConfigError(
            f"airbench met images of {height}x{width} pixels and needs at least {SHORTEST} a side: set a larger "
            "data.size."
        )
