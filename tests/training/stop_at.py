"""A callback for tests that makes a process send itself a signal before a given optimiser step."""

import os
import signal
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class StopAt(Callback):
    """Sends `name` (SIGKILL, SIGTERM or SIGINT) to this process once `step` optimiser steps have been taken.

    With step=-1 it does so during the sanity check before training. Of several processes, only `rank` does so; None
    means all.
    """

    def __init__(self, step: int, name: str = "SIGKILL", rank: int | None = None) -> None:
        self.step, self.name, self.rank = step, name, rank

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.step < 0:
            os.kill(os.getpid(), signal.Signals[self.name])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and self.rank in (None, trainer.global_rank):
            os.kill(os.getpid(), signal.Signals[self.name])
