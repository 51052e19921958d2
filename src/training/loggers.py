"""Where a run's numbers and pictures go: metrics.csv always, W&B and TensorBoard when asked."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from tqdm import tqdm

from imagier.errors import ConfigError
from imagier.nodes import call, plain
from imagier.training.metrics_csv import MetricsCsv


def loggers(cfg: DictConfig, run_dir: Path, run_id: str, resumed_step: int | None) -> list[Logger]:
    """Make the loggers of `cfg.logger`, after metrics.csv."""
    known = {"run_dir": run_dir, "run_id": run_id, "resumed_step": resumed_step}
    asked = [call(node, f"logger.{name}", known) for name, node in cfg.logger.items()]
    return [MetricsCsv(run_dir / "metrics.csv", resumed_step), *asked]


def tell_settings(everywhere: Sequence[Logger], cfg: DictConfig) -> None:
    """Send the resolved configuration to W&B, which filters, groups and plots runs by it.

    Raises:
        ConfigError: when W&B refuses the run.
    """
    for logger in everywhere:
        if isinstance(logger, WandbLogger):
            from wandb.errors import Error  # imported by now

            try:
                logger.log_hyperparams(plain(cfg))
            except Error as error:
                said = " ".join(str(error).split())[:300]
                raise ConfigError(
                    f"W&B rejects this run: {said}. Correct the key, project or entity, or use "
                    "logger.wandb.mode=offline for now."
                ) from error


def show(everywhere: Sequence[Logger], name: str, picture_HWC: np.ndarray, step: int) -> None:
    """Send one picture, uint8 [H, W, 3], to every logger that takes pictures."""
    for logger in everywhere:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=name, images=[picture_HWC], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture_HWC, step, dataformats="HWC")


def close(everywhere: Sequence[Logger], scores: Mapping[str, float], step: int) -> None:
    """Log the final scores and end what has to be ended, so that a sweep's next trial starts its own W&B run."""
    for logger in everywhere:
        logger.log_metrics(dict(scores), step=step)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


@contextmanager
def log_to(handler: logging.Handler) -> Iterator[None]:
    """Send the house's log to `handler` as well; Lightning's chatter is quietened."""
    root = logging.getLogger("imagier")
    root.setLevel(logging.INFO)
    root.propagate = False
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _AboveTheBar(logging.Handler):
    """Prints the bare message on standard output, above a progress bar where one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def console() -> logging.Handler:
    """The bare message, on standard output."""
    return _AboveTheBar()


def file(path: Path) -> logging.Handler:
    """The message with its time, added to the file at `path`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
