"""Clear messages for errors that only show when a network runs or a split is evaluated; torch's own are obscure."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn

from imagier.batch import Batch
from imagier.errors import ConfigError, DataError, TrainingError, nearest
from imagier.models.pixels import FromPixels, refuse_misshapen

if TYPE_CHECKING:
    from imagier.tasks.base import Task

_NO_SPREAD = "Expected more than 1 value per channel"  # torch's message for batch norm over a single pixel


class FullMemoryError(torch.OutOfMemoryError):
    """The GPU is out of memory. `asked` is the shape of the network's input, [B, C, H, W]."""

    def __init__(self, told: str, asked: tuple[int, ...]) -> None:
        super().__init__(told)
        self.asked = asked


@contextmanager
def told_of(net: nn.Module, batch: Batch) -> Iterator[None]:
    """Replace obscure errors of a network that runs on `batch`. Nothing is checked unless an error occurs.

    Raises:
        ConfigError: if the batch is too small for batch normalisation, or the outputs or the stride of the network do
            not fit the images.
        FullMemoryError: if the GPU runs out of memory.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_NO_SPREAD):
            raise
        raise ConfigError(
            "the network has BatchNorm over feature maps of one pixel, and data.batch_size leaves each process a "
            "single sample: use two or more, or a larger data.size. trainer.accumulate_grad_batches=2 makes a large "
            "step of small batches."
        ) from error
    except torch.OutOfMemoryError as error:
        raise FullMemoryError(str(error), tuple(batch["image"].shape)) from error
    except RuntimeError as error:
        # With several processes, the others would wait for this one.
        if isinstance(net, FromPixels) and not distributed.is_initialized():
            try:
                refuse_misshapen(net, batch["image"])
            except ConfigError as found:
                raise found from error
        raise


def refuse_unmeasured(task: "Task", stage: str, values: Mapping[str, Tensor]) -> None:
    """Raise an error if the monitored score is missing or NaN, before anything relies on it.

    Args:
        task: the task, at the end of an epoch of `stage`.
        stage: val or test.
        values: all scores of the epoch by their names without the stage; NaN if no sample has the score.

    Raises:
        ConfigError: if the task has no such score.
        DataError: if no sample has a label, except in a test with `reports_anyway`.
        TrainingError: if it is NaN although samples were evaluated, except during training.
    """
    name = task.monitor.removeprefix("val/")
    if name not in values:
        names = [f"val/{one}" for one in values]
        raise ConfigError(
            f"{type(task).__name__} has monitor={task.monitor}, which is not one of its scores: "
            f"{', '.join(names)}.{nearest(task.monitor, names)}"
        )
    if not values[name].isnan() or task.trainer.sanity_checking or (task.reports_anyway and stage == "test"):
        return
    with task.mean_loss[stage].sync_context():
        nothing = not task.mean_loss[stage].weight
    if nothing:
        raise DataError(
            f"none of the {stage} samples has a labelled pixel, so {stage}/{name} is undefined; use more of them "
            f"(trainer.limit_{stage}_batches) or label some."
        )
    if task.trainer.state.fn != "fit":  # during training, a later epoch may recover
        raise TrainingError(
            f"{stage}/{name} is NaN, though samples were evaluated; check how {type(task).__name__} computes it, or "
            "train again with a lower optimizer.lr."
        )
