"""An exponential moving average of the weights, evaluated and saved in place of the current ones."""

from collections import defaultdict
from itertools import chain
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
        decay: decay of the average, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the averages on the training device, and their count on the CPU, where reading it waits for nothing.

        The network itself is still on the CPU here. Averages left there would copy all of it back in every step.
        """
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.n_averaged = torch.tensor(0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the averages after each optimiser step, as torch's `update_parameters` does, but without waiting.

        torch's copies the count of updates to the device, which blocks until the step is done.
        """
        model = self._average_model
        if model is None or trainer.global_step <= self._latest_update_step:
            return
        self._latest_update_step, updates = trainer.global_step, int(model.n_averaged)
        pairs = zip(
            chain(model.module.parameters(), model.module.buffers()),
            chain(pl_module.parameters(), pl_module.buffers()),
            strict=True,
        )
        by_type: defaultdict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
        for average, current in pairs:
            by_type[average.dtype][0].append(average)
            by_type[average.dtype][1].append(current)
        with torch.no_grad():
            for dtype, (averages, currents) in by_type.items():
                if updates == 0 or not dtype.is_floating_point:  # BatchNorm counts its batches in int64
                    torch._foreach_copy_(averages, currents)
                else:
                    kept = min(self.decay, (1 + updates) / (10 + updates))
                    torch._foreach_lerp_(averages, currents, 1 - kept)
        model.n_averaged += 1

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore both sets of weights when training continues; evaluation needs only the averages."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class WithoutAverages(Callback):
    """Resumes a checkpoint of averaged weights with the current weights, if averaging is off now."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Load the current weights, to which the optimiser's state belongs."""
        averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if "current_model_state" in checkpoint and not averages and trainer.state.fn == TrainerFn.FITTING:
            pl_module.load_state_dict(checkpoint["current_model_state"])
