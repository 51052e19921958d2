"""The confusion matrix, and the scores derived from it.

The same counts serve intersection over union, accuracies and charts, and add up exactly over batches and processes,
unlike means of per-batch scores.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from imagier.counting import counted


class ConfusionMatrix(Metric):
    """Counts of (target, prediction) pairs.

    `update(prediction, target)` takes class indices of equal shape, of any integer dtype. Targets outside 0 to K-1
    other than `ignore_index` raise ValueError: immediately on a CPU, in `compute()` on a GPU, so that no step waits for
    the device. `compute()` returns int64 [K, K] with targets as rows and predictions as columns.

    Args:
        num_classes: K.
        ignore_index: target value that is not counted, or None.
    """

    full_state_update = False
    counts: Tensor
    strays: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("strays", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one batch."""
        size, truth = self.num_classes, target.long().flatten()
        outside = (truth < 0) | (truth >= size)
        ignored = torch.zeros_like(outside) if self.ignore_index is None else truth == self.ignore_index
        stray = outside & ~ignored
        if truth.device.type != "cpu":
            self.strays += stray.sum()
        elif stray.any():
            raise ValueError(f"a target of {int(truth[stray][0])} lies outside 0 to {size - 1} and is not ignored")
        # Uncounted pairs go into bins past the matrix, which avoids indexing by a boolean mask.
        truth = torch.where(outside | ignored, size, truth)
        counts = counted(truth * size + prediction.long().flatten(), size * (size + 1))
        self.counts += counts[: size * size].view(size, size)

    def compute(self) -> Tensor:
        """Return the counts so far, int64 [K, K]."""
        if self.strays:
            last = self.num_classes - 1
            raise ValueError(f"{int(self.strays)} targets lie outside 0 to {last} and are not ignored")
        return self.counts


def intersection_over_union(counts_KK: Tensor) -> Tensor:
    """Per class, true positives / (true positives + false positives + false negatives): float64 [K].

    NaN for a class that occurs in neither targets nor predictions, as in cityscapesScripts.
    """
    hit, truth, predicted = _margins(counts_KK)
    union = truth + predicted - hit
    return torch.where(union > 0, hit / union, torch.nan)


def class_accuracy(counts_KK: Tensor) -> Tensor:
    """Return the recall of each class, float64 [K]; NaN for a class without targets."""
    hit, truth, _ = _margins(counts_KK)
    return torch.where(truth > 0, hit / truth, torch.nan)


def mean_iou(counts_KK: Tensor) -> Tensor:
    """Mean of `intersection_over_union` over the classes that occur in targets or predictions: float64 scalar.

    As in cityscapesScripts, a class that is predicted but has no targets counts as 0.
    """
    return intersection_over_union(counts_KK).nanmean()


def accuracy(counts_KK: Tensor) -> Tensor:
    """Return the fraction of counted pixels or samples predicted correctly: float64 scalar."""
    return counts_KK.diagonal().sum().double() / counts_KK.sum()


def _margins(counts_KK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    counts = counts_KK.double()
    return counts.diagonal(), counts.sum(1), counts.sum(0)
