"""Segment: a class for every pixel."""

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
from imagier.tasks.base import Judged
from imagier.tasks.labelled import Labelled, logits_of


class Segment(Labelled):
    """Semantic segmentation, measured by intersection over union. Logits are [B, K, H, W]."""

    monitor, mode = "val/iou", "max"

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        """Return the loss and the predicted classes, int64 [B, H, W]."""
        outputs = self(batch["image"])
        prediction = logits_of(outputs).detach().max(1).indices  # argmax takes up to four times as long on a CPU
        return self.loss_of(outputs, batch["target"]), prediction

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
        prediction = logits_of(self(batch["image"])).argmax(1)
        scores = []
        for row, target in enumerate(batch["target"]):
            alone = ConfusionMatrix(self.facts.num_classes, self.facts.ignore_index).to(target.device)
            alone.update(prediction[row], target)
            scores.append(mean_iou(alone.counts).nan_to_num())
        return Judged(prediction, torch.stack(scores), {"iou": torch.stack(scores)})
