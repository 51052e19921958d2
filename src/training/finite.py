"""Stop at the first loss that is NaN or infinite, while the cause can still be seen, and save no such weights."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from imagier.errors import TrainingError
from imagier.training.processes import agreed, everywhere, gathered


class StopOnNonFiniteLoss(Callback):
    """Raises TrainingError, with the step, the batch's samples and advice, when the loss is NaN or infinite.

    On a CPU every loss is checked, before it changes any weight. On a GPU the check makes the host wait for the device,
    so only every `every_n_steps`-th step is checked. All processes stop together.

    Args:
        every_n_steps: steps between two checks on a GPU.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps
        self._ids: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the samples of the next loss."""
        self._ids = batch["id"]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss before it reaches any weight."""
        if loss.device.type != "cpu" and trainer.global_step % self.every_n_steps:
            return
        finite = bool(torch.isfinite(loss))
        if agreed(not finite):
            value, ids = next(told for told in gathered(None if finite else (loss.item(), self._ids)) if told)
            shown = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
            where = f"in epoch {trainer.current_epoch + 1}, step {trainer.global_step}, on the batch of {shown}"
            became = f"the loss became {value} {where}"
            if loss.device.type != "cpu":  # the cause may be an earlier batch that was not checked
                became = f"the loss is {value} {where}, or became so up to {self.every_n_steps - 1} steps before"
            raise everywhere(TrainingError(f"{became}. {_advice(trainer)}"))


def refuse_non_finite(trainer: Trainer) -> None:
    """Refuse to save weights that are NaN or infinite: not every loss is checked, and accuracies stay finite.

    Raises:
        TrainingError: in the leader, if any process has such a weight; the other processes exit.
    """
    if agreed(not all(bool(weight.isfinite().all()) for weight in trainer.lightning_module.parameters())):
        raise everywhere(
            TrainingError(f"weights became NaN or infinite after step {trainer.global_step}. {_advice(trainer)}")
        )


def _advice(trainer: Trainer) -> str:
    """Return advice on values that are not finite, and which checkpoint is still valid."""
    last = getattr(trainer.checkpoint_callback, "last", None)
    kept = f" {last} holds the last valid state." if last is not None and last.exists() else ""
    return (
        "Try a lower optimizer.lr, trainer.gradient_clip_val=1.0, a longer scheduler.warmup, or "
        f"trainer.precision=32-true; `imagier doctor` finds bad samples.{kept}"
    )
