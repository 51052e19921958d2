"""One command, two trainings: a run whose network starts from the weights of a pretraining just before it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from imagier.configuration import check, choices
from imagier.errors import ConfigError, nearest
from imagier.keys import spoken_as, within
from imagier.launch import RUN_FOLDER
from imagier.offered import CONF
from imagier.training.hardware import process_count, trainer_settings

# Command-line settings that apply to both trainings: paths, hardware, network, labels and splits. The length and the
# other training settings of the first one come from its own experiment.
_SHARED = (
    "seed",
    "debug",
    "paths",
    "logger",
    "trainer",
    "model",
    "data.root",
    "data.cache",
    "data.on_error",
    "data.workers",
    "data.decode_once",
    "data.label_set",
    "data.values",
    "data.ignored",
    "data.split",
    "data.val_fraction",
)
_OWN = ("trainer.budget", "trainer.max_epochs", "trainer.max_steps", "trainer.check_val_every_n_epoch")
_MAY_DIFFER = ("weights", "freeze", "mirror", "symmetries")  # options that do not change a network's tensors


def pretrain(cfg: DictConfig, train: Callable[[DictConfig], Any]) -> None:
    """Train `experiment=PRETRAIN` with the shared settings, and set `cfg.model.weights` to its best checkpoint.

    Does nothing if a run is resumed, and only says so if `cfg.model.weights` is already set. The first training records
    its own command-line arguments, so that it can be resumed by itself.

    Args:
        cfg: the configuration of the second training; its `pretrain` names an experiment.
        train: runs a training, and leaves its folder in the environment variable RUN_FOLDER.

    Raises:
        ConfigError: the experiment is unknown, has its own pretraining, another network or another split of the same
            folder, or the run uses several processes.
        ImagierError: whatever the training itself raises.
    """
    if cfg.resume is not None:
        return
    if cfg.model.get("weights") is not None:
        _say(f"pretrain={cfg.pretrain} is skipped, since model.weights is given")
        return
    first = _composed(cfg)
    _check_same_net(cfg, first)
    if process_count(trainer_settings(cfg)) > 1:
        raise ConfigError(
            f"pretrain={cfg.pretrain} runs in a single process only: train experiment={cfg.pretrain} separately, then "
            "set model.weights=RUN."
        )
    length = first.trainer.budget or f"{first.trainer.max_epochs} epochs"
    _say(
        f"pretraining: experiment={cfg.pretrain}, {length}. If interrupted: resume=RUN continues it; then repeat this "
        "command with model.weights=RUN."
    )
    _check_same_shares(cfg, first)
    with spoken_as(first):
        with open_dict(first):
            del first["hydra"]
        check(first)
        if "WANDB_SWEEP_ID" in os.environ:  # W&B's agent has one run, which belongs to the second training
            with open_dict(first):
                first.logger = {}
        train(first)
    cfg.model.weights = str(Path(os.environ.pop(RUN_FOLDER)) / "checkpoints" / "best.ckpt")
    _say(f"pretrained: {cfg.model.weights}")


def _composed(cfg: DictConfig) -> DictConfig:
    """Compose the first training's configuration, with a `hydra` node that holds its overrides."""
    names = choices("experiment")
    if cfg.pretrain not in names:
        meant = nearest(str(cfg.pretrain), names)
        raise ConfigError(f"pretrain={cfg.pretrain} is not an experiment; there are: {', '.join(names)}.{meant}")
    said = [f"experiment={cfg.pretrain}", *(word for word in HydraConfig.get().overrides.task if is_shared(word))]
    with _hydra_set_aside(), initialize_config_dir(str(CONF), version_base="1.3"):
        _check_same_kind(cfg, compose("train", [word for word in said if word.startswith(("experiment=", "model="))]))
        first = compose("train", said, return_hydra_config=True)
    if first.pretrain is not None:
        raise ConfigError(f"pretrain={cfg.pretrain} itself has a pretraining ({first.pretrain}); name that instead.")
    return first


def is_shared(word: str) -> bool:
    """Whether a command-line argument applies to both trainings."""
    key = word.lstrip("+~").partition("=")[0]
    own = key in _OWN
    if key in [f"model.{option}" for option in _MAY_DIFFER]:
        own = not word.startswith("~")  # removing an option from one network removes it from the other
    return not own and within(key, _SHARED)


def _check_same_kind(cfg: DictConfig, first: DictConfig) -> None:
    """Refuse different architectures before composing further: one would not know the other's options."""
    if first.model.name != cfg.model.name or "weights" not in cfg.model:
        raise ConfigError(
            f"pretrain={cfg.pretrain} trains model={first.model.name}, whose weights cannot initialise "
            f"model={cfg.model.name}; use the same model for both, one that has model.weights."
        )


def _check_same_net(cfg: DictConfig, first: DictConfig) -> None:
    for option in sorted({*map(str, cfg.model), *map(str, first.model)} - set(_MAY_DIFFER)):
        one, other = first.model.get(option), cfg.model.get(option)
        if one != other:
            raise ConfigError(
                f"pretrain={cfg.pretrain} trains with model.{option}={one}, but this run has model.{option}={other}: "
                f"set model.{option}=... on the command line, which applies to both."
            )


def _check_same_shares(cfg: DictConfig, first: DictConfig) -> None:
    """Refuse different splits of one folder: the first training must not see what the second is evaluated on."""
    taught, learnt = first.data.get("classes"), cfg.data.get("classes")
    if taught and learnt and set(taught).isdisjoint(learnt) and "values" not in cfg.data:  # masks may share images
        return
    for key in ("split", "val_fraction"):
        one, other = first.data.get(key), cfg.data.get(key)
        if one != other and first.data.get("root") == cfg.data.get("root"):
            raise ConfigError(
                f"pretrain={cfg.pretrain} splits its images by data.{key}={one}, but this run by {other}, so that "
                f"images used in pretraining may be in its validation or test split: set data.{key}=..., which "
                "applies to both."
            )


@contextmanager
def _hydra_set_aside() -> Iterator[None]:
    """Set Hydra's global state aside, so that another configuration can be composed while Hydra runs a job."""
    hydra = GlobalHydra.instance()
    running = hydra.hydra
    hydra.clear()
    try:
        yield
    finally:
        hydra.hydra = running


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
