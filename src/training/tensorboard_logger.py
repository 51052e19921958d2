"""TensorBoard: event files in the run folder."""

from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger

from imagier.errors import ConfigError


def tensorboard_logger(*, run_dir: str | Path) -> TensorBoardLogger:
    """Make the logger of a run; look at it with `tensorboard --logdir RUN`.

    Raises:
        ConfigError: when TensorBoard is not installed.
    """
    try:
        return TensorBoardLogger(save_dir=str(run_dir), name="", version="tensorboard")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "logger=tensorboard needs a package that is not installed; run: pip install 'imagier[tensorboard]'"
        ) from error
