"""Check a composed configuration before torch is imported, so that mistakes are reported at once."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from imagier.errors import ConfigError, nearest
from imagier.keys import is_said, leaves
from imagier.offered import CONF, OF_TRANSFORMS, own_conf
from imagier.rules import RULES

# Top-level keys of any verb's configuration.
KNOWN = (
    "task", "model", "data", "augment", "noise", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger",
    "paths", "seed", "pretrain", "resume", "test", "report", "ckpt", "split", "output", "runs", "seeds", "clear",
    "source", "format", "formats", "precision", "runtime", "threads", "tile", "flip", "scales", "top", "samples",
    "calibration", "quality", "overwrite", "host", "port", "token", "queue", "batch_size", "max_megabytes",
    "max_megapixels", "timeout", "page", "device", "pictures", "rates",
    "sweep",
)  # fmt: skip

_PLACES = ("trainer", "data", "optimizer", "model", "scheduler", "loss", "paths")  # searched for keys without a group

# Keys that training needs in a group's chosen file; a user's own file may lack one.
_ASKED = {
    "task": ("_target_", "name"),
    "model": ("_target_", "name"),
    "data": ("_target_", "name", "batch_size"),
    "loss": ("_target_", "name"),
    "optimizer": ("_target_", "lr", "reference_batch", "lr_scaling"),
    "scheduler": ("_target_",),
}

# Arguments of Lightning's Trainer that a run sets itself, and what to use instead.
_HELD = {
    "callbacks": "add one as +callbacks.NAME._target_=CLASS",
    "logger": "choose logger=NAME",
    "plugins": "imagier writes whole checkpoints itself, and detects how its processes were started",
    "default_root_dir": "paths.runs says where run folders go",
    "enable_checkpointing": "callbacks.checkpoints keeps the best and the last",
    "enable_progress_bar": "a progress bar is shown in a terminal, and one line per epoch is always logged",
    "enable_model_summary": "add +callbacks.summary._target_=pytorch_lightning.callbacks.ModelSummary",
    "num_sanity_val_steps": "one validation batch always runs before training, so that an error there shows early",
    "use_distributed_sampler": "the data loaders split samples between processes themselves",
}


_EXAMPLES = {"ema": "decay=0.999", "early_stopping": "patience=5"}  # of callbacks' settings


def check(cfg: DictConfig) -> None:
    """Check a composed configuration.

    Args:
        cfg: the configuration, without Hydra's own node.

    Raises:
        ConfigError: a value or key is missing, a key is unknown, a value is out of range, a checkpoint does not exist,
            or network, data or loss do not fit the task.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ConfigError(f"{missing[0]} is not given; add {missing[0]}=... to the command.")
    if unknown := [str(key) for key in cfg if key not in KNOWN]:
        raise ConfigError(
            f"{unknown[0]} is not known here; the keys are: {', '.join(KNOWN)}.{nearest(unknown[0], KNOWN)}"
        )
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    values = dict(leaves(plain))
    for key, rule in RULES.items():
        if key in values and not rule.allows(values[key]):
            raise ConfigError(f"{key}={_word(values[key])} is out of range: {key} is {rule}.{_text(values[key])}")
    _check_places(cfg)
    if cfg.get("augment") and cfg.get("resume") is None:  # saved arguments may be for a list that resuming replaces
        _check_augment(cfg.augment)
    if cfg.get("callbacks") and cfg.get("resume") is None:  # nor if resuming switches a callback off
        _check_callbacks(cfg.callbacks)
    if "task" in cfg:
        for group, asked in _ASKED.items():
            _check_keys(cfg, group, asked)
        for group in ("model", "data", "loss"):
            _check_pair(cfg, group)
        _check_parts(cfg)


def _check_places(cfg: DictConfig) -> None:
    """Refuse a missing checkpoint (`serve` takes several) before loading the libraries that read it."""
    said = str(cfg.get("ckpt") or "")
    for place in [said] if Path(said).expanduser().exists() else said.split(","):
        if place and not Path(place).expanduser().exists():
            raise ConfigError(
                f"{place} does not exist; name a run folder (runs/latest is the newest), a checkpoint file, or a "
                "bundle that `imagier export` has made."
            )


def _check_augment(augment: DictConfig) -> None:
    """Refuse a setting given on the command line that the chosen list ignores; an experiment's own may be unused."""
    text = OmegaConf.to_yaml(augment)
    for key in OF_TRANSFORMS:
        if key in augment and is_said(f"augment.{key}") and not re.search(rf"\$\{{[\w.]*\b{key}\}}", text):
            used = sorted(set(re.findall(r"\$\{augment\.(\w+)\}", text)))
            there = f"it uses {', '.join(f'augment.{name}' for name in used)}" if used else "it has no such key"
            raise ConfigError(
                f"augment.{key}={augment[key]} would have no effect, as the chosen list of transforms does not use "
                f"it; {there}. Remove it, or choose another augment=NAME."
            )


def _check_callbacks(callbacks: DictConfig) -> None:
    """Refuse a setting given on the command line for a callback that is off."""
    for name, node in ((str(name), node) for name, node in callbacks.items()):
        keys = list(node) if isinstance(node, DictConfig) else []
        off = [key for key in keys if node[key] is None]
        said = [key for key in keys if node[key] is not None and is_said(f"callbacks.{name}.{key}")]
        if off and said:
            example = _EXAMPLES.get(name, f"{off[0]}=...")
            raise ConfigError(
                f"callbacks.{name}.{said[0]}={node[said[0]]} would have no effect, as callbacks.{name}.{off[0]} is "
                f"null, which switches the callback off; add callbacks.{name}.{example}."
            )


def _check_keys(cfg: DictConfig, group: str, asked: Sequence[str]) -> None:
    chosen = cfg.get(group) or {}
    lacking = [key for key in asked if chosen.get(key) is None]
    if len(lacking) == len(asked):  # a lone setting of a group that was not chosen or that this verb lacks
        words = " and ".join(f"{group}.{key}" for key in chosen) or "the other groups"
        raise ConfigError(f"{group} is not set: add {group}=NAME if this command supports it, or remove {words}.")
    if lacking:
        raise ConfigError(
            f"{group} has no {lacking[0]}, which every file in {CONF / group} must set, itself or by its defaults: "
            f"{', '.join(asked)}. Add `{lacking[0]}: ...` to the chosen one."
        )


def choices(group: str) -> list[str]:
    """Return the names that `group=NAME` accepts; files that start with an underscore are parts of others."""
    return sorted(_files(group))


def _files(group: str) -> dict[str, Path]:
    """The file of every choice. As in Hydra's search path, conf/ takes precedence over a user's own folder."""
    own = own_conf()
    paths = [path for folder in ([own] if own else []) + [CONF] for path in (folder / group).glob("*.yaml")]
    return {path.stem: path for path in paths if not path.name.startswith("_")}


def _check_pair(cfg: DictConfig, group: str) -> None:
    task, chosen = cfg.task.name, cfg[group]
    if "tasks" not in chosen or task in chosen.tasks:
        return
    fit = fitting(group, task)
    others = f"{group} for {task} is one of: {', '.join(fit)}." if fit else f"no {group} lists {task} in its tasks yet."
    raise ConfigError(f"{group}={chosen.name} is for task={' or '.join(chosen.tasks)}, not for task={task}; {others}")


def fitting(group: str, task: str) -> list[str]:
    """Return the choices of a group that support `task`; those that list no tasks support any."""
    return [name for name, path in sorted(_files(group).items()) if task in _tasks(path, task)]


def _tasks(path: Path, any_task: str) -> Sequence[str]:
    loaded = OmegaConf.load(path)
    return loaded.get("tasks", (any_task,)) if isinstance(loaded, DictConfig) else (any_task,)


def _check_parts(cfg: DictConfig) -> None:
    """Refuse a run without its required groups, and Trainer arguments that a run sets itself."""
    if missing := [key for key in ("trainer", "callbacks", "logger", "paths") if cfg.get(key) is None]:
        raise ConfigError(
            f"{missing[0]} was removed, but a run needs it: remove single entries by name, as in ~callbacks.NAME, or "
            "use logger=none."
        )
    for name, node in cfg.callbacks.items():
        if node and not isinstance(node, DictConfig):
            raise ConfigError(
                f"callbacks.{name}={node} replaces the whole callback; set one of its settings instead, such as "
                f"callbacks.{name}.{_EXAMPLES.get(str(name), 'KEY=VALUE')}, or callbacks.{name}=null to turn it off."
            )
    kept = cfg.callbacks.get("checkpoints")
    if not kept or None in kept.values():
        raise ConfigError("callbacks.checkpoints is off, but a run needs its checkpoints; leave it on.")
    if held := [key for key in cfg.trainer if key in _HELD]:
        raise ConfigError(f"trainer.{held[0]} is set by imagier: {_HELD[str(held[0])]}.")


def _text(value: Any) -> str:
    """Return a hint if the value is a number that arrived as text, for example from the environment; else ""."""
    number = isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", value)
    return (
        f" '{value}' is text; for a number from the environment, use ${{oc.decode:${{oc.env:NAME}}}}." if number else ""
    )


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def unknown_key(cfg: DictConfig | ListConfig, key: str) -> ConfigError:
    """Build the error for a `key` that does not exist; it lists the keys that exist in its place."""
    plain = cfg if isinstance(cfg, DictConfig) else DictConfig({})
    if key.startswith("pretrain."):
        name = plain.get("pretrain") or "NAME"
        return ConfigError(
            f"{key} does not exist: pretrain={name} names an experiment with settings of its own. Change them by "
            f"training experiment={name} by itself, then add model.weights=RUN here."
        )
    if key == "data.root" and "task" in plain and "embedded" in plain.get("data", {}):
        files = _files("data")
        folders = [name for name in fitting("data", plain.task.name) if "root" in OmegaConf.load(files[name])]
        return ConfigError(
            f"data.root does not exist: data={plain.data.name} is generated and reads no folder; choose the layout of "
            f"your data with data=NAME, one of: {', '.join(folders)}."
        )
    node: Any = cfg
    parent, _, last = key.rpartition(".")
    for part in parent.split(".") if parent else ():
        if not isinstance(node, DictConfig) or part not in node:
            return unknown_key(cfg, parent) if parent else ConfigError(f"{key} does not exist.")
        node = node[part]
    if not isinstance(node, DictConfig):
        return ConfigError(f"{key} does not exist: {parent} holds no keys.")
    names = [str(name) for name in node if name not in ("_target_", "hydra")]
    where = f"{parent} holds" if parent else "the keys are"
    meant = ("" if parent else _place_of(cfg, key)) or nearest(last, names)
    target = str(node.get("_target_", "imagier."))
    if not meant and not target.startswith("imagier."):  # other libraries' arguments are not all listed in conf/
        meant = f" Another argument of {target} is added with a plus: +{key}=..."
    return ConfigError(f"{key} does not exist; {where}: {', '.join(names)}.{meant}")


def _place_of(cfg: DictConfig | ListConfig, key: str) -> str:
    """Suggest the full key for a bare name such as `epochs`, `batch_size` or `lr`, which other programs accept."""
    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    known = leaves({group: plain[group] for group in _PLACES if group in plain})
    kinds = [re.escape(key), rf"{re.escape(key)}_.+", rf"(.+_)?{re.escape(key)}s?"]  # exact, as a prefix, as a suffix
    found = [
        (rank, _PLACES.index(full.partition(".")[0]), len(full), full)
        for full, _ in known
        for rank, kind in enumerate(kinds)
        if re.fullmatch(kind, full.rpartition(".")[2])
    ]
    return f" Did you mean '{min(found)[-1]}'?" if found else ""
