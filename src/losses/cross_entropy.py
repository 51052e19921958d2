"""Cross-entropy."""

import torch.nn.functional as F
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.losses.labels import as_labels, as_maps, label_weights


class CrossEntropy(nn.Module):
    """Weighted mean of -log p(label) over all labels that are not ignored, as torch's; 0 if there are none.

    Args:
        ignore_index: label that is ignored, or None.
        class_weights: float [K].
        label_smoothing: fraction, in [0, 1), of the label's probability that is spread evenly over all classes.

    Raises:
        ConfigError: for an argument out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self, ignore_index: int | None = None, class_weights: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(
                f"loss.label_smoothing={label_smoothing} is out of range: it must be at least 0 and less than 1."
            )
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        # Not in the state dict: the weights come from the configuration, and loading must not depend on them.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, float32, of logits [B, K, ...] against integer labels [B, ...]."""
        labels = as_labels(target, self.ignore_index)
        weights = None if self.class_weights is None else self.class_weights.float()
        # Not reduction="mean", which is NaN if all labels are ignored, nor "sum", whose order varies on a GPU.
        losses = F.cross_entropy(
            as_maps(logits), labels, weight=weights, label_smoothing=self.label_smoothing, reduction="none"
        )
        counted = label_weights(labels, self.class_weights).sum()
        return losses.sum() / counted.where(counted > 0, 1.0)
