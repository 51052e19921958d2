"""Open a checkpoint for inference: its network, and a bundle's description of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from imagier import build
from imagier.batch import Facts, frozen
from imagier.deploy.bundle import TASKS, TRAINING, Description
from imagier.errors import ConfigError
from imagier.models.pixels import FromPixels
from imagier.nodes import plain
from imagier.training.run_folder import find_checkpoint

_NETS = "imagier.models."


def open_checkpoint(path: Path) -> tuple[Description, FromPixels]:
    """Open a run folder or a checkpoint for inference: return a description, and the network in evaluation mode.

    Raises:
        ConfigError: there is no checkpoint, or its task cannot be deployed.
        TrainingError: the checkpoint is damaged.
    """
    task, cfg, said = build.from_checkpoint(find_checkpoint(path, prefer="best"))
    net = build.net_of(task)
    return describe(net, cfg, said), net


def describe(
    net: FromPixels,
    cfg: DictConfig,
    said: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    made_with: Mapping[str, Any] | None = None,
) -> Description:
    """Build a bundle's description from what `build.from_checkpoint` returns.

    Args:
        net: the checkpoint's network.
        cfg: its configuration.
        said: its metadata.
        metrics: its scores, and the data and split that they were measured on.
        made_with: commit and library versions.

    Raises:
        ConfigError: see `refuse_unknown_task`.
    """
    refuse_unknown_task(cfg)
    facts = Facts.from_dict(said["facts"])
    mean, std = net.normalisation
    return Description(
        name=f"{cfg.model.name}-{cfg.data.name}",
        task=cfg.task.name,
        net=cfg.model._target_.removeprefix(_NETS),
        arguments=frozen(build.net_arguments(cfg, facts)),
        channels=facts.channels,
        mean=mean,
        std=std,
        resize=_size_in_use(cfg, facts),
        stride=net.stride,
        classes=facts.classes,
        colors=facts.colors,
        ignore_index=facts.ignore_index,
        lambdas=getattr(net.net, "lambdas", ()),
        metrics=metrics or {},
        provenance={**_provenance(cfg, said, facts.name), **(made_with or {})},
    )


def _size_in_use(cfg: DictConfig, facts: Facts) -> tuple[int, int] | None:
    """Return the (height, width) that images are resized to, or None to keep their size.

    denoise and compress never resize, since that would lose detail.
    """
    if cfg.task.name == "classify":
        return facts.size
    size = cfg.data.get("size")
    return None if cfg.task.name != "segment" or size in (None, "auto") else (size[0], size[1])


def _provenance(cfg: DictConfig, said: Mapping[str, Any], data: str) -> dict[str, Any]:
    settings = frozen(plain(cfg.data))
    return {
        "imagier": said["version"],
        "data": data,
        "data_fingerprint": said["data_fingerprint"],
        "data_settings": {key: settings[key] for key in build.AS_TRAINED if key in settings},
        "epoch": said["epoch"],
        "step": said["step"],
    }


def refuse_unknown_task(cfg: DictConfig) -> None:
    """Raise ConfigError if the configuration's task cannot be deployed."""
    if cfg.task.name not in TASKS:
        raise ConfigError(
            f"the checkpoint is of task={cfg.task.name}, but deployment supports only {', '.join(TASKS)}: `imagier "
            "evaluate` evaluates it; section 'Add a task' of ARCHITECTURE.md says how to support it."
        )


def training_pictures(checkpoint: Path) -> dict[str, Path]:
    """Return the plots that a finished run has drawn, by their names in TRAINING, for its best checkpoint only.

    Without metrics.json the run is not finished, and its plots may be of an earlier checkpoint; then there are none.
    """
    run = checkpoint.parent.parent
    folder = run / "pictures"
    if checkpoint.name != "best.ckpt" or not (run / "metrics.json").is_file():
        return {}
    return {name: path for name in TRAINING if (path := folder / f"{name}.png").is_file()}
