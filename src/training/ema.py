"""An exponential moving average of the weights, evaluated and kept in place of the last ones."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor


class ExponentialMovingAverage(WeightAveraging):
    """Averages parameters and normalisation statistics after each step (Polyak; decay warmed up as in TensorFlow's).

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that a short run is not stuck with its first weights.

    Args:
        decay: of the average, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, multi_avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the averages where the net will be trained, and their count where asking for it waits for nothing.

        The net itself is still on the CPU here. Averages that stayed there would fetch all of it in every step.
        """
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.n_averaged = torch.tensor(0)

    def _average(self, averages: list[Tensor], currents: list[Tensor], _: Tensor | int) -> None:
        if not averages[0].is_floating_point():  # BatchNorm counts its batches in whole numbers
            torch._foreach_copy_(averages, currents)
            return
        assert self._average_model is not None
        updates = int(self._average_model.n_averaged)
        torch._foreach_lerp_(averages, currents, 1 - min(self.decay, (1 + updates) / (10 + updates)))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore both sets of weights to go on training; for evaluation the averages alone are wanted."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class WithoutAverages(Callback):
    """Goes on from a checkpoint of averaged weights with the weights themselves, where none are averaged any more."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take what the optimiser's state belongs to."""
        averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if "current_model_state" in checkpoint and not averages and trainer.state.fn == TrainerFn.FITTING:
            pl_module.load_state_dict(checkpoint["current_model_state"])
