"""Stop at the first loss that is not a number, while the cause can still be seen, and save no such weights."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from imagier.errors import TrainingError
from imagier.training.processes import agreed, everywhere, gathered


class StopOnNonFiniteLoss(Callback):
    """Raises TrainingError with the step, the batch's samples and advice.

    On a GPU the check would make the host wait for the device, so it is made every `every_n_steps` steps there, and in
    every step on a CPU, where no weights have been changed by the loss that is reported. Processes stop together.

    Args:
        every_n_steps: steps between two checks on a GPU.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps
        self._ids: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember whose loss comes next."""
        self._ids = batch["id"]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Look at the loss before it reaches any weight."""
        if loss.device.type != "cpu" and trainer.global_step % self.every_n_steps:
            return
        finite = bool(torch.isfinite(loss))
        if agreed(not finite):
            value, ids = next(told for told in gathered(None if finite else (loss.item(), self._ids)) if told)
            shown = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
            where = f"at epoch {trainer.current_epoch}, step {trainer.global_step}, on the batch of {shown}"
            became = f"the loss became {value} {where}"
            if loss.device.type != "cpu":  # what it is now may be the doing of a batch that nobody looked at
                became = f"the loss is {value} {where}, or became so up to {self.every_n_steps - 1} steps before"
            raise everywhere(TrainingError(f"{became}. {_advice(trainer)}"))


def refuse_non_finite(trainer: Trainer) -> None:
    """Keep what is saved from weights of NaN: not every loss is looked at, and such a net has finite accuracies.

    Raises:
        TrainingError: in all of a run's processes, where one of them has such a weight.
    """
    if agreed(not all(bool(weight.isfinite().all()) for weight in trainer.lightning_module.parameters())):
        raise everywhere(
            TrainingError(f"weights became NaN or infinite after step {trainer.global_step}. {_advice(trainer)}")
        )


def _advice(trainer: Trainer) -> str:
    """What to do about numbers that are none any more, and which checkpoint is from before."""
    last = getattr(trainer.checkpoint_callback, "last", None)
    kept = f" {last} holds the last valid state." if last is not None and last.exists() else ""
    return (
        "Try a lower optimizer.lr, trainer.gradient_clip_val=1.0, a longer scheduler.warmup, or "
        f"trainer.precision=32-true; `imagier doctor` finds bad samples.{kept}"
    )
