"""Loggers of a run's metrics and images: metrics.csv always, W&B and TensorBoard on request; handlers of its log."""

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
    """Return the loggers of the run: metrics.csv first, then those of `cfg.logger`."""
    known = {"run_dir": run_dir, "run_id": run_id, "resumed_step": resumed_step}
    asked = [call(node, f"logger.{name}", known) for name, node in cfg.logger.items()]
    return [MetricsCsv(run_dir / "metrics.csv", resumed_step), *asked]


def tell_settings(everywhere: Sequence[Logger], cfg: DictConfig) -> None:
    """Send the resolved configuration to W&B, which filters, groups and plots runs by it.

    Raises:
        ConfigError: if W&B rejects the run.
    """
    for logger in everywhere:
        if isinstance(logger, WandbLogger):
            from wandb.errors import Error  # already imported

            try:
                logger.log_hyperparams(plain(cfg))
            except Error as error:
                said = " ".join(str(error).split())[:300]
                raise ConfigError(
                    f"W&B rejects this run: {said}. Correct the key, project or entity, or use "
                    "logger.wandb.mode=offline for now."
                ) from error


def show(everywhere: Sequence[Logger], name: str, picture_HWC: np.ndarray, step: int) -> None:
    """Send one image, uint8 [H, W, 3], to every logger that accepts images."""
    for logger in everywhere:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=name, images=[picture_HWC], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture_HWC, step, dataformats="HWC")


def close(everywhere: Sequence[Logger], scores: Mapping[str, float], step: int) -> None:
    """Log the final scores and close the loggers, so that a sweep's next trial starts its own W&B run."""
    for logger in everywhere:
        logger.log_metrics(dict(scores), step=step)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


@contextmanager
def log_to(handler: logging.Handler) -> Iterator[None]:
    """Send imagier's log to `handler` as well within the block; Lightning logs warnings only."""
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
    """Prints the bare message on standard output, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def console() -> logging.Handler:
    """Return a handler that prints the bare message on standard output."""
    return _AboveTheBar()


def file(path: Path) -> logging.Handler:
    """Return a handler that appends the message, with time and level, to the file at `path`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
