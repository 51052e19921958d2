"""Probability models of latents: a learned density per channel, or Gaussians whose mean and scale a network predicts.

Both have two uses. In training, uniform noise of one step replaces rounding (Ballé et al. 2017, arXiv 1611.01704): the
noisy latent's density at a point is the probability of the quantisation cell around it, so the rate has a gradient. For
coding, they become integer tables, computed in float64 on the CPU.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagier.models.range_coding import LARGEST, Tables

NARROWEST, WIDEST, SCALES = 0.11, 256.0, 64  # the range and number of Gaussian scales, in quantisation steps
_TAIL = 2.0**-15  # probability beyond either end of a table
_RUN = 4096  # approximate maximum number of symbols in a table
_LEAST = 1e-9  # lower bound of a probability in training


class FactorizedDensity(nn.Module):
    """A freely learned density per channel: the factorised prior of Ballé et al. 2018, arXiv 1802.01436, appendix 6.1.

    The cumulative distribution function is a chain of monotone layers. It describes the latents before any gain; a gain
    g makes the quantisation cells 1 / g wide, so that one density serves every rate.

    Args:
        channels: channels of the latents.
        spread: approximate initial width of the densities.
        widths: widths of the chain's hidden layers.
    """

    def __init__(self, channels: int, spread: float = 2.0, widths: Sequence[int] = (3, 3, 3)) -> None:
        super().__init__()
        shapes = list(pairwise([1, *widths, 1]))
        share = spread ** (1 / len(shapes))
        self.matrices = nn.ParameterList(
            torch.full((channels, b, a), math.log(math.expm1(1 / (share * b)))) for a, b in shapes
        )
        self.biases = nn.ParameterList(torch.rand(channels, b, 1) - 0.5 for _, b in shapes)
        self.factors = nn.ParameterList(torch.zeros(channels, b, 1) for b in widths)
        self._kept: tuple[bytes, Tables] | None = None

    def bits(self, latent_BCHW: Tensor, gain_BC11: Tensor) -> Tensor:
        """Return the cost in bits, float32 [B], of float32 latents with added noise; differentiable in all inputs."""
        noisy_BCHW = latent_BCHW + noise_like(latent_BCHW) / gain_BC11
        half_BC11 = 0.5 / gain_BC11
        batch, channels = noisy_BCHW.shape[:2]
        low, high = (
            self._logits(edge_BCHW.transpose(0, 1).reshape(channels, 1, -1))
            for edge_BCHW in (noisy_BCHW - half_BC11, noisy_BCHW + half_BC11)
        )
        # Subtracting probabilities near 1 loses precision, so compute the difference in the nearer tail.
        side = -torch.sign(low + high).detach()
        probability = (torch.sigmoid(side * high) - torch.sigmoid(side * low)).abs()
        return cost(probability).view(channels, batch, -1).sum(dim=(0, 2))

    def tables(self, gain_RC: Tensor) -> Tables:
        """Return the coder's tables, row rate * C + channel; rebuilt whenever a value that they depend on changes."""
        key = self._key(gain_RC)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._build(gain_RC.detach().double().cpu())
        return self._kept[1]

    def keep(self, tables: Tables, gain_RC: Tensor) -> None:
        """Make `tables` return these, perhaps built on another machine, until a value that they depend on changes."""
        self._kept = self._key(gain_RC), tables

    def _key(self, gain_RC: Tensor) -> bytes:
        values = torch.cat([value.detach().float().flatten() for value in (*self.parameters(), gain_RC)])
        return values.cpu().numpy().tobytes()

    @staticmethod
    def rows(rate_B: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return the table row for each symbol of `shape`, [B, C, H, W]: int64 of that shape."""
        row_BC = rate_B[:, None] * shape[1] + np.arange(shape[1])
        return np.broadcast_to(row_BC[:, :, None, None], shape)

    @torch.no_grad()
    def _build(self, gain_RC: Tensor) -> Tables:
        low_C, middle_C, high_C = self._quantiles((_TAIL, 0.5, 1 - _TAIL))
        rows: list[tuple[int, np.ndarray]] = []
        for gain_C in gain_RC:
            middle_c = (middle_C * gain_C).round().clamp(-LARGEST / 2, LARGEST / 2)
            first_c = (low_C * gain_C).round().maximum(middle_c - _RUN / 2)
            last_c = (high_C * gain_C).round().minimum(middle_c + _RUN / 2)
            run_c = (last_c - first_c + 1).int()
            edge_Cn = first_c[:, None] + torch.arange(int(run_c.max()) + 1, dtype=torch.float64) - 0.5
            below_Cn = torch.sigmoid(self._logits((edge_Cn / gain_C[:, None])[:, None]))[:, 0]
            cells_Cn = below_Cn.diff(dim=1).numpy()
            rows += [(int(first_c[c]), cells_Cn[c, : run_c[c]]) for c in range(len(run_c))]
        return Tables.of(rows)

    def _quantiles(self, shares: Sequence[float]) -> Tensor:
        """Return the quantiles of each channel's density, float64 [len(shares), C], found by bisection."""
        wanted_S = torch.tensor(shares, dtype=torch.float64).logit()
        channels = self.matrices[0].shape[0]
        low_C1S = torch.full((channels, 1, len(shares)), -float(LARGEST), dtype=torch.float64)
        high_C1S = -low_C1S
        for _ in range(48):
            middle_C1S = (low_C1S + high_C1S) / 2
            below = self._logits(middle_C1S) < wanted_S
            low_C1S = torch.where(below, middle_C1S, low_C1S)
            high_C1S = torch.where(below, high_C1S, middle_C1S)
        return low_C1S[:, 0].T

    def _logits(self, x_C1n: Tensor) -> Tensor:
        """Return the logits of the cumulative distribution function at x, in x's dtype and on its device."""
        for layer, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x_C1n = F.softplus(matrix.to(x_C1n)) @ x_C1n + bias.to(x_C1n)
            if layer < len(self.factors):
                x_C1n = x_C1n + torch.tanh(self.factors[layer].to(x_C1n)) * torch.tanh(x_C1n)
        return x_C1n


def gaussian_bits(deviation_BCHW: Tensor, scale_BCHW: Tensor) -> Tensor:
    """Return the cost in bits, float32 [B], of noisy deviations from the mean; deviation and scale are in steps."""
    distance = (deviation_BCHW + noise_like(deviation_BCHW)).abs()
    scale_BCHW = lower_bound(scale_BCHW, NARROWEST)
    probability = _below((0.5 - distance) / scale_BCHW) - _below((-0.5 - distance) / scale_BCHW)
    return cost(probability).sum(dim=(1, 2, 3))


def gaussian_rows(scale: np.ndarray) -> np.ndarray:
    """Return the rows, int64, of `gaussian_tables` with the nearest scales, found by comparisons alone."""
    scales = gaussian_scales()
    return np.searchsorted((scales[1:] + scales[:-1]) / 2, scale)


def gaussian_scales() -> np.ndarray:
    """Return the available scales, float64 [SCALES], rounded to 20 binary places so that all machines agree."""
    scales = NARROWEST * (WIDEST / NARROWEST) ** np.linspace(0, 1, SCALES)
    return np.round(scales * 2**20) / 2**20


@lru_cache(maxsize=1)
def gaussian_tables() -> Tables:
    """Return the tables of the Gaussians with mean 0, one for each scale."""
    rows = []
    for scale in gaussian_scales():
        reach = max(0, round(-scale * torch.special.ndtri(torch.tensor(_TAIL, dtype=torch.float64)).item()))
        edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
        rows.append((-reach, _below(edges / scale).diff().numpy()))
    return Tables.of(rows)


def cost(probability: Tensor) -> Tensor:
    """Return -log2 of the probabilities, clamped to at least 1e-9 but with a gradient that can still raise them."""
    return -torch.log2(lower_bound(probability, _LEAST))


def noise_like(latent: Tensor) -> Tensor:
    """Return uniform noise in [-0.5, 0.5) of the same shape."""
    return torch.rand_like(latent) - 0.5


def round_through(x: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def to_symbols(x: Tensor) -> Tensor:
    """Round to the coder's range, integers within plus and minus LARGEST, all of which float32 represents exactly."""
    return x.nan_to_num().round().clamp(-LARGEST, LARGEST)


def to_numpy(symbols: Tensor) -> np.ndarray:
    """Convert whole numbers to an int64 array."""
    return symbols.cpu().numpy().astype(np.int64)


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Return max(x, bound), with a gradient that passes below the bound if descending it raises x."""
    bounded: Tensor = _LowerBound.apply(x, bound)
    return bounded


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient[0] * ((x >= ctx.bound) | (gradient[0] < 0)), None


def _below(x: Tensor) -> Tensor:
    """Return the standard normal CDF, by erfc, which stays precise far below 0."""
    return 0.5 * torch.erfc(x * -(0.5**0.5))
