"""Speed of training: time to the first step, images per second, and the share of the time spent waiting for data."""

import logging
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class Throughput(Callback):
    """Measures the training part of each epoch, without validation.

    Waiting is the time between the end of one step and the arrival of the next batch. Since this callback comes last,
    the others' work after a step counts as work; but checkpoints in mid-epoch, which Lightning writes later, count as
    waiting. Logs `images_per_second` (over all processes) and `data_wait_share` in [0, 1] at the end of every epoch,
    and once how long the user has waited for the first step.

    Args:
        waiting_since: when the user started the run, in seconds of `time.monotonic`.
    """

    def __init__(self, waiting_since: float) -> None:
        self._waiting_since: float | None = waiting_since
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self._mark = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the set-up, also in a run resumed in mid-epoch, which has no `on_train_epoch_start`."""
        self._mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the figures."""
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the time since the last step as waiting."""
        now = time.perf_counter()
        self.waited += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the time since the batch arrived as work."""
        now = time.perf_counter()
        self.worked += now - self._mark
        self._mark = now
        self.images += len(batch["id"]) * trainer.world_size
        if self._waiting_since is not None:
            log.info("first step after %.1f s", time.monotonic() - self._waiting_since)
            self._waiting_since = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the validation."""
        self._mark = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's figures."""
        pl_module.log_dict(self.figures())

    def figures(self) -> dict[str, float]:
        """Return the figures of this epoch so far; empty before its first step."""
        total = self.waited + self.worked
        if not total:
            return {}
        return {"images_per_second": self.images / total, "data_wait_share": self.waited / total}
