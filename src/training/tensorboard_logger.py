"""TensorBoard: event files in the run folder."""

from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger


def tensorboard_logger(*, run_dir: str | Path) -> TensorBoardLogger:
    """Make the logger of a run; look at it with `tensorboard --logdir RUN`."""
    return TensorBoardLogger(save_dir=str(run_dir), name="", version="tensorboard")
