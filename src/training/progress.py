"""Progress of a run: a bar on a terminal, and one log line per epoch."""

import logging
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar

from imagier.tasks.base import Task
from imagier.training.throughput import Throughput

log = logging.getLogger(__name__)


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with the loss, the monitored score, images per second and the share of time waiting for data.

    Args:
        throughput: source of the speeds.
    """

    def __init__(self, throughput: Throughput) -> None:
        super().__init__(refresh_rate=10)
        self.throughput = throughput

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what is shown after the bar."""
        known = trainer.callback_metrics
        names = {"loss": "train/step_loss", str(pl_module.monitor): str(pl_module.monitor)}
        shown: dict[str, Any] = {label: f"{float(known[name]):.3f}" for label, name in names.items() if name in known}
        return shown | _speeds(self.throughput.figures())


class EpochLines(Callback):
    """Logs one line per epoch, to the console and to log.txt.

    Args:
        throughput: source of the speeds.
    """

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput
        self._validated = False  # in this epoch; callback_metrics keeps earlier scores

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has validation scores to log."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line."""
        assert isinstance(pl_module, Task)
        known = trainer.callback_metrics
        names = dict.fromkeys(("val/loss", str(pl_module.monitor)) if self._validated else ())
        self._validated = False
        parts = [f"train/loss {float(pl_module.mean_loss['train'].compute()):.4g}"]
        parts += [f"{name} {float(known[name]):.4g}" for name in names if name in known]
        parts += [f"{text} {label}" for label, text in _speeds(self.throughput.figures()).items()]
        limit = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        log.info("epoch %d%s: %s", trainer.current_epoch + 1, limit, ", ".join(parts))


def _speeds(figures: dict[str, float]) -> dict[str, str]:
    if not figures:
        return {}
    return {"images/s": f"{figures['images_per_second']:.0f}", "waiting": f"{100 * figures['data_wait_share']:.0f}%"}
