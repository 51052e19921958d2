"""Refuse a callback that monitors a score which validation does not measure, before it can end a run."""

from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.errors import ConfigError, nearest
from imagier.tasks.base import Task
from imagier.training.processes import everywhere


class MonitorsExist(Callback):
    """Raises ConfigError if another callback's `monitor` is a validation score that validation has not logged.

    Usually before training, after the one batch that is validated then; Lightning would raise after the first epoch.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare every monitor with the logged scores, unless the samples had no labels and so no scores."""
        assert isinstance(pl_module, Task)
        known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        everything: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in everything if pl_module.monitor in known else ():
            name = getattr(callback, "monitor", None)
            if isinstance(name, str) and name.startswith("val/") and name not in known:
                raise everywhere(
                    ConfigError(
                        f"{type(callback).__name__} monitors {name}, which validation during training does not "
                        f"measure; it measures {', '.join(known)}.{nearest(name, known)}"
                    )
                )
