"""Classify: one class for the whole image."""

from typing import Any, cast

import torch
from torch import Tensor

from imagier.batch import Batch
from imagier.metrics.confusion import ConfusionMatrix, accuracy, class_accuracy
from imagier.tasks.base import Judged, PerStage, Task


class Classify(Task):
    """Single-label classification, measured by top-1 accuracy. Outputs are logits [B, K]."""

    monitor, mode = "val/accuracy", "max"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        facts = self.facts
        self.confusion = PerStage(lambda: ConfusionMatrix(facts.num_classes, facts.ignore_index))

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        """Return the loss and the predicted classes, int64 [B]."""
        logits = cast(Any, self.net).head(batch["features"]) if "features" in batch else self(batch["image"])
        return self.loss(logits, batch["target"]), logits.detach().argmax(1)

    def count(self, stage: str, prediction: Tensor, batch: Batch) -> None:
        """Add one batch to the confusion matrix."""
        self.confusion[stage].update(prediction, batch["target"])

    def scores(self, stage: str) -> dict[str, Tensor]:
        """Top-1 accuracy, its mean over classes, and each class's own."""
        counts = self.confusion[stage].compute()
        self.confusion_counts[stage] = counts.cpu()
        per_class = class_accuracy(counts)
        scores = {"accuracy": accuracy(counts), "class_accuracy": per_class.nanmean()}
        if stage == "train":
            return scores
        return scores | {f"accuracy/{name}": per_class[index] for index, name in enumerate(self.facts.classes)}

    @torch.inference_mode()
    def predict(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 [B, C, H, W] to classes and their probabilities: int64 and float32 [B]."""
        probability, prediction = self(image).float().softmax(1).max(1)
        return prediction, probability

    @torch.inference_mode()
    def judge(self, batch: Batch) -> Judged:
        """Return the classes with their probabilities, ranked by the probability given to the truth."""
        probability = self(batch["image"]).float().softmax(1)
        confidence, prediction = probability.max(1)
        truth = probability.gather(1, batch["target"][:, None])[:, 0]
        return Judged(prediction, truth, {"probability": confidence})
