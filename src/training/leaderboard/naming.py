"""Settings and their names: the recipe or the network, and the options that tell it from others of that name."""

import json
from collections.abc import Sequence
from typing import Any

from imagier.keys import at, leaves, within
from imagier.training.leaderboard.runs import Run

# Keys that do not change what is learnt, or are covered elsewhere: the fingerprint stands for the files.
_NO_SETTING = (
    "seed", "resume", "test", "report", "paths", "logger", "data.seed", "data.root", "data.cache", "data.workers",
    "data.download", "data.on_error", "data.decode_once", "callbacks.pictures", "callbacks.checkpoints",
    "callbacks.pruning", "trainer.log_every_n_steps", "trainer.profiler",
)  # fmt: skip


def setting_of(run: Run) -> dict[str, Any]:
    """Return the part of the configuration that defines a setting; runs that share it differ only by seed."""
    untold = _NO_SETTING + _learnt_first(run)
    return {key: value for key, value in leaves(run.config) if not within(key, untold)}


def _learnt_first(run: Run) -> tuple[str, ...]:
    """Return the key of the pretrained weights' path, which differs by seed; none if weights were given."""
    return ("model.weights",) if run.config.get("pretrain") and _said(run, "model.weights") is None else ()


def _said(run: Run, key: str) -> str | None:
    """Return the last value that the run's command line gives `key`; None if it gives none, or null."""
    values = [word.partition("=")[2] for word in run.words if word.lstrip("+").startswith(f"{key}=")]
    return values[-1] if values and values[-1] != "null" else None


def named(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """Name each setting of a board, given one run of each; equal names get the keys that differ.

    Returns:
        The names, and the options left out of them because all would have them.
    """
    titles = [_title(run) for run in runs]
    alike = {title: [run for run, other in zip(runs, titles, strict=True) if other == title] for title in titles}
    words = [_telling_words(run, alike[title]) for run, title in zip(runs, titles, strict=True)]
    shared = [word for word in words[0] if len(runs) > 1 and all(word in others for others in words)]
    names = [
        ", ".join([title, *(word for word in told if word not in shared)])
        for title, told in zip(titles, words, strict=True)
    ]
    for name in {name for name in names if names.count(name) > 1}:  # same options, different configurations
        places = [place for place, other in enumerate(names) if other == name]
        configs = [setting_of(runs[place]) for place in places]
        keys = dict.fromkeys(key for config in configs for key in config)
        keys = {key: None for key in keys if len({json.dumps(config.get(key, "?")) for config in configs}) > 1}
        for place, config in zip(places, configs, strict=True):
            names[place] = ", ".join([name, *(f"{key}={short(config[key])}" for key in keys if key in config)])
    return names, shared


def _title(run: Run) -> str:
    """Return the recipe's name, or else the network's, with its architecture if it can be any of a library's."""
    if recipe := _said(run, "experiment"):
        return recipe
    return " ".join([run.name("model"), *filter(None, [run.config["model"].get("architecture")])])


def _telling_words(run: Run, alike: Sequence[Run]) -> list[str]:
    """Return those of the run's command-line options that change a recipe, or do not hold for all of `alike`."""
    telling = []
    recipe = _said(run, "experiment") is not None
    shown = ("task", "data", "experiment" if recipe else "model")
    for word in run.words:
        key, _, value = word.lstrip("+~").partition("=")
        if key in shown or within(key, _NO_SETTING + _learnt_first(run)):
            continue
        unknown = at(run.config, key) is None  # such as debug=one_batch, which sets other keys
        if recipe or any((word not in other.words) if unknown else _differs(run, other, key) for other in alike):
            telling.append(f"{key}={value}")
    return telling


def _differs(run: Run, other: Run, key: str) -> bool:
    return bool(at(run.config, key) != at(other.config, key))


def short(value: Any) -> str:
    """Return a value as short text; for a mapping with a `_target_`, only the name of that."""
    if isinstance(value, dict):
        return str(value.get("_target_", "...")).rpartition(".")[2]
    if isinstance(value, list):
        return f"[{','.join(map(short, value))}]"
    return "null" if value is None else str(value)
