"""Which samples a report shows: the best, the median and the worst of the validation split."""

import numpy as np
import torch

from imagier.batch import Batch
from imagier.datamodules.base import ImageData
from imagier.tasks.base import Task
from imagier.training.pictures import Sample

AT_MOST = 512  # samples looked at: enough to find telling ones without a second validation


def exhibits(task: Task, data: ImageData) -> list[Sample]:
    """Return some of the best, median and worst validation samples with their predictions.

    Args:
        task: with the weights to show; left in evaluation mode.
        data: set up.
    """
    task.eval()
    loader = data.loader("val")
    scores: dict[int, float] = {}
    for batch in loader:
        _, _, values = _judge(task, batch)
        scores |= dict(zip(batch["index"].tolist(), values.tolist(), strict=True))
        if len(scores) >= AT_MOST:
            break
    each = 3 if isinstance(loader.samples.source.read(0)[1], np.ndarray) else 7  # a mask takes a row, a label a seventh
    order = sorted(scores, key=lambda index: -scores[index])
    middle = max(0, len(order) // 2 - each // 2)
    chosen = dict.fromkeys([*order[:each], *order[middle : middle + each], *order[-each:]])
    return [sample for index in chosen for sample in samples(task, loader.pick([index]))]


def samples(task: Task, batch: Batch) -> list[Sample]:
    """Return the samples of `batch` with the task's predictions."""
    prediction, confidence, scores = _judge(task, batch)
    shown = confidence if confidence.ndim == 1 else scores  # a label goes with its probability, a mask with its IoU
    return [
        Sample(
            id=batch["id"][row],
            image=_picture(batch["image"][row]),
            target=_label(batch["target"][row]),
            prediction=_label(prediction[row]),
            score=float(shown[row]),
        )
        for row in range(len(batch["id"]))
    ]


def first_batch(data: ImageData) -> list[Sample]:
    """Return some training samples as the net sees them first, augmented: two rows of the report's picture."""
    batch = next(iter(data.loader("train", shuffle=True)))
    rows = zip(batch["id"], batch["image"], batch["target"], strict=True)
    shown = [Sample(id=name, image=_picture(image), target=_label(target)) for name, image, target in rows]
    return shown[:14] if batch["target"].ndim == 1 else shown[:8]


def _picture(image_CHW: torch.Tensor) -> np.ndarray:
    return np.asarray(image_CHW.permute(1, 2, 0).cpu())


def _label(value: torch.Tensor) -> np.ndarray | int:
    return np.asarray(value.cpu()) if value.ndim else int(value)


@torch.inference_mode()
def _judge(task: Task, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    on_device: Batch = batch | {"image": batch["image"].to(task.device), "target": batch["target"].to(task.device)}
    return task.judge(on_device)
