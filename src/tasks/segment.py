"""Segment: a class for every pixel."""

from typing import Any

import torch
from torch import Tensor

from imagier.batch import Batch
from imagier.metrics.confusion import (
    ConfusionMatrix,
    accuracy,
    class_accuracy,
    intersection_over_union,
    mean_iou,
)
from imagier.tasks.base import Judged, PerStage, Task


class Segment(Task):
    """Semantic segmentation, measured by intersection over union.

    Outputs are logits [B, K, H, W]; in training, a network may return a tuple (logits, *auxiliary logits), whose
    auxiliary losses are weighted by `auxiliary_weight` (0.4 in PSPNet, arXiv 1612.01105). Pixels whose target is
    `facts.ignore_index` are ignored.
    """

    monitor, mode = "val/iou", "max"

    def __init__(self, *args: Any, auxiliary_weight: float = 0.4, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auxiliary_weight = auxiliary_weight
        facts = self.facts
        self.confusion = PerStage(lambda: ConfusionMatrix(facts.num_classes, facts.ignore_index))

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        """Return the loss and the predicted classes, int64 [B, H, W]."""
        outputs = self(batch["image"])
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = self.loss(logits, batch["target"])
        for extra in auxiliary:
            loss = loss + self.auxiliary_weight * self.loss(extra, batch["target"])
        return loss, logits.detach().max(1).indices  # argmax takes up to four times as long on a CPU

    def count(self, stage: str, prediction: Tensor, batch: Batch) -> None:
        """Add one batch to the confusion matrix."""
        self.confusion[stage].update(prediction, batch["target"])

    def scores(self, stage: str) -> dict[str, Tensor]:
        """Return mean IoU, pixel accuracy, mean class accuracy and, except in training, the IoU of each class."""
        counts = self.confusion[stage].compute()
        self.confusion_counts[stage] = counts.cpu()
        scores = {
            "iou": mean_iou(counts),
            "accuracy": accuracy(counts),
            "class_accuracy": class_accuracy(counts).nanmean(),
        }
        if stage == "train":
            return scores
        per_class = intersection_over_union(counts)
        return scores | {f"iou/{name}": per_class[index] for index, name in enumerate(self.facts.classes)}

    @torch.inference_mode()
    def judge(self, batch: Batch) -> Judged:
        """Return the predicted classes, scored by each image's mean IoU (0 if all its pixels are ignored)."""
        prediction = self(batch["image"]).argmax(1)
        scores = []
        for row, target in enumerate(batch["target"]):
            alone = ConfusionMatrix(self.facts.num_classes, self.facts.ignore_index).to(target.device)
            alone.update(prediction[row], target)
            scores.append(mean_iou(alone.counts).nan_to_num())
        return Judged(prediction, torch.stack(scores), {"iou": torch.stack(scores)})
