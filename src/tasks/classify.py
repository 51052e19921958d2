"""Classify: one class for the whole image."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from imagier.batch import Batch
from imagier.errors import ConfigError
from imagier.metrics.confusion import accuracy, class_accuracy
from imagier.tasks.base import Judged
from imagier.tasks.labelled import Labelled, logits_of


class Classify(Labelled):
    """Single-label classification, measured by top-1 accuracy. Logits are [B, K].

    Args:
        cutmix: fraction, in [0, 1], of the training batches to which CutMix is applied: each image gets a rectangle of
            another, and the loss weights both labels by area (Yun et al. 2019, arXiv 1905.04899).
        cutmix_epochs: epochs over which that fraction grows linearly from 0; 0 for the full fraction from the start.
            CutMix hurts in short trainings; in long ones, it keeps the network from memorising the images.

    Raises:
        ConfigError: for an argument out of range.
    """

    monitor, mode = "val/accuracy", "max"

    def __init__(self, *args: Any, cutmix: float = 0.0, cutmix_epochs: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= cutmix <= 1:
            raise ConfigError(f"task.cutmix={cutmix} is not a fraction of the batches; give a number from 0 to 1.")
        if cutmix_epochs < 0:
            raise ConfigError(f"task.cutmix_epochs={cutmix_epochs} is negative; give 0 or more epochs.")
        self.cutmix, self.cutmix_epochs = cutmix, cutmix_epochs

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Also draw whether and where images are mixed, identically in all processes."""
        super().on_train_batch_start(batch, batch_idx)
        self._numbers = torch.rand(4, generator=torch.Generator().manual_seed(self.seed_of_step(batch_idx))).tolist()

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        """Return the loss and the predicted classes, int64 [B]."""
        if stage == "train" and self.cutmix:
            return self._measure_mixed(batch)
        outputs = cast(Any, self.net).head(batch["features"]) if "features" in batch else self(batch["image"])
        return self.loss_of(outputs, batch["target"]), logits_of(outputs).detach().argmax(1)

    def _measure_mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if "features" in batch:
            raise ConfigError(
                "task.cutmix mixes images, but the features of a frozen network are computed before: set task.cutmix=0."
            )
        target = batch["target"]
        grown = min(1.0, self.current_epoch / self.cutmix_epochs) if self.cutmix_epochs else 1.0
        image, share = cut_mixed(batch["image"], self._numbers, self.cutmix * grown)
        outputs = self(image)
        loss = self.loss_of(outputs, target)
        if share > 0:
            loss = (1 - share) * loss + share * self.loss_of(outputs, target.flip(0))
        return loss, logits_of(outputs).detach().argmax(1)

    def scores(self, stage: str) -> dict[str, Tensor]:
        """Return top-1 accuracy, mean class accuracy and, except in training, the accuracy of each class."""
        counts = self.confusion[stage].compute()
        self.confusion_counts[stage] = counts.cpu()
        per_class = class_accuracy(counts)
        scores = {"accuracy": accuracy(counts), "class_accuracy": per_class.nanmean()}
        if stage == "train":
            return scores
        return scores | {f"accuracy/{name}": per_class[index] for index, name in enumerate(self.facts.classes)}

    @torch.inference_mode()
    def judge(self, batch: Batch) -> Judged:
        """Return the predicted classes with their probabilities, scored by the probability of the true class."""
        probability = logits_of(self(batch["image"])).float().softmax(1)
        confidence, prediction = probability.max(1)
        truth = probability.gather(1, batch["target"][:, None])[:, 0]
        return Judged(prediction, truth, {"probability": confidence})


def cut_mixed(image_BCHW: Tensor, numbers: Sequence[float], probability: float) -> tuple[Tensor, float]:
    """Apply CutMix: paste a rectangle of the last image into the first, of the last but one into the second, and so on.

    Args:
        image_BCHW: images of any dtype; they are not modified.
        numbers: four in [0, 1): whether images are mixed, the rectangle's area, and its centre's row and column.
        probability: probability of mixing.

    Returns:
        The images and the fraction of their area, in [0, 1], that comes from the partner.
    """
    if numbers[0] >= probability:
        return image_BCHW, 0.0
    spans = []
    for side, place in zip(image_BCHW.shape[-2:], numbers[2:], strict=True):
        half = side * numbers[1] ** 0.5 / 2
        spans.append((max(0, round(place * side - half)), min(side, round(place * side + half))))
    (top, bottom), (left, right) = spans
    mixed = image_BCHW.clone()
    mixed[..., top:bottom, left:right] = image_BCHW[..., top:bottom, left:right].flip(0)
    return mixed, (bottom - top) * (right - left) / (image_BCHW.shape[-2] * image_BCHW.shape[-1])
