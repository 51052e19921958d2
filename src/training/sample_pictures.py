"""What the net sees and says, every few epochs, in the run folder and in every logger that takes pictures."""

from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.files import write_aside
from imagier.tasks.base import Task
from imagier.training.exhibits import samples
from imagier.training.loggers import show
from imagier.training.pictures import sample_grid


class SamplePictures(Callback):
    """Draws the first validation samples with their predictions.

    Args:
        run_dir: run folder; pictures go to pictures/epoch_NNNN.png.
        every_n_epochs: epochs between two pictures.
        count: samples in a picture.
    """

    def __init__(self, run_dir: Path, every_n_epochs: int = 5, count: int = 4) -> None:
        self.run_dir, self.every_n_epochs, self.count = run_dir, every_n_epochs, count

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
        due = trainer.current_epoch % self.every_n_epochs == 0 and batch_idx == 0
        if not due or trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Task)
        few: Any = {key: value[: self.count] for key, value in batch.items()}
        picture = sample_grid(samples(pl_module, few), pl_module.facts)
        path = self.run_dir / "pictures" / f"epoch_{trainer.current_epoch + 1:04d}.png"
        write_aside(path, lambda aside: Image.fromarray(picture).save(aside, format="PNG"))
        show(trainer.loggers, "val/samples", picture, trainer.global_step)
