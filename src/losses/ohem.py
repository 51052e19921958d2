"""Cross-entropy of hard labels only: online hard example mining, after Shrivastava et al. 2016, arXiv 1604.03540."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.losses.labels import IGNORED, as_labels, as_maps, label_weights, weighted_mean


class OHEM(nn.Module):
    """Mean cross-entropy over labels whose probability is below `threshold`, or over the hardest if those are few.

    Args:
        ignore_index: label that is ignored, or None.
        class_weights: float [K]; they weight the mean, but do not affect which labels are hard.
        threshold: probability, in (0, 1], below which a label is hard.
        minimum_kept: fraction, in [0, 1], of the labels that are kept in any case, hardest first.

    Raises:
        ConfigError: for an argument out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        ignore_index: int | None = None,
        class_weights: Tensor | None = None,
        threshold: float = 0.7,
        minimum_kept: float = 0.0625,
    ) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ConfigError(f"loss.threshold={threshold} is out of range: it must be above 0 and at most 1.")
        if not 0 <= minimum_kept <= 1:
            raise ConfigError(f"loss.minimum_kept={minimum_kept} is out of range: it is a fraction, from 0 to 1.")
        self.ignore_index, self.minimum_kept = ignore_index, minimum_kept
        self.least = -math.log(threshold)
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, float32, of logits [B, K, ...] against integer labels [B, ...]."""
        labels = as_labels(target, self.ignore_index)
        losses = F.cross_entropy(as_maps(logits), labels, reduction="none").flatten()
        labels = labels.flatten()
        valid = labels != IGNORED
        # Sorting, unlike counting, needs no synchronisation with the host.
        losses, order = losses.masked_fill(~valid, -1.0).sort(descending=True)
        rank = torch.arange(len(losses), device=losses.device)
        kept = (losses > self.least) | (rank < (valid.sum() * self.minimum_kept).ceil())
        return weighted_mean(losses, label_weights(labels, self.class_weights)[order] * kept)
