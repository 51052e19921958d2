"""A checkpoint for use: its net, and what it says about it in a bundle's words."""

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
    """Open a run folder or a checkpoint for answers: what its net is, and the net in evaluation.

    Raises:
        ConfigError: there is none, or it is of a task that is not known in use.
        TrainingError: it is damaged.
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
    """Put together what `build.from_checkpoint` has returned.

    Args:
        net: the checkpoint's.
        cfg: its configuration.
        said: what the checkpoint says about itself.
        metrics: what it was measured at.
        made_with: commit and versions.

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
    """The (height, width) to which pictures are brought. Those to restore are not: they would lose what they show."""
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
    """Raise ConfigError where the checkpoint of this configuration is of a task whose answers nobody can read."""
    if cfg.task.name not in TASKS:
        raise ConfigError(
            f"the checkpoint is of task={cfg.task.name}, but deployment supports only {', '.join(TASKS)}: `imagier "
            "evaluate` evaluates it; section 'Add a task' of ARCHITECTURE.md says how to support it."
        )


def training_pictures(checkpoint: Path) -> dict[str, Path]:
    """The pictures that a run has drawn of its training, by names of TRAINING; of the checkpoint that it kept alone.

    Of a run that goes on there are none: those of its earlier end may be of another checkpoint.
    """
    run = checkpoint.parent.parent
    folder = run / "pictures"
    if checkpoint.name != "best.ckpt" or not (run / "metrics.json").is_file():
        return {}
    return {name: path for name in TRAINING if (path := folder / f"{name}.png").is_file()}
