"""Focal loss, after Lin et al. 2017, arXiv 1708.02002, on the softmax of all classes."""

import torch.nn.functional as F
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.losses.labels import as_labels, as_maps, label_weights, weighted_mean


class Focal(nn.Module):
    """Cross-entropy in which a label of probability p has weight (1 - p) ** gamma, so that easy ones count little.

    With gamma=0 it equals cross-entropy. Deviation: the mean is over all labels that are not ignored, rather than over
    objects, and `class_weights` replace the paper's alpha.

    Args:
        ignore_index: label that is ignored, or None.
        class_weights: float [K].
        gamma: at least 0; 2 in the paper.

    Raises:
        ConfigError: for an argument out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self, ignore_index: int | None = None, class_weights: Tensor | None = None, gamma: float = 2.0
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"loss.gamma={gamma} is out of range: it must be at least 0, typically 2.")
        self.ignore_index, self.gamma = ignore_index, gamma
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, float32, of logits [B, K, ...] against integer labels [B, ...]."""
        labels = as_labels(target, self.ignore_index)
        cross_entropy = F.cross_entropy(as_maps(logits), labels, reduction="none")
        # With gamma below 1, the gradient of the power is infinite at zero, where a label is certain.
        doubt = (1 - (-cross_entropy).exp()).clamp(min=1e-6)
        return weighted_mean(doubt**self.gamma * cross_entropy, label_weights(labels, self.class_weights))
