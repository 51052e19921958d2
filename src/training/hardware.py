"""Which device, precision and Trainer settings a sentence means on this machine."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger

from imagier.build import plain
from imagier.errors import ConfigError
from imagier.training.checkpoints import WholeFileIO

log = logging.getLogger(__name__)

OURS = ("_target_", "budget", "channels_last", "fused", "compile")  # the rest is Lightning's


def trainer_settings(cfg: DictConfig) -> dict[str, Any]:
    """Resolve `cfg.trainer` to Lightning's arguments: `auto` means a GPU in bf16-mixed, else the CPU in full precision.

    Raises:
        ConfigError: for a GPU that is not there.
    """
    settings = plain(cfg.trainer)
    if settings["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={settings['accelerator']}, but torch sees no GPU here; "
            "use trainer=cpu or trainer=auto."
        )
    if settings["accelerator"] == "auto":
        settings["accelerator"] = "gpu" if torch.cuda.is_available() else "cpu"
    if settings["devices"] == "auto" and settings["accelerator"] == "cpu":
        settings["devices"] = 1
    if settings["precision"] == "auto":
        settings["precision"] = "32-true" if settings["accelerator"] == "cpu" else "bf16-mixed"
    if settings["budget"] is not None:
        settings["max_epochs"] = -1
    return {key: value for key, value in settings.items() if key not in OURS}


def make_trainer(
    cfg: DictConfig, run_dir: Path, callbacks: list[Callback], loggers: list[Logger], devices: int | None = None
) -> Trainer:
    """Make the Trainer of a run; with `devices=1`, one that measures in this process alone."""
    settings = trainer_settings(cfg)
    if devices is not None:
        settings |= {"devices": devices, "strategy": "auto"}
    if settings["accelerator"] != "cpu":
        torch.set_float32_matmul_precision("high")  # TF32 where bf16 is not used
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # `data.workers` is our own choice
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning 2.6 on torch 2.15
    # torchmetrics has added the counts of all processes up before a score is logged.
    warnings.filterwarnings("ignore", message=".*recommended to use `self.log.*sync_dist=True.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")  # small sets are welcome
    try:
        return Trainer(
            **settings,
            default_root_dir=run_dir,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[WholeFileIO()],
            enable_progress_bar=any("ProgressBar" in type(callback).__name__ for callback in callbacks),
            enable_checkpointing=any("Checkpoints" in type(callback).__name__ for callback in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=1,
            use_distributed_sampler=False,  # the loaders share out their samples themselves
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        sentence = " ".join(str(error).split())
        raise ConfigError(f"trainer does not fit Lightning's Trainer: {sentence}") from error


def describe_hardware(cfg: DictConfig) -> None:
    """Say where the run happens."""
    settings = trainer_settings(cfg)
    if settings["accelerator"] == "cpu":
        log.info("on the CPU, %d threads, precision %s", torch.get_num_threads(), settings["precision"])
    else:
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else settings["accelerator"]
        log.info("on %s x %s, precision %s", settings["devices"], name, settings["precision"])
