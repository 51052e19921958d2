"""One net, several rates: a gain a channel and rate, after Cui et al. 2021 (gained VAE), arXiv 2003.02012."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from imagier.models.entropy_models import lower_bound

_LEAST = 2.0**-6


class Gains(nn.Module):
    """What latents are multiplied by before they are rounded, and divided by afterwards: the step is 1 / gain.

    Where quantisation is fine, an error costs lambda / gain^2 and a bit buys a factor of two in gain, so that the best
    gain grows with the square root of lambda: that is where they start, around 1. With one rate the latents' own
    scale does it all, and the gain stays 1.

    Args:
        channels: of the latents.
        lambdas: the trade-offs, ascending.
    """

    gain: Tensor

    def __init__(self, channels: int, lambdas: Sequence[float]) -> None:
        super().__init__()
        middle = math.exp(sum(map(math.log, lambdas)) / len(lambdas))
        start_R1 = torch.tensor([[math.sqrt(value / middle)] for value in lambdas])
        if len(lambdas) > 1:
            self.gain = nn.Parameter(start_R1.repeat(1, channels))
        else:
            self.register_buffer("gain", torch.ones(1, channels))

    def table(self) -> Tensor:
        """Return all gains, float32 [rates, channels]."""
        return lower_bound(self.gain.float(), _LEAST)

    def forward(self, rate_B: Tensor) -> Tensor:
        """Return the gains of each picture's rate, float32 [B, channels, 1, 1]."""
        return self.table()[rate_B][:, :, None, None]
