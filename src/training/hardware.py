"""Device, precision and Trainer settings of a configuration on this machine."""

import ctypes
import logging
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger

from imagier.build import half_precision
from imagier.datamodules.loader import available_cores
from imagier.errors import ConfigError, TrainingError
from imagier.launch import launch
from imagier.nodes import plain
from imagier.tasks.base import Task
from imagier.tasks.faults import FullMemoryError
from imagier.training.checkpoints import WholeFileIO
from imagier.training.strategies import Copies, Shards

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)
OURS = ("_target_", "budget", "max_steps", "channels_last", "fused", "compile", "threads")  # the rest is Lightning's


def trainer_settings(cfg: DictConfig) -> dict[str, Any]:
    """Resolve `cfg.trainer` to Lightning's arguments.

    `auto` means a GPU in bf16-mixed, or 16-mixed if it lacks bf16, else the CPU in full precision. torchrun and srun
    determine the number of processes and machines.

    Raises:
        ConfigError: for a missing GPU, or settings that do not fit together.
    """
    settings = plain(cfg.trainer)
    if settings["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={settings['accelerator']}, but torch sees no GPU here; "
            "use trainer=cpu or trainer=auto."
        )
    if settings["accelerator"] == "auto":
        settings["accelerator"] = "gpu" if torch.cuda.is_available() else "cpu"
    if settings["devices"] == "auto" and settings["accelerator"] not in ("gpu", "cuda"):  # mps has one
        settings["devices"] = 1
    if settings["accelerator"] == "cpu" and (settings["devices"] == -1 or isinstance(settings["devices"], list)):
        raise ConfigError(
            f"trainer.devices={settings['devices']} selects GPUs, but this run is on the CPU; give the number of "
            "processes that share its cores, such as trainer.devices=2."
        )
    if settings["precision"] == "auto":
        settings["precision"] = "32-true" if settings["accelerator"] == "cpu" else half_precision()
    elif settings["precision"] == "fastest":
        on_cpu = "bf16-mixed" if _computes_in_bf16() else "32-true"
        settings["precision"] = on_cpu if settings["accelerator"] == "cpu" else half_precision()
    if settings["budget"] is not None:
        settings["max_epochs"] = -1
    settings |= _launched(settings["devices"], settings["accelerator"])
    if settings["sync_batchnorm"] == "auto":
        settings["sync_batchnorm"] = settings["accelerator"] != "cpu"
    ema = "callbacks" in cfg and (cfg.callbacks.get("ema") or {}).get("decay") is not None
    _refuse_misfits(settings, ema)
    if settings["strategy"] == "fsdp":
        _refuse_shards(settings, ema, cfg)
    return {key: value for key, value in settings.items() if key not in OURS}


@contextmanager
def held_by_memory(batch_size: int, gathered: int = 0, last: Path | None = None) -> Iterator[None]:
    """Within the block, turn a GPU's out-of-memory error into one that says what helps.

    Args:
        batch_size: samples per batch.
        gathered: batches accumulated per optimiser step; 0 without training.
        last: checkpoint from which the run could be resumed; need not exist.

    Raises:
        TrainingError: if the GPU's memory is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        count, *_, height, width = error.asked if isinstance(error, FullMemoryError) else (batch_size, 0, 0)
        met = f"images of {height} x {width}, {count} at once" if height else f"batches of data.batch_size={batch_size}"
        if count > 1:
            cure = f"data.batch_size={batch_size // 2}"
            if gathered and batch_size % 2 == 0:
                cure += f" trainer.accumulate_grad_batches={2 * gathered}, which keeps the step size"
        else:
            cure = "smaller images (data.size, or a crop in augment), or trainer=cpu"
        resumed = f" Continue with imagier train resume={last.parent.parent}." if last and last.exists() else ""
        raise TrainingError(
            f"GPU out of memory with {met} ({str(error).split('. ')[0]}); use {cure}, or stop other programs on the "
            f"GPU.{resumed}"
        ) from error


def _launched(devices: Any, accelerator: str) -> dict[str, int]:
    """Return the numbers of devices and machines set by torchrun or srun; without these, one machine."""
    here = launch()
    if here.by not in ("torchrun", "srun"):
        return {"num_nodes": 1}
    if devices not in (1, "auto", here.local_world):
        raise ConfigError(
            f"trainer.devices={devices}, but {here.by} has started {here.local_world} processes on this machine; "
            "remove trainer.devices."
        )
    if accelerator != "cpu" and here.local_world > torch.cuda.device_count():
        raise ConfigError(
            f"{here.by} has started {here.local_world} processes on this machine, but torch sees "
            f"{torch.cuda.device_count()} GPUs; start one process per GPU."
        )
    return {"devices": here.local_world, "num_nodes": here.nodes}


def _refuse_misfits(settings: dict[str, Any], ema: bool) -> None:
    strategy = settings["strategy"]
    if strategy not in ("auto", "ddp", "fsdp"):
        raise ConfigError(f"trainer.strategy={strategy} is not known; it is one of: auto, ddp, fsdp.")
    if ema and settings["precision"] in ("bf16-true", "64-true"):
        raise ConfigError(
            "callbacks.ema.decay averages weights in single precision, which "
            f"trainer.precision={settings['precision']} does not have; set trainer.precision=bf16-mixed or "
            "callbacks.ema.decay=null."
        )
    if process_count(settings) < 1:
        raise ConfigError(f"trainer.devices={settings['devices']} is invalid; give the number of devices.")
    if settings["sync_batchnorm"] and settings["accelerator"] == "cpu" and process_count(settings) > 1:
        raise ConfigError(
            "trainer.sync_batchnorm=true needs GPUs; leave it at auto, or choose a model without BatchNorm."
        )


def _refuse_shards(settings: dict[str, Any], ema: bool, cfg: DictConfig) -> None:
    if settings["fused"] is not False:
        raise ConfigError(
            f"trainer.fused={settings['fused']}, but not all of torch's fused optimizers support "
            "trainer.strategy=fsdp; set trainer.fused=false, as trainer=fsdp does."
        )
    if settings["channels_last"] is not False:
        raise ConfigError(
            f"trainer.channels_last={settings['channels_last']}, but trainer.strategy=fsdp can only shard kernels in "
            "channels-first memory layout; set trainer.channels_last=false, as trainer=fsdp does."
        )
    if ema:
        raise ConfigError(
            "callbacks.ema.decay needs the whole model in every process, but trainer.strategy=fsdp shards it; set "
            "callbacks.ema.decay=null or trainer.strategy=ddp."
        )
    if process_count(settings) == 1:
        return
    if "task" in cfg and cfg.task.name == "compress":
        raise ConfigError(
            "task=compress needs the whole model to write files, but trainer.strategy=fsdp shards it; use trainer=ddp."
        )
    if "model" in cfg and cfg.model.get("freeze"):
        raise ConfigError(
            "model.freeze=true calls the frozen part and the head separately, but trainer.strategy=fsdp gathers a "
            "model as a whole; use trainer=ddp."
        )


def refuse_no_batches(stage: str, limit: float, batches: int) -> None:
    """Raise ConfigError if `limit` is a fraction, a float, that makes less than one of a loader's `batches`."""
    if isinstance(limit, float) and limit * batches < 1:
        raise ConfigError(
            f"trainer.limit_{stage}_batches={limit:g} of {batches} batches is less than one batch; give a number of "
            "batches, such as 1, or a larger fraction."
        )


def refuse_precision(precision: str, task: Task) -> None:
    """Raise ConfigError if the networks of `task` do not support this precision of a Trainer."""
    if task.precisions and precision not in task.precisions:
        raise ConfigError(
            f"trainer.precision={precision}, but parts of this model need single precision; use one of: "
            f"{', '.join(task.precisions)}."
        )


def process_count(settings: dict[str, Any]) -> int:
    """Return the number of processes of a run with these resolved settings, over all machines."""
    devices = settings["devices"]
    if devices in ("auto", -1):
        devices = torch.cuda.device_count()
    here = len(devices) if isinstance(devices, list) else int(devices)
    return here * int(settings["num_nodes"])


def make_trainer(
    cfg: DictConfig, run_dir: Path, callbacks: list[Callback], loggers: list[Logger], alone: bool = False
) -> Trainer:
    """Make the Trainer of a run; with `alone`, one that evaluates in this process, on the first of its devices.

    Raises:
        ConfigError: if Lightning rejects the settings.
    """
    settings = trainer_settings(cfg)
    if alone:
        chosen = settings["devices"]
        settings |= {"devices": chosen[:1] if isinstance(chosen, list) else 1, "num_nodes": 1}
    environment: Any = TorchElasticEnvironment if launch().by in ("torchrun", "srun") else LightningEnvironment
    if process_count(settings) == 1:
        environment, settings["strategy"] = LightningEnvironment, "auto"
    else:
        settings["strategy"] = Shards() if settings["strategy"] == "fsdp" else Copies()
    if settings["accelerator"] != "cpu":
        torch.set_float32_matmul_precision("high")  # TF32 where bf16 is not used
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # `data.workers` is chosen
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning 2.6 on torch 2.15
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # as frozen parts are
    # torchmetrics has summed the counts over all processes before a score is logged.
    warnings.filterwarnings("ignore", message=".*recommended to use `self.log.*sync_dist=True.*")
    # A small split may leave one of several processes without samples.
    warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
    # A resumed run reports itself which settings have changed; one may be a callback that is off now.
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")  # fine for small data sets
    try:
        return Trainer(
            **settings,
            default_root_dir=run_dir,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[WholeFileIO(), environment()],
            enable_progress_bar=any("ProgressBar" in type(callback).__name__ for callback in callbacks),
            enable_checkpointing=any("Checkpoints" in type(callback).__name__ for callback in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=1,
            use_distributed_sampler=False,  # the loaders split the samples themselves
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        sentence = " ".join(str(error).split())
        raise ConfigError(f"trainer does not fit Lightning's Trainer: {sentence}") from error


def _computes_in_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16 natively; others emulate it, slower than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 lacks it
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "sve_bf16", "bf16"))


def settle_threads(cfg: DictConfig, workers: int) -> None:
    """Set torch's number of threads, so that computing threads do not compete for cores.

    With trainer.threads=auto a process on the CPU gets OMP_NUM_THREADS threads if that is set, else one per core that
    its loader workers and the run's other processes leave free. The value that an earlier job of the same process has
    set does not count, since sums depend on the number of threads. On a GPU the choice is torch's.

    Args:
        cfg: configuration of the run.
        workers: usual number of loader workers here, whatever data.workers is: the last digits of sums depend on the
            number of threads, and results must not depend on the number of workers.
    """
    settings = trainer_settings(cfg)
    if cfg.trainer.threads != "auto":
        torch.set_num_threads(cfg.trainer.threads)
    elif settings["accelerator"] == "cpu":
        here = max(1, process_count(settings) // int(settings["num_nodes"]))
        asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # may list a number per level of nesting
        stated = int(asked) if asked.isdecimal() else 0
        torch.set_num_threads(stated or max(1, available_cores() // here - workers))


def keep_freed_memory(cfg: DictConfig) -> None:
    """Make glibc, if that is the C library, keep freed memory in a process that trains on the CPU.

    Activations have the same sizes in every step. glibc returns large ones to the kernel whenever they are freed, and
    the kernel zeroes every page of them again: a third of a step's time for large images.
    """
    if trainer_settings(cfg)["accelerator"] == "cpu" and platform.libc_ver()[0] == "glibc":
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_M_MMAP_MAX, 0)
        glibc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def describe_hardware(cfg: DictConfig, workers: int) -> None:
    """Log the run's hardware and precision, and the number of workers of the training loader."""
    settings = trainer_settings(cfg)
    count = process_count(settings)
    loading = f"{workers} loader workers" if workers else "no loader workers"
    if settings["accelerator"] == "cpu":
        threads = torch.get_num_threads()
        log.info(
            "on the CPU, %d thread%s on %d cores, %s, precision %s",
            threads, "" if threads == 1 else "s", available_cores(), loading, settings["precision"],
        )  # fmt: skip
    else:
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else settings["accelerator"]
        log.info("on %d x %s, %s, precision %s", count, name, loading, settings["precision"])
    if count > 1:
        split = " and of the model" if settings["strategy"] == "fsdp" else ""
        log.info("%d processes, each with its share of every batch%s", count, split)
