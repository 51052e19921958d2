"""Soft Dice loss, after Milletari et al. 2016, arXiv 1606.04797, without squares in the denominator."""

import torch
from torch import Tensor, nn

from imagier.counting import counted
from imagier.errors import ConfigError
from imagier.losses.labels import IGNORED, as_labels, as_maps, class_mean


class Dice(nn.Module):
    """Mean over the classes present in the batch of 1 - (2 sum(p t) + s) / (sum(p) + sum(t) + s).

    Sums run over the whole batch except ignored labels; p is the probability, t is 1 where the label is the class.

    Args:
        ignore_index: label that is ignored, or None.
        class_weights: float [K], weights of the mean over classes.
        smooth: s, at least 0; reduces the influence of classes of a few pixels.

    Raises:
        ConfigError: for an argument out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self, ignore_index: int | None = None, class_weights: Tensor | None = None, smooth: float = 1.0
    ) -> None:
        super().__init__()
        if smooth < 0:
            raise ConfigError(f"loss.smooth={smooth} is out of range: it must be at least 0, typically 1.")
        self.ignore_index, self.smooth = ignore_index, smooth
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, float32, of logits [B, K, ...] against integer labels [B, ...]."""
        classes = logits.shape[1]
        labels = as_labels(target, self.ignore_index)
        valid, known = labels != IGNORED, labels.clamp(min=0)
        chance = as_maps(logits).softmax(dim=1)
        right = chance.gather(1, known.unsqueeze(1)).squeeze(1) * valid
        # Row by row: adding millions of probabilities one by one to a single float32 loses precision.
        rows = known.reshape(-1, known.shape[-1])
        bins = rows + classes * torch.arange(len(rows), device=rows.device)[:, None]
        sums = right.new_zeros(len(rows) * classes).index_add(0, bins.flatten(), right.flatten())
        common_K = sums.view(-1, classes).sum(0)
        truth_K = counted(torch.where(valid, labels, classes).flatten(), classes + 1)[:classes]
        everywhere = [0, *range(2, chance.ndim)]
        sizes_K = ((chance * valid.unsqueeze(1)).sum(dim=everywhere) + truth_K).clamp(min=1e-7)
        losses_K = 1 - (2 * common_K + self.smooth) / (sizes_K + self.smooth)
        return class_mean(losses_K, truth_K > 0, self.class_weights)
