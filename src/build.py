"""Build objects from a configuration or a checkpoint.

`nodes` calls the target of a node; facts about the data (channels, classes, image size, ...) are passed wherever the
target's signature has a parameter of that name.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from imagier.batch import Facts, Split
from imagier.checkpoint_file import learnt_classes, read_checkpoint
from imagier.datamodules.base import ImageData
from imagier.errors import ConfigError, TrainingError
from imagier.models.pixels import FromPixels
from imagier.models.weights import forget_classes
from imagier.nodes import RESERVED, call, call_nested, parameters_of, plain, refuse_unknown, target_of
from imagier.offered import CONF, OF_TRANSFORMS, OWN, offered_targets, targets
from imagier.tasks.base import Task
from imagier.transforms.augment import Augment

# Settings of `data` that fix which classes a network was trained on and which samples were held out. Data that it is
# evaluated on must share them.
AS_TRAINED = ("labels", "label_set", "classes", "values", "ignored", "split", "val_fraction")
_OF_A_CHECKPOINT = ("task", "model", "data", "noise", "loss")  # groups of its configuration whose targets are called


def data_module(cfg: DictConfig, measured: Split | None = None) -> ImageData:
    """Build the data module of `cfg.data` and set it up: its files are found, examined and ready to load.

    Args:
        cfg: the configuration of a run.
        measured: without training, the split that must exist; see `ImageData.setup`.

    Raises:
        ConfigError, DataError: see `ImageData.setup`.
    """
    if "augment" in cfg:
        refuse_unknown("augment", Augment, map(str, cfg.augment), ["transforms", *OF_TRANSFORMS])
    extra = {"augment": call_nested(cfg.augment.transforms, "augment.transforms")} if "augment" in cfg else {}
    if not isinstance(extra.get("augment", []), list):
        raise ConfigError(f"augment.transforms={extra['augment']} is not a list of transforms; see conf/augment.")
    data: ImageData = call(cfg.data, "data", extra)
    data.prepare_data()
    data.setup(measured=measured)
    return data


def task(cfg: DictConfig, facts: Facts) -> Task:
    """Build the task of `cfg` with its network, loss and optimiser, for data with these facts.

    Raises:
        ConfigError: a part cannot be built, or task, data, noise and class weights do not fit together.
    """
    _refuse_misfit(cfg, facts)
    known = {"class_weights": _weights(cfg, facts), "ignore_index": facts.ignore_index}
    loss = call(cfg.loss, "loss", known, leave_out=frozenset({"name"}))
    optimizer = _optimizer(cfg)
    given = {"net": net(cfg, facts), "loss": loss, "facts": facts, "optimizer": optimizer, "seed": cfg.seed}
    if cfg.get("noise"):
        given["noise"] = call(cfg.noise, "noise", {}, leave_out=frozenset({"name"}))
    made = call(cfg.task, "task", given, leave_out=frozenset({"name", "class_weights", "classes", "labelled"}))
    assert isinstance(made, Task)
    refuse_unfinished(made)
    return made


def refuse_unfinished(made: Task | type[Task]) -> None:
    """Raise ConfigError for a task that lacks a method every task defines, or a valid `monitor` and `mode`."""
    own = made if isinstance(made, type) else type(made)
    missing = [name for name in ("measure", "count", "scores", "judge") if getattr(own, name) is getattr(Task, name)]
    missing += [name for name in ("monitor", "mode") if not hasattr(made, name)]
    if missing:
        raise ConfigError(
            f"task._target_={own.__module__}.{own.__name__} lacks {' and '.join(missing)}, which every task defines; "
            "see imagier.tasks.base.Task."
        )
    if made.mode not in ("max", "min"):
        raise ConfigError(f"{own.__name__} has mode={made.mode}; it must be one of: max, min.")


def _refuse_misfit(cfg: DictConfig, facts: Facts) -> None:
    if cfg.task.get("classes", 0) > facts.num_classes:
        raise ConfigError(
            f"task={cfg.task.name} needs data with classes, but data={facts.name} has {facts.num_classes}; "
            f"{'set data.labels=true' if 'labels' in cfg.data else 'choose other data'}."
        )
    if not cfg.task.get("labelled", True) and facts.num_classes:
        raise ConfigError(
            f"task={cfg.task.name} takes images without labels, but data={facts.name} has {facts.num_classes} "
            f"classes; {'set data.labels=false' if 'labels' in cfg.data else 'choose other data'}."
        )
    if cfg.get("noise") and "noise" not in parameters_of(target_of(cfg.task, "task"))[0]:
        raise ConfigError(f"task={cfg.task.name} does not add noise; remove noise={cfg.noise.get('name')}.")


def net(cfg: DictConfig, facts: Facts) -> FromPixels:
    """Build the network of `cfg.model` for data with these facts; its input is uint8 pixels."""
    inner = call(cfg.model, "model", _known(facts), leave_out=frozenset({"name"}))
    if cfg.task.name == "classify" and _learnt_other_classes(str(cfg.model.get("weights")), facts):
        forget_classes(inner)
    return FromPixels(inner, facts.mean, facts.std, channels_last=cfg.trainer.channels_last is not False)


def _learnt_other_classes(weights: str, facts: Facts) -> bool:
    """Whether the file is an imagier checkpoint for the same number of classes as `facts`, but different ones."""
    theirs = learnt_classes(Path(weights)) if weights.endswith(".ckpt") else []
    return len(theirs) == facts.num_classes and theirs != list(facts.classes)


def net_arguments(cfg: DictConfig, facts: Facts) -> dict[str, Any]:
    """Return all arguments that build the network of `cfg.model` for these facts, as plain values, without weights."""
    accepted, _ = parameters_of(target_of(cfg.model, "model"))
    given = {key: value for key, value in plain(cfg.model).items() if key not in RESERVED | {"name", "weights"}}
    return given | {key: value for key, value in _known(facts).items() if key in accepted}


def _known(facts: Facts) -> dict[str, Any]:
    """Facts about the data that a network may take as arguments."""
    return {"in_channels": facts.channels, "num_classes": facts.num_classes, "image_size": facts.size}


def net_of(task: Task) -> FromPixels:
    """Return the task's network in evaluation mode."""
    net = task.net.eval()
    assert isinstance(net, FromPixels)
    return net


def step_size(cfg: DictConfig, samples: int | None = None) -> int:
    """Return the number of samples per optimiser step, at most those of an epoch if its `samples` are given."""
    asked = int(cfg.data.batch_size * cfg.trainer.accumulate_grad_batches)
    if samples is None:
        return asked
    whole = samples - samples % cfg.data.batch_size  # training drops an incomplete last batch, if there are others
    return min(asked, int(whole or samples))


def learning_rate(cfg: DictConfig, samples: int | None = None) -> float:
    """Return `optimizer.lr`, which is stated for `optimizer.reference_batch` samples, scaled to `step_size`."""
    ratio = step_size(cfg, samples) / cfg.optimizer.reference_batch
    power = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}[cfg.optimizer.lr_scaling]
    return float(cfg.optimizer.lr * ratio**power)


def settle_class_weights(cfg: DictConfig, data: ImageData) -> None:
    """Replace `task.class_weights=auto` in `cfg` by numbers, so that a checkpoint's loss can be built without data."""
    if cfg.task.get("class_weights") == "auto":
        cfg.task.class_weights = [round(float(weight), 6) for weight in data.class_weights()]


def settle_classes(cfg: DictConfig, data: ImageData) -> None:
    """Write class names that were read from a file in the data set into `cfg`: other data may lack that file."""
    if "values" in cfg.data and cfg.data.classes is None:
        cfg.data.classes = list(data.facts.classes)


def _weights(cfg: DictConfig, facts: Facts) -> torch.Tensor | None:
    wanted = cfg.task.get("class_weights")
    if wanted is None:
        return None
    if len(wanted) != facts.num_classes:
        raise ConfigError(
            f"task.class_weights has {len(wanted)} values, but {facts.name} has {facts.num_classes} classes: "
            f"{', '.join(facts.classes)}. Give one value per class, or task.class_weights=auto."
        )
    if not any(wanted):
        raise ConfigError(
            f"task.class_weights={list(wanted)} ignores every class; give at least one class a weight above 0."
        )
    return torch.tensor(list(wanted), dtype=torch.float32)


def _optimizer(cfg: DictConfig) -> Any:
    if "optimizer" not in cfg:
        return None
    target = target_of(cfg.optimizer, "optimizer")
    accepted, _ = parameters_of(target)
    settings: dict[str, Any] = {str(key): value for key, value in plain(cfg.optimizer).items()}
    for key in ("reference_batch", "lr_scaling", "_target_"):
        del settings[key]
    refuse_unknown("optimizer", target, settings, [name for name in accepted if name != "params"])
    if cfg.trainer.fused is True and "fused" not in accepted:
        raise ConfigError(
            f"trainer.fused=true, but {target.__name__} has no fused kernel; leave trainer.fused at auto, or choose "
            "optimizer=adamw."
        )
    if "fused" in accepted and _fused(cfg):
        settings["fused"] = True
    optimizer = functools.partial(target, **(settings | {"lr": learning_rate(cfg)}))
    try:
        # Parameter groups like a task's: matrices, and all others.
        matrix, vector = torch.nn.Parameter(torch.zeros(1, 1)), torch.nn.Parameter(torch.zeros(1))
        optimizer([{"params": [matrix], "matrices": [True]}, {"params": [vector], "matrices": [False]}])
    except (TypeError, ValueError) as error:  # for example, settings that exclude each other
        said = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise ConfigError(f"optimizer: {target.__name__} rejects {said}: {error}. Change one of them.") from error
    return optimizer


def half_precision() -> str:
    """Return the mixed precision for this machine's GPU: before NVIDIA's Ampere, bf16 is emulated and very slow."""
    imitated = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    return "16-mixed" if imitated else "bf16-mixed"


def _fused(cfg: DictConfig) -> bool:
    """Whether to use the fused optimiser. In 16-mixed it unscales gradients inside its step, too late to clip them."""
    precision, on_gpu = cfg.trainer.precision, cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
    precision = half_precision() if precision in ("auto", "fastest") and on_gpu else precision
    clipped = precision == "16-mixed" and cfg.trainer.gradient_clip_val is not None
    if clipped and cfg.trainer.fused is True:
        raise ConfigError(
            "trainer.fused=true cannot clip gradients with trainer.precision=16-mixed; leave trainer.fused at auto, "
            "set trainer.gradient_clip_val=null, or choose bf16-mixed."
        )
    return not clipped and cfg.trainer.fused is not False


def callbacks(cfg: DictConfig, **known: Any) -> list[Any]:
    """Build the callbacks of `cfg.callbacks`, in order; one that has a null setting is off.

    Args:
        cfg: the configuration of a run.
        known: values that are passed to callbacks whose signatures name them: monitor, mode, folder, ...

    Raises:
        ConfigError: a callback cannot be built, or monitors its own score without `mode`.
    """
    active = [(str(name), node) for name, node in cfg.callbacks.items() if node and None not in node.values()]
    return [call(node, f"callbacks.{name}", _known_to(name, node, known)) for name, node in active]


def _known_to(name: str, node: DictConfig, known: dict[str, Any]) -> dict[str, Any]:
    """`known`, without monitor and mode for a callback that sets its own monitor."""
    if name == "checkpoints" or "monitor" not in node:  # the best checkpoint is always chosen by the task's score
        return known
    if "mode" not in node:
        raise ConfigError(
            f"callbacks.{name}.monitor={node.monitor} needs to know whether higher is better: add "
            f"+callbacks.{name}.mode=max or min."
        )
    return {key: value for key, value in known.items() if key not in ("monitor", "mode")}


def from_checkpoint(path: Path, trusted: DictConfig | None = None) -> tuple[Task, DictConfig, dict[str, Any]]:
    """Rebuild a task with its weights from a checkpoint alone.

    Args:
        path: the checkpoint file.
        trusted: the configuration of this run; only targets named in it or in a file of conf/ are called.

    Returns:
        The task in evaluation mode, its configuration, and the checkpoint's metadata: `version`, `config`, `facts`,
        `wandb_id`, `data_fingerprint`, `epoch`, `step`.

    Raises:
        TrainingError: the file is not an imagier checkpoint, does not match its network, or names an unknown target.
        ConfigError: its configuration cannot be built.
    """
    checkpoint = read_checkpoint(path)
    said = checkpoint["imagier"] | {"epoch": checkpoint["epoch"], "step": checkpoint["global_step"]}
    cfg = OmegaConf.create(said["config"])
    assert isinstance(cfg, DictConfig)
    _refuse_foreign(cfg, path, trusted)
    if "weights" in cfg.model:
        cfg.model.weights = None  # the checkpoint contains the weights
    used = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "optimizer"])  # no training happens here
    made = task(used, Facts.from_dict(said["facts"]))
    try:
        made.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise TrainingError(
            f"{path} does not hold the weights of its network ({' '.join(str(error).split())[:200]}). It was "
            "modified, or written by another version of imagier; train again, or use that version."
        ) from error
    return made.eval(), cfg, said


def _refuse_foreign(cfg: DictConfig, path: Path, trusted: DictConfig | None) -> None:
    """Refuse unknown targets: a checkpoint may come from anyone, and a target may be anything Python can import."""
    said = {} if trusted is None else plain(trusted)
    own = {target for _, target in targets(said, "")}
    for place, target in foreign_targets(cfg):
        if target not in own:
            mine = CONF / place.partition(".")[0].partition("[")[0] / "mine.yaml"
            raise TrainingError(
                f"{path} needs {target} for its {place}, which no file in conf/ offers. If you trust it, add a file "
                f"with `_target_: {target}`, such as {mine}, or set {OWN} to a folder of your own, laid out like "
                "conf/, that contains such a file."
            )


def foreign_targets(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    """Yield place and name of each target that a checkpoint with this configuration needs and no conf/ file names."""
    asked, offered = plain(cfg), offered_targets()
    for key in _OF_A_CHECKPOINT:
        yield from ((place, target) for place, target in targets(asked.get(key), key) if target not in offered)
