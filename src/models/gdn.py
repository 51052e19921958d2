"""Generalised divisive normalisation, Ballé et al. 2015, arXiv 1511.06281, and the transforms that use it.

analysis:  image -> [conv 5x5, /2, GDN] three times -> conv 5x5, /2 -> latents of a sixteenth of the sides
synthesis: latents -> [transposed conv 5x5, x2, inverse GDN] three times -> transposed conv 5x5, x2 -> image
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagier.models.entropy_models import lower_bound

_PEDESTAL = 2.0**-36  # keeps the gradient of the square root finite at zero
_LATENT_SCALE = 3.0  # scales initial latents to about one step: much smaller ones would all round to 0


class GDN(nn.Module):
    """Normalise channels by one another: y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), or multiply (inverse).

    beta and gamma are stored as square roots, so that they stay positive and small ones change slowly. Computed in
    float32 even under autocast, since squares overflow half precision.

    Args:
        channels: channels of x, float [B, channels, H, W].
        inverse: multiply instead of dividing.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter((torch.ones(channels) + _PEDESTAL).sqrt())
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + _PEDESTAL).sqrt())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        with torch.autocast(x_BCHW.device.type, enabled=False):
            x_BCHW = x_BCHW.float()
            beta_C, gamma_CC = self.coefficients()
            power_BCHW = F.conv2d(x_BCHW.square(), gamma_CC[:, :, None, None], beta_C)
            return x_BCHW * (power_BCHW.sqrt() if self.inverse else power_BCHW.rsqrt())

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return beta, [C] of at least 1e-6, and gamma, [C, C] of at least 0."""
        beta_C = lower_bound(self.beta, (1e-6 + _PEDESTAL) ** 0.5).square() - _PEDESTAL
        gamma_CC = lower_bound(self.gamma, _PEDESTAL**0.5).square() - _PEDESTAL
        return beta_C, gamma_CC


def analysis(in_channels: int, width: int, latents: int) -> nn.Sequential:
    """Build image [B, in_channels, H, W] -> latents [B, latents, H / 16, W / 16]."""
    layers: list[nn.Module] = []
    for a, b in pairwise([in_channels, width, width, width]):
        layers += [down(a, b), GDN(b)]
    last = down(width, latents)
    with torch.no_grad():
        last.weight *= _LATENT_SCALE
    return nn.Sequential(*layers, last)


def synthesis(latents: int, width: int, out_channels: int) -> nn.Sequential:
    """Build latents [B, latents, H / 16, W / 16] -> image [B, out_channels, H, W]."""
    first = up(latents, width)
    with torch.no_grad():
        first.weight /= _LATENT_SCALE
    layers: list[nn.Module] = [first, GDN(width, inverse=True)]
    for _ in range(2):
        layers += [up(width, width), GDN(width, inverse=True)]
    last = up(width, out_channels)
    assert last.bias is not None
    nn.init.constant_(last.bias, 0.5)  # mid grey
    return nn.Sequential(*layers, last)


def down(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Build a 5x5 convolution that halves H and W, with Xavier initialisation."""
    layer = nn.Conv2d(in_channels, out_channels, 5, stride=2, padding=2)
    nn.init.xavier_normal_(layer.weight)
    return layer


def up(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Build a transposed 5x5 convolution that doubles H and W, initialised to preserve the variance of its input."""
    layer = nn.ConvTranspose2d(in_channels, out_channels, 5, stride=2, padding=2, output_padding=1)
    # On average, a quarter of the 25 weights contributes to an output pixel.
    nn.init.normal_(layer.weight, std=(in_channels * 25 / 4) ** -0.5)
    return layer
