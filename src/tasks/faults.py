"""What is said of faults that show only when a net is asked, or a split measured: of its own words torch has others."""

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

_NO_SPREAD = "Expected more than 1 value per channel"  # as torch says of one sample's map of one pixel


class FullMemoryError(torch.OutOfMemoryError):
    """A GPU's memory is full. `asked`: the shape of the pictures that a net was asked about, [B, C, H, W]."""

    def __init__(self, told: str, asked: tuple[int, ...]) -> None:
        super().__init__(told)
        self.asked = asked


@contextmanager
def told_of(net: nn.Module, batch: Batch) -> Iterator[None]:
    """Say of a net that is asked about `batch` what is wrong with it. To look for it costs the others nothing.

    Raises:
        ConfigError: the batch is too small for its normalisation, or its answers have another size than the pictures.
        FullMemoryError: the GPU's memory does not hold what the net makes of it.
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
        # Other processes would wait for this one.
        if isinstance(net, FromPixels) and not distributed.is_initialized():
            try:
                refuse_misshapen(net, batch["image"])
            except ConfigError as found:
                raise found from error
        raise


def refuse_unmeasured(task: "Task", stage: str, values: Mapping[str, Tensor]) -> None:
    """Say that the score which everything goes by is not there, before it is looked for.

    Args:
        task: whose epoch of `stage`, val or test, has ended.
        stage: of the Trainer.
        values: every score of the epoch by its name without the stage; NaN where nothing has it.

    Raises:
        ConfigError: the task never has it.
        DataError: no sample shows it.
        TrainingError: it is no number.
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
    if task.trainer.state.fn != "fit":  # while training it may be a number again
        raise TrainingError(
            f"{stage}/{name} is NaN, though samples were evaluated; check how {type(task).__name__} computes it, or "
            "train again with a lower optimizer.lr."
        )
