"""One sentence, two trainings: a net that begins with the weights which another experiment has just learnt."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from imagier.configuration import check, choices
from imagier.errors import ConfigError, nearest
from imagier.launch import launch


def pretrain(cfg: DictConfig, conf: Path, train: Callable[[DictConfig], Any]) -> None:
    """Train `experiment=PRETRAIN` on the same root, seed and paths, and let `cfg.model.weights` be its best checkpoint.

    With debug=..., it is debugged as well.

    Nothing is done where `cfg.pretrain` is null, where `cfg.model.weights` already says with what to begin, and where a
    run is resumed.

    Args:
        cfg: of the run that is to come.
        conf: folder of the configuration groups.
        train: a run, which leaves PATHS.RUNS/latest.

    Raises:
        ConfigError: for an unknown experiment, one that has a pretraining of its own or another net, or several
            processes.
    """
    if cfg.pretrain is None or cfg.model.get("weights") is not None or cfg.resume is not None:
        return
    first = _composed(cfg, conf)
    if first.model.name != cfg.model.name or "weights" not in cfg.model:
        raise ConfigError(
            f"pretrain={cfg.pretrain} trains model={first.model.name}, whose weights model={cfg.model.name} cannot "
            "begin with; let both be one net that has model.weights."
        )
    if launch().world > 1 or cfg.trainer.devices != 1:
        raise ConfigError(
            f"pretrain={cfg.pretrain} is for one process: train experiment={cfg.pretrain} by itself, and say "
            "model.weights=RUN/checkpoints/best.ckpt."
        )
    print(f"pretraining: experiment={cfg.pretrain}", file=sys.stderr, flush=True)
    train(first)
    cfg.model.weights = str((Path(cfg.paths.runs) / "latest").resolve() / "checkpoints" / "best.ckpt")
    print(f"pretrained: {cfg.model.weights}", file=sys.stderr, flush=True)


def _composed(cfg: DictConfig, conf: Path) -> DictConfig:
    names = choices(conf, "experiment")
    if cfg.pretrain not in names:
        meant = nearest(str(cfg.pretrain), names)
        raise ConfigError(f"pretrain={cfg.pretrain} is no experiment; there are: {', '.join(names)}.{meant}")
    debug = HydraConfig.get().runtime.choices.get("debug") if HydraConfig.initialized() else None
    words = [f"experiment={cfg.pretrain}", *([f"debug={debug}"] if debug else [])]
    with _hydra_set_aside(), initialize_config_dir(str(conf), version_base="1.3"):
        first = compose("train", words)
    for key in ("seed", "paths"):
        first[key] = cfg[key]
    for key in {"root", "cache", "on_error"} & set(cfg.data) & set(first.data):
        first.data[key] = cfg.data[key]
    if first.pretrain is not None:
        raise ConfigError(
            f"pretrain={cfg.pretrain} has a pretraining of its own ({first.pretrain}); name that instead."
        )
    check(first, conf)
    return first


@contextmanager
def _hydra_set_aside() -> Iterator[None]:
    """Compose once more while Hydra runs a job, of which it knows one at a time."""
    hydra = GlobalHydra.instance()
    running = hydra.hydra
    hydra.clear()
    try:
        yield
    finally:
        hydra.hydra = running
