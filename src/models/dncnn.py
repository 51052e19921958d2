"""DnCNN, after Zhang et al. 2017, arXiv 1608.03981: estimates the noise and subtracts it.

    image - C(image) <- [C(w) N ReLU] x (depth - 2) <- [C(w) ReLU] <- image

C is a padded 3x3 convolution, N batch normalisation. Convolutions before a normalisation have no bias. With depth 20,
width 64 and RGB, the paper's blind network for colour images, there are 669,379 parameters.
"""

from torch import Tensor, nn

from imagier.models.arguments import check_minimum
from imagier.models.weights import initialize, load_weights


class DnCNN(nn.Module):
    """Map noisy images, float [B, in_channels, H, W] of about 0 to 1, to denoised images of the same shape.

    Args:
        in_channels: channels of the image.
        depth: number of convolutions, at least 3; the paper has 17 for a known noise level and 20 for blind denoising.
        width: channels between them.
        weights: None to start as the identity, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    stride = 1
    unit_range = True

    def __init__(self, in_channels: int, depth: int = 20, width: int = 64, weights: str | None = None) -> None:
        super().__init__()
        check_minimum("depth", depth, 3)
        check_minimum("width", width)
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        last = nn.Conv2d(width, in_channels, 3, padding=1)
        self.noise = nn.Sequential(*layers, last)
        initialize(self)
        # Start as the identity: an initial noise estimate several times as strong as the image's noise would have to be
        # unlearned first, after which training hardly progresses.
        nn.init.zeros_(last.weight)
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the images minus the estimated noise."""
        return image_BCHW - self.noise(image_BCHW)
