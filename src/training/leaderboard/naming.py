"""What a setting is, and what it is called: the net, and the words by which it differs from its like."""

import json
from collections.abc import Sequence
from typing import Any

from imagier.keys import at, leaves, within
from imagier.training.leaderboard.runs import Run

# What changes nothing of what is learned, or is said elsewhere: the fingerprint stands for the files.
_NO_SETTING = (
    "seed", "resume", "test", "report", "paths", "logger", "data.seed", "data.root", "data.cache", "data.workers",
    "data.download", "data.on_error", "data.decode_once", "callbacks.pictures", "callbacks.checkpoints",
    "callbacks.pruning", "trainer.log_every_n_steps", "trainer.profiler",
)  # fmt: skip


def setting_of(run: Run) -> dict[str, Any]:
    """The part of the configuration that makes a setting: runs that share it differ in their seed only."""
    untold = _NO_SETTING + _learnt_first(run)
    return {key: value for key, value in leaves(run.config) if not within(key, untold)}


def _learnt_first(run: Run) -> tuple[str, ...]:
    """The key of the path of what `pretrain` has learnt, which differs by seed; none where weights were given."""
    said = [word for word in run.words if word.lstrip("+").startswith("model.weights=")]
    given = bool(said) and not said[-1].endswith("=null")
    return ("model.weights",) if run.config.get("pretrain") and not given else ()


def named(runs: Sequence[Run]) -> list[str]:
    """Name settings of one board, one of `runs` standing for each; the names differ."""
    titles = [_title(run) for run in runs]
    alike = {title: [run for run, other in zip(runs, titles, strict=True) if other == title] for title in titles}
    names = [", ".join([title, *_telling_words(run, alike[title])]) for run, title in zip(runs, titles, strict=True)]
    for name in {name for name in names if names.count(name) > 1}:  # made by the same words, but not the same
        places = [place for place, other in enumerate(names) if other == name]
        configs = [setting_of(runs[place]) for place in places]
        keys = dict.fromkeys(key for config in configs for key in config)
        keys = {key: None for key in keys if len({json.dumps(config.get(key, "?")) for config in configs}) > 1}
        for place, config in zip(places, configs, strict=True):
            names[place] = ", ".join([name, *(f"{key}={short(config[key])}" for key in keys if key in config)])
    return names


def _title(run: Run) -> str:
    """A net that can be any of a library's says which."""
    return " ".join([run.name("model"), *filter(None, [run.config["model"].get("architecture")])])


def _telling_words(run: Run, alike: Sequence[Run]) -> list[str]:
    """Those of the run's words that do not hold for all of `alike`."""
    telling = []
    for word in run.words:
        key, _, value = word.lstrip("+~").partition("=")
        if key in ("task", "model", "data") or within(key, _NO_SETTING + _learnt_first(run)):
            continue
        unknown = at(run.config, key) is None  # such as experiment=NAME: it left its mark elsewhere
        if any((word not in other.words) if unknown else _differs(run, other, key) for other in alike):
            telling.append(f"{key}={value}")
    return telling


def _differs(run: Run, other: Run, key: str) -> bool:
    return bool(at(run.config, key) != at(other.config, key))


def short(value: Any) -> str:
    """A setting in a few letters: of something that is built, its name."""
    if isinstance(value, dict):
        return str(value.get("_target_", "...")).rpartition(".")[2]
    if isinstance(value, list):
        return f"[{','.join(map(short, value))}]"
    return "null" if value is None else str(value)
