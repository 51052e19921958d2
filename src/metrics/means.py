"""Means over images of several scores at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from imagier.metrics.weighted_mean import EXACT, ExactSums


class Means(ExactSums):
    """The mean of each of several scores over the images that have it, as sums that add up over processes.

    `update({name: float [B], ...})` adds a batch; NaN means that an image does not have the score, and names may be
    left out. `compute()` returns a scalar for each name, NaN if no image has the score.

    Args:
        names: the names of the scores.
    """

    full_state_update = False
    totals: Tensor
    counts: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.add_state("totals", torch.zeros(len(names), dtype=EXACT), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(names), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Mapping[str, Tensor]) -> None:
        """Add the images of one batch."""
        for name, values_B in scores.items():
            place = self.names.index(name)
            known_B = ~values_B.isnan()
            self.totals[place] += values_B.where(known_B, 0.0).to(EXACT).sum()
            self.counts[place] += known_B.sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the means so far by name."""
        return dict(zip(self.names, self.totals / self.counts, strict=True))
