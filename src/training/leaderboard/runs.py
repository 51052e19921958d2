"""Reading of run folders: command line, configuration, results and history.

No checkpoint is opened and no network built, so that hundreds of runs take seconds.
"""

import csv
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from imagier.training.pictures import History, read_history

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, if libyaml is installed
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError, csv.Error)


@dataclass(frozen=True)
class Ended:
    """The summary.json of a finished run.

    parameters: number of trainable parameters.
    seconds:    time of pretraining, training (all sessions of a resumed run) and evaluation.
    epochs:     number of epochs trained.
    best_epoch: epoch of the evaluated checkpoint, from 0 as in metrics.csv; None if unknown.
    monitor:    the main score, by which that checkpoint was chosen, such as "val/iou".
    mode:       "max" or "min", whichever is better.
    machine:    short description.
    stand_ins:  split without samples of its own -> split evaluated in its place.
    """

    parameters: int
    seconds: float
    epochs: float
    best_epoch: int | None
    monitor: str
    mode: str
    machine: str
    stand_ins: Mapping[str, str]


@dataclass(frozen=True)
class RunFolder:
    """What every run folder holds, finished or not.

    config:      resolved configuration, plain.
    words:       options of the command line.
    fingerprint: fingerprint of the data; empty if unknown.
    history:     content of metrics.csv.
    """

    folder: Path
    config: Mapping[str, Any]
    words: tuple[str, ...]
    fingerprint: str
    history: History

    @property
    def seed(self) -> int:
        """The run's random seed."""
        return int(self.config["seed"])

    @property
    def age(self) -> tuple[list[int], float]:
        """Sort key by start: the numbers in the folder's name, which is its start time, then config.yaml's time."""
        return [int(number) for number in re.findall(r"\d+", self.folder.name)], _modified(self.folder / "config.yaml")

    def name(self, group: str) -> str:
        """Return the name of its task, model or data."""
        return str(self.config[group]["name"])

    def extreme(self, column: str, mode: str) -> float:
        """Return the minimum or maximum (`mode`) of a column of metrics.csv in training; NaN if it has no value."""
        values = self.history.columns.get(column, np.zeros(0))
        known = values[np.isfinite(values)]
        return float(known.min() if mode == "min" else known.max()) if len(known) else np.nan


@dataclass(frozen=True)
class Run(RunFolder):
    """A finished run.

    results: split -> metric -> value of the best checkpoint.
    ended:   content of summary.json.
    """

    results: Mapping[str, Mapping[str, float]]
    ended: Ended

    @property
    def split(self) -> str:
        """The split of the main score: test if it has samples of its own and a main score, else val."""
        scored = self.ended.monitor.removeprefix("val/") in self.results.get("test", {})
        return "test" if scored and "test" not in self.ended.stand_ins else "val"

    def score(self, metric: str) -> float:
        """Return a metric of `split`; NaN if missing."""
        value = self.results.get(self.split, {}).get(metric)
        return np.nan if value is None else float(value)


@dataclass(frozen=True)
class Unfinished(RunFolder):
    """A run still in progress, killed, damaged, or older than summary.json; `why` says what is missing or wrong."""

    why: str


def find_runs(root: Path) -> tuple[list[Run], list[Unfinished], list[str]]:
    """Return finished and unfinished runs at or below `root`, oldest first, and sentences on unreadable folders."""
    found, problems = [], []
    for folder in _run_folders(root):
        try:
            found.append(_read(folder))
        except _DAMAGED as error:
            problems.append(f"{folder} is skipped: its config.yaml cannot be read ({_told(error)}).")
    found.sort(key=lambda run: run.age)
    finished = [run for run in found if isinstance(run, Run)]
    return finished, [run for run in found if isinstance(run, Unfinished)], problems


def _run_folders(root: Path) -> Iterator[Path]:
    """Yield folders with a config.yaml, without descending into them or following links such as RUNS/latest."""
    for place, folders, files in os.walk(root):
        if "config.yaml" in files:
            folders.clear()
            yield Path(place)
        folders.sort()


def _read(folder: Path) -> Run | Unfinished:
    config = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), _LOADER)
    int(config["seed"])
    for group in ("task", "model", "data"):
        str(config[group]["name"])
    begun = {"folder": folder, "config": config, "words": _words(folder), "fingerprint": _fingerprint(folder)}
    try:
        begun["history"] = read_history(folder / "metrics.csv")
        return Run(**begun, results=_results(folder), ended=_ended(folder))
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        why = f"no {missing}: " + (
            "stopped, or still running" if missing == "metrics.json" else "run of an older version"
        )
    except _DAMAGED as error:
        why = _told(error)
    return Unfinished(**{"history": read_history(folder / "none"), **begun}, why=why)


def _results(folder: Path) -> dict[str, dict[str, float]]:
    said = _json(folder / "metrics.json")
    results = {split: {name: float(value) for name, value in scores.items()} for split, scores in said.items()}
    if not {"val", "test"} & set(results):
        raise ValueError("metrics.json has neither val nor test")
    return results


def _ended(folder: Path) -> Ended:
    said = _json(folder / "summary.json")
    if said["mode"] not in ("max", "min"):
        raise ValueError(f"summary.json has mode={said['mode']}, neither max nor min")
    return Ended(
        parameters=int(said["parameters"]),
        seconds=float(said["seconds"]),
        epochs=float(said["epochs"]),
        best_epoch=None if said["best_epoch"] is None else int(said["best_epoch"]),
        monitor=str(said["monitor"]),
        mode=said["mode"],
        machine=str(said["machine"]),
        stand_ins=said.get("stand_ins", {}),  # missing in older runs
    )


def _fingerprint(folder: Path) -> str:
    try:
        return str(_json(folder / "environment.json").get("data_fingerprint", ""))
    except _DAMAGED:
        return ""


def _words(folder: Path) -> tuple[str, ...]:
    """Return the options of the command line, from overrides.txt, one per line, or else from summary.json."""
    try:
        return tuple((folder / "overrides.txt").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        pass
    try:
        return tuple(word for word in shlex.split(str(_json(folder / "summary.json")["sentence"])) if "=" in word)
    except _DAMAGED:
        return ()


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise TypeError(f"{path.name} contains a {type(content).__name__}, not a mapping")
    return content


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _told(error: Exception) -> str:
    told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return " ".join(told.split()) or type(error).__name__
