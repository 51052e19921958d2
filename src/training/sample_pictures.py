"""What the net sees and says, every few epochs, in the run folder and in every logger that takes pictures."""

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
        run_dir: run folder; pictures go to pictures/epoch_NNNN.png.
        every_n_epochs: epochs between two pictures, or more, where epochs are not validated as often.
        count: samples in a picture.
    """

    def __init__(self, run_dir: Path, every_n_epochs: int = 5, count: int = 4) -> None:
        self.run_dir, self.every_n_epochs, self.count = run_dir, every_n_epochs, count
        self._shown: list[Sample] = []
        self._validated = -1  # the epoch of the validation before

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start afresh."""
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
        """Draw while the weights that are being validated (averaged ones, if any) are in place."""
        missing = self.count - len(self._shown)
        if missing <= 0 or trainer.sanity_checking or not trainer.is_global_zero or not self._is_due(trainer):
            return
        assert isinstance(pl_module, Task)
        few: Any = {key: value[:missing] for key, value in batch.items()}
        self._shown += samples(pl_module, few)

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether a picture's epoch has come since the validation before this one: not every epoch need have one."""
        return trainer.current_epoch // self.every_n_epochs > self._validated // self.every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture."""
        if not trainer.sanity_checking:
            self._validated = trainer.current_epoch
        if not self._shown:
            return
        assert isinstance(pl_module, Task)
        picture = sample_grid(self._shown, pl_module.facts)
        path = self.run_dir / "pictures" / f"epoch_{trainer.current_epoch + 1:04d}.png"
        save_pixels(picture, path)
        show(trainer.loggers, "val/samples", picture, max(0, trainer.global_step - 1))  # as Lightning counts its scores
