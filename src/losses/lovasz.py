"""Lovász-softmax, a convex surrogate of 1 - IoU, after Berman et al. 2018, arXiv 1705.08790."""

import torch
from torch import Tensor, nn

from imagier.losses.labels import IGNORED, as_labels, as_maps, class_mean


class Lovasz(nn.Module):
    """Mean over the classes present in the batch of the Lovász extension of their Jaccard loss over the whole batch.

    It optimises the IoU of classes directly, and works best after, or together with, cross-entropy.

    Args:
        ignore_index: label that is ignored, or None.
        class_weights: float [K], weights of the mean over classes.
    """

    class_weights: Tensor | None

    def __init__(self, ignore_index: int | None = None, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, float32, of logits [B, K, ...] against integer labels [B, ...]."""
        classes = logits.shape[1]
        labels = as_labels(target, self.ignore_index).flatten()
        chance_KN = as_maps(logits).softmax(dim=1).transpose(0, 1).reshape(classes, -1)
        truth_KN = (labels == torch.arange(classes, device=labels.device).unsqueeze(1)).float()
        # An error of 0 sorts last and adds nothing, so that ignored labels need not be removed.
        errors_KN = (truth_KN - chance_KN).abs() * (labels != IGNORED)
        errors_KN, order_KN = errors_KN.sort(dim=1, descending=True)
        losses_K = (errors_KN * jaccard_slopes(truth_KN.gather(1, order_KN))).sum(dim=1)
        return class_mean(losses_K, truth_KN.any(dim=1), self.class_weights)


def jaccard_slopes(truth_KN: Tensor) -> Tensor:
    """Return the increase of the Jaccard loss with each further error (algorithm 1 of the paper): float [K, N]."""
    size_K1 = truth_KN.sum(dim=1, keepdim=True)
    common_KN = size_K1 - truth_KN.cumsum(dim=1)
    union_KN = size_K1 + (1 - truth_KN).cumsum(dim=1)
    return torch.diff(1 - common_KN / union_KN, dim=1, prepend=torch.zeros_like(size_K1))
