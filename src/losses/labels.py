"""Preparation of labels and weights, shared by all losses so that they ignore and weight labels in the same way.

Legend: B batch, K classes, ... any further dimensions: logits [B, K, ...], target [B, ...].
"""

import torch
from torch import Tensor

IGNORED = -100  # ignored by torch.nn.functional by default, and not a class index


def as_labels(target: Tensor, ignore_index: int | None) -> Tensor:
    """Return `target` (of any integer dtype) as int64, with IGNORED in place of `ignore_index`."""
    labels = target.long()
    return labels if ignore_index is None else labels.masked_fill(labels == ignore_index, IGNORED)


def as_maps(logits: Tensor) -> Tensor:
    """Return logits [B, K, ...] as contiguous float32: loops over a few classes in the innermost dimension are slow."""
    return logits.contiguous().float()


def label_weights(labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return the weight of each label, float32 of the labels' shape: its class's weight or 1; 0 where ignored."""
    counts = (labels != IGNORED).float()
    return counts if class_weights is None else counts * class_weights.float()[labels.clamp(min=0)]


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return sum(values * weights) / sum(weights); 0, with a gradient of 0, if all weights are 0."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def class_mean(losses_K: Tensor, present_K: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return the mean, optionally weighted, over the classes present in the batch."""
    weights_K = present_K.float()
    return weighted_mean(losses_K, weights_K if class_weights is None else weights_K * class_weights.float())
