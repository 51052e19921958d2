"""A callback for tests: the process sends itself a signal before a given optimiser step."""

import os
import signal
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class StopAt(Callback):
    """Sends `name` (SIGKILL, SIGTERM or SIGINT) to this process when `step` steps have been taken.

    With -1 it does so before the first one, while a run is made ready. Of several processes, only `rank` does so, or
    all of them.
    """

    def __init__(self, step: int, name: str = "SIGKILL", rank: int | None = None) -> None:
        self.step, self.name, self.rank = step, name, rank

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.step < 0:
            os.kill(os.getpid(), signal.Signals[self.name])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and self.rank in (None, trainer.global_rank):
            os.kill(os.getpid(), signal.Signals[self.name])
