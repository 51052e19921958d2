"""Pooling layers shared by several networks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GlobalMaxPool(nn.Module):
    """Map float [B, C, H, W] to the maximum of each channel, [B, C, 1, 1].

    Under `torch.use_deterministic_algorithms` it uses `amax`, which splits the gradient evenly between equal maxima:
    adaptive pooling, which gives it all to one of them, has no deterministic gradient on a GPU.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the maxima."""
        if torch.are_deterministic_algorithms_enabled():
            return x_BCHW.amax(dim=(-2, -1), keepdim=True)
        return F.adaptive_max_pool2d(x_BCHW, 1)
