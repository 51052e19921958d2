"""Several rates from one network: a gain per channel and rate, after Cui et al. 2021 (gained VAE), arXiv 2003.02012."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from imagier.models.entropy_models import lower_bound

_LEAST = 2.0**-6


class Gains(nn.Module):
    """The factors by which latents are multiplied before rounding and divided afterwards: the step is 1 / gain.

    With fine quantisation, the error costs lambda / gain^2 and one bit doubles the gain, so that the optimal gain grows
    with the square root of lambda. Gains are initialised to this, with geometric mean 1. With a single rate, the scale
    of the latents does the same, and the gain stays 1.

    Args:
        channels: channels of the latents.
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
        """Return the gains of each image's rate, float32 [B, channels, 1, 1]."""
        return self.table()[rate_B][:, :, None, None]
