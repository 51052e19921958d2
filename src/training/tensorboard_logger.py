"""TensorBoard: event files in the run folder."""

from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger


def tensorboard_logger(*, run_dir: str | Path, resumed_step: int | None = None) -> TensorBoardLogger:
    """Make the logger of a run; view it with `tensorboard --logdir RUN`.

    A resumed run logs the steps from `resumed_step`, its checkpoint's, again; the earlier records of them are hidden.
    """
    return TensorBoardLogger(save_dir=str(run_dir), name="", version="tensorboard", purge_step=resumed_step)
