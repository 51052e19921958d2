"""Selection of the samples that a report shows: the best, median and worst among the first of validation."""

import numpy as np
import torch

from imagier.batch import Batch
from imagier.datamodules.base import ImageData
from imagier.tasks.base import Judged, Task
from imagier.training.pictures import Sample

AT_MOST = 512  # samples scored: enough to find telling ones without a second full validation


def exhibits(task: Task, data: ImageData) -> list[Sample]:
    """Return some of the best, median and worst of the first 512 validation samples, with their predictions.

    Args:
        task: with the weights to show; left in evaluation mode.
        data: data module, set up.
    """
    task.eval()
    loader = data.loader("val")
    scores: dict[int, float] = {}
    for batch in loader:
        scores |= dict(zip(batch["index"].tolist(), _judge(task, batch).score.tolist(), strict=True))
        if len(scores) >= AT_MOST:
            break
    each = (
        3 if isinstance(loader.samples.source.read(0)[1], np.ndarray) else 7
    )  # a mask or image takes a row, a label a seventh
    order = sorted(scores, key=lambda index: -scores[index])
    middle = max(0, len(order) // 2 - each // 2)
    chosen = dict.fromkeys([*order[:each], *order[middle : middle + each], *order[-each:]])
    return [sample for index in chosen for sample in samples(task, loader.pick([index]))]


def samples(task: Task, batch: Batch) -> list[Sample]:
    """Return the samples of `batch` with the task's predictions."""
    judged = _judge(task, batch)
    seen = batch["image"] if judged.seen is None else judged.seen
    return [
        Sample(
            id=batch["id"][row],
            image=_array(seen[row]),
            target=_target(batch["target"][row]),
            prediction=_target(judged.prediction[row]),
            figures={name: float(values[row]) for name, values in judged.figures.items()},
        )
        for row in range(len(batch["id"]))
    ]


def first_batch(data: ImageData) -> list[Sample]:
    """Return the first training samples as the network sees them, augmented: two rows of the report's image."""
    batch = next(iter(data.loader("train", shuffle=True)))
    rows = zip(batch["id"], batch["image"], batch["target"], strict=True)
    shown = [Sample(id=name, image=_array(image), target=_target(target)) for name, image, target in rows]
    return shown[:14] if batch["target"].ndim == 1 else shown[:8]


def _target(value: torch.Tensor) -> np.ndarray | float:
    return _array(value) if value.ndim else value.item()


def _array(value: torch.Tensor) -> np.ndarray:
    """Return a mask [H, W] unchanged, an image [C, H, W] as [H, W, C]."""
    return np.asarray((value.permute(1, 2, 0) if value.ndim == 3 else value).cpu())


@torch.inference_mode()
def _judge(task: Task, batch: Batch) -> Judged:
    on_device: Batch = batch | {"image": batch["image"].to(task.device), "target": batch["target"].to(task.device)}
    return task.judge(on_device)
