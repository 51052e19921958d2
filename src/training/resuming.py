"""Resuming a run: check that the configuration fits the checkpoint, report what changed, and apply the changes."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from imagier.batch import Facts
from imagier.checkpoint_file import read_checkpoint
from imagier.errors import ConfigError
from imagier.keys import leaves, within
from imagier.measures import FILES, VALIDATED, changes_measure
from imagier.nodes import plain
from imagier.tasks.base import Task
from imagier.training.hardware import process_count, trainer_settings
from imagier.training.schedule import seconds

log = logging.getLogger(__name__)

# Not reported as changed: where a run is stored, how its data are loaded, a trial's pruner, and the initial weights,
# which the checkpoint replaces.
_UNTOLD = (
    "resume", "paths", "logger", "data.root", "data.cache", "data.decode_once", "data.workers", "trainer.threads",
    "callbacks.pruning", "pretrain", "model.weights",
)  # fmt: skip
_NO_TENSORS = {"weights", "dropout"}  # model settings on which the checkpoint's tensors do not depend
_BEGIN_WITH = ", for instance with model.weights={}"
# Keys of a parameter group that are not settings, belong to the schedule, or depend on the device.
_UNASKED = ("params", "param_names", "lr", "initial_lr", "fused", "foreach", "capturable", "differentiable")


def checkpoint_to_resume(path: Path, cfg: DictConfig, task: Task) -> dict[str, Any]:
    """Read the checkpoint at `path`, and reject a configuration that does not fit it before anything is written.

    Epochs, batch size, learning rate, augmentation, hardware and files may differ. Whatever determines the tensors of
    network and optimiser, or what the scores measure, may not.

    Raises:
        ConfigError: if the configuration does not fit, naming the setting.
        TrainingError: if the file is not a checkpoint.
    """
    checkpoint = read_checkpoint(path)
    then, now = checkpoint["imagier"]["config"], plain(cfg)
    _refuse_other_net(path, checkpoint, task, then, now)
    _refuse_other_optimizer(path, checkpoint, task, then, now)
    if now["trainer"]["strategy"] == "fsdp" != then["trainer"]["strategy"] and process_count(trainer_settings(cfg)) > 1:
        raise ConfigError(
            f"trainer.strategy=fsdp cannot shard the optimizer state in {path}, a run with "
            f"trainer.strategy={then['trainer']['strategy']}; continue with that, or start a new "
            f"run{_BEGIN_WITH.format(path)}."
        )
    _refuse_difference(path, "seed", then["seed"], now["seed"], _BEGIN_WITH.format(path))
    _refuse_other_measure(path, task.monitor, then, now)
    _refuse_done(path, checkpoint, cfg)
    return checkpoint


def _refuse_other_net(
    path: Path, checkpoint: dict[str, Any], task: Task, then: dict[str, Any], now: dict[str, Any]
) -> None:
    _refuse_difference(path, "task", then["task"]["name"], now["task"]["name"])
    for key in sorted((then["model"].keys() | now["model"].keys()) - _NO_TENSORS):
        _refuse_difference(path, f"model.{key}", then["model"].get(key), now["model"].get(key))
    facts, trained = task.facts, Facts.from_dict(checkpoint["imagier"]["facts"])
    _refuse_difference(path, "the list of classes", ", ".join(trained.classes), ", ".join(facts.classes))
    _refuse_difference(path, "data.channels", trained.channels, facts.channels)
    if _shapes(checkpoint["state_dict"]) != _shapes(task.state_dict()):  # in some networks by the image size
        _refuse_difference(path, "the image size", trained.size, facts.size)


def _refuse_other_optimizer(
    path: Path, checkpoint: dict[str, Any], task: Task, then: dict[str, Any], now: dict[str, Any]
) -> None:
    """Reject an optimiser that cannot load the saved state."""
    _refuse_difference(path, "optimizer", then["optimizer"]["_target_"], now["optimizer"]["_target_"])
    for key in ("amsgrad", "centered"):  # they decide which tensors the state has
        _refuse_difference(path, f"optimizer.{key}", then["optimizer"].get(key), now["optimizer"].get(key))
    if (parted := _parts(checkpoint["optimizer_states"][0])) != (ours := _parts(task.configure_optimizers())):
        raise ConfigError(
            f"{path} was written by version {checkpoint['imagier']['version']}, whose optimizer had the parameter "
            f"groups {parted}, which are now {ours}; continue with that version, or start a new "
            f"run{_BEGIN_WITH.format(path)}."
        )


def _refuse_other_measure(path: Path, monitor: str, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Reject settings that change what the score measures: the best one so far would not be comparable."""
    before, after = dict(leaves(then)), dict(leaves(now))
    for key in sorted(before.keys() | after.keys()):
        if changes_measure(key, monitor) and not within(key, ("task", *FILES)):
            values = before.get(key), after.get(key)
            if key == VALIDATED:
                values = str(values[0]), str(values[1])  # 1 (one batch) equals 1.0 (all batches)
            _refuse_difference(path, key, *values, _BEGIN_WITH.format(path))


def _refuse_done(path: Path, checkpoint: dict[str, Any], cfg: DictConfig) -> None:
    """Reject limits below the epochs, steps or time already trained; the run's own budget may be used up."""
    done = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if cfg.trainer.budget is None and cfg.trainer.max_epochs < done:
        raise ConfigError(
            f"trainer.max_epochs={cfg.trainer.max_epochs}, but {path} has already been trained for {done} epochs; set "
            f"at least {done}."
        )
    spent = checkpoint["callbacks"].get("Schedule", {}).get("seconds", 0.0)
    own = checkpoint["imagier"]["config"]["trainer"]["budget"]
    if cfg.trainer.budget not in (None, own) and seconds(cfg.trainer.budget) < spent:
        raise ConfigError(
            f"trainer.budget={cfg.trainer.budget}, but {path} has already been trained for {spent:.0f} s; set at least "
            "as much."
        )
    if 0 < cfg.trainer.max_steps < checkpoint["global_step"]:
        raise ConfigError(
            f"trainer.max_steps={cfg.trainer.max_steps}, but {path} has already been trained for "
            f"{checkpoint['global_step']} steps; set at least as many."
        )


def _parts(optimizer: Any) -> list[int]:
    """Return the number of parameter tensors in each group of an optimiser or of its state."""
    groups = optimizer["param_groups"] if isinstance(optimizer, dict) else optimizer.param_groups
    return [len(group["params"]) for group in groups]


def changes(then: dict[str, Any], cfg: DictConfig) -> Iterator[str]:
    """Yield a sentence for each setting that differs, except those in `_UNTOLD`.

    The command line may set it, or a config file may have been edited since.

    Args:
        then: plain configuration of the run that is resumed.
        cfg: configuration with which it continues.
    """
    before, now = (
        {key: json.dumps(value, ensure_ascii=False) for key, value in leaves(config) if not within(key, _UNTOLD)}
        for config in (then, plain(cfg))  # as text, since 1 (one batch) equals 1.0 (all batches)
    )
    for key in dict.fromkeys([*before, *now]):
        if key not in before:
            yield f"{key} is new: {now[key]}"
        elif key not in now:
            yield f"{key} is gone; it was {before[key]}"
        elif before[key] != now[key]:
            brief = len(before[key]) + len(now[key]) < 80
            yield f"{key} changed from {before[key]} to {now[key]}" if brief else f"{key} has changed"


class SentenceHolds(Callback):
    """Applies the configured optimiser settings and patience to a resumed run, and keeps a stopped one stopped.

    torch and Lightning would restore these settings from the checkpoint, together with the state.
    """

    def __init__(self) -> None:
        self._asked: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the optimiser's configured settings before its state is restored."""
        groups = trainer.optimizers[0].param_groups
        self._asked = [{key: value for key, value in group.items() if key not in _UNASKED} for group in groups]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the configured patience into the state that will be restored."""
        for callback in trainer.early_stopping_callbacks:
            if callback.state_key in checkpoint["callbacks"]:
                checkpoint["callbacks"][callback.state_key]["patience"] = callback.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the optimiser's configured settings, and stop if the patience is already exhausted."""
        for group, asked in zip(trainer.optimizers[0].param_groups, self._asked, strict=True):
            group.update(asked)
        for callback in trainer.early_stopping_callbacks:  # Lightning would check only after another epoch
            if callback.wait_count >= callback.patience:
                log.info("callbacks.early_stopping.patience=%d is exhausted: training stops", callback.patience)
                trainer.should_stop = True


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _refuse_difference(path: Path, what: str, then: Any, now: Any, new_run: str = "") -> None:
    if then != now:
        raise ConfigError(
            f"{what} was {then} in {path}, but is now {now}; a run must be resumed with its own settings. Remove that "
            f"setting, restore the old value if a config file has changed since, or start a new run{new_run}."
        )
