"""TensorBoard: event files in the run folder."""

from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger


def tensorboard_logger(*, run_dir: str | Path, resumed_step: int | None = None) -> TensorBoardLogger:
    """Make the logger of a run; look at it with `tensorboard --logdir RUN`.

    What lies behind `resumed_step`, the checkpoint's that a resumed run continues, is logged again and shown once.
    """
    return TensorBoardLogger(save_dir=str(run_dir), name="", version="tensorboard", purge_step=resumed_step)
