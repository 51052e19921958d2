"""Pooling that all nets share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GlobalMaxPool(nn.Module):
    """Map float [B, C, H, W] to the largest value of each channel, [B, C, 1, 1].

    Under `torch.use_deterministic_algorithms` it is torch's `amax`, whose gradient equal values share: on a GPU,
    adaptive pooling, in which one of them has it all, has no deterministic gradient.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the largest."""
        if torch.are_deterministic_algorithms_enabled():
            return x_BCHW.amax(dim=(-2, -1), keepdim=True)
        return F.adaptive_max_pool2d(x_BCHW, 1)
