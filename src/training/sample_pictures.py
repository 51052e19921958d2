"""Validation samples with predictions, drawn every few epochs, for the run folder and loggers that accept images."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.deploy.results import save_pixels
from imagier.tasks.base import Task
from imagier.training.exhibits import samples
from imagier.training.loggers import show
from imagier.training.pictures import Sample, sample_grid


class SamplePictures(Callback):
    """Draws the first validation samples with their predictions.

    Args:
        run_dir: run folder; images are written to pictures/epoch_NNNN.png.
        every_n_epochs: one image is drawn per so many epochs, at the first validation among them.
        count: samples per image.
    """

    def __init__(self, run_dir: Path, every_n_epochs: int = 5, count: int = 4) -> None:
        self.run_dir, self.every_n_epochs, self.count = run_dir, every_n_epochs, count
        self._shown: list[Sample] = []
        self._validated = -1  # the epoch of the previous validation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the previous validation's samples."""
        self._shown = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Predict while the validated weights (averaged ones, if any) are in place."""
        missing = self.count - len(self._shown)
        if missing <= 0 or trainer.sanity_checking or not trainer.is_global_zero or not self._is_due(trainer):
            return
        assert isinstance(pl_module, Task)
        few: Any = {key: value[:missing] for key, value in batch.items()}
        self._shown += samples(pl_module, few)

    def _is_due(self, trainer: Trainer) -> bool:
        """Return whether an image has become due since the previous validation; not every epoch may have one."""
        return trainer.current_epoch // self.every_n_epochs > self._validated // self.every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the image and send it to the loggers."""
        if not trainer.sanity_checking:
            self._validated = trainer.current_epoch
        if not self._shown:
            return
        assert isinstance(pl_module, Task)
        picture = sample_grid(self._shown, pl_module.facts)
        path = self.run_dir / "pictures" / f"epoch_{trainer.current_epoch + 1:04d}.png"
        save_pixels(picture, path)
        show(trainer.loggers, "val/samples", picture, max(0, trainer.global_step - 1))  # the step of Lightning's scores
