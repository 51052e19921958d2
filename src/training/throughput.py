"""How long until the first step, how many images a second, and which share of the time the step waits for data."""

import logging
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class Throughput(Callback):
    """Measures each epoch's training, validation left out.

    Waiting is the time between the end of one step and the arrival of the next batch. As the last of the callbacks, it
    counts what the others do after a step as work; but Lightning has checkpoints of single steps written later. Logs
    `images_per_second` (over all processes) and `data_wait_share` in [0, 1] at the end of every epoch. Says once how
    long a user has waited for the first step.

    Args:
        waiting_since: when the run was asked for, as `time.monotonic` counts.
    """

    def __init__(self, waiting_since: float) -> None:
        self._waiting_since: float | None = waiting_since
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self._mark = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Setting up is nobody's waiting. A run that goes on in mid-epoch has no other start."""
        self._mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start afresh."""
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is here."""
        now = time.perf_counter()
        self.waited += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done."""
        now = time.perf_counter()
        self.worked += now - self._mark
        self._mark = now
        self.images += len(batch["id"]) * trainer.world_size
        if self._waiting_since is not None:
            log.info("first step after %.1f s", time.monotonic() - self._waiting_since)
            self._waiting_since = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time spent in validation is nobody's waiting."""
        self._mark = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's figures."""
        pl_module.log_dict(self.figures())

    def figures(self) -> dict[str, float]:
        """The figures of this epoch so far."""
        total = self.waited + self.worked
        if not total:
            return {}
        return {"images_per_second": self.images / total, "data_wait_share": self.waited / total}
