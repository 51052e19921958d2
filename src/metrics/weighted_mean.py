"""Weighted means, such as that of the losses of batches of different sizes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

# Precise enough that the number and order of the summands do not show; Apple's GPU has no float64.
EXACT = torch.float32 if torch.backends.mps.is_available() else torch.float64


class ExactSums(Metric):
    """A metric whose sums stay `EXACT` even if a Trainer in bf16-true or 16-true converts all modules."""

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = "") -> Module:
        moved = super()._apply(fn, exclude_state)
        for name, default in self._defaults.items():
            if isinstance(default, Tensor) and default.is_floating_point():
                setattr(self, name, getattr(self, name).to(EXACT))
                self._defaults[name] = default.to(EXACT)
        return moved


class WeightedMean(ExactSums):
    """sum(weight * value) / sum(weight), as two sums that add up over batches and processes.

    torchmetrics' MeanMetric either makes the host wait for a GPU, to check for NaN, or ignores the weights.

    `update(value, weight)` takes two scalars. `compute()` returns the mean so far, NaN if the weights sum to 0.
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=EXACT), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros((), dtype=EXACT), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor) -> None:
        """Add one value."""
        self.total += value.to(EXACT) * weight.to(EXACT)
        self.weight += weight.to(EXACT)

    def compute(self) -> Tensor:
        """Return the mean so far."""
        return self.total / self.weight
