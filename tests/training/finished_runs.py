"""Finished runs as training leaves them, for the leaderboard."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagier import cli
from imagier.training.leaderboard.runs import find_runs
from imagier.training.leaderboard.settings import Board, make_boards

CLASSES = ("road", "sky", "person")
TASKS = {
    "segment": {"metric": "iou", "data": "streets", "labels": CLASSES, "others": ["accuracy"]},
    "classify": {"metric": "accuracy", "data": "garments", "labels": ("coat", "boot"), "others": []},
}


def write_run(
    runs: Path,
    *,
    task: str = "segment",
    model: str = "unet",
    seed: int = 0,
    score: float = 0.7,
    words: tuple[str, ...] = (),
    stamp: str | None = None,
    fingerprint: str = "88d2e801bc4d982d",
    epochs: int = 4,
    splits: tuple[str, ...] = ("val", "test"),
    machine: str = "AMD EPYC",
    **changes: Any,
) -> Path:
    """Write a finished run as training leaves it; `changes` are configuration keys with __ instead of a dot."""
    kind = TASKS[task]
    folder = runs / task / f"{model}-{kind['data']}" / (stamp or f"2026-01-01_00-00-{seed:02d}")
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "seed": seed, "resume": None, "test": True, "task": {"name": task}, "model": {"name": model, "width": 16},
        "data": {"name": kind["data"], "seed": seed, "workers": seed, "label_set": "category", "batch_size": 8},
        "augment": {"transforms": []}, "optimizer": {"lr": 0.001}, "trainer": {"max_epochs": epochs},
        "loss": {"_target_": "imagier.losses.cross_entropy.CrossEntropy"}, "paths": {"runs": str(runs / "any")},
    }  # fmt: skip
    for key, value in changes.items():
        group, _, name = key.partition("__")
        config |= {group: config[group] | {name: value} if name else value}
    scores = {"loss": 1 - score, kind["metric"]: score, **dict.fromkeys(kind["others"], score + 0.1)}
    scores |= {f"{kind['metric']}/{label}": score - 0.1 * place for place, label in enumerate(kind["labels"])}
    summary = {
        "task": task, "model": model, "data": kind["data"], "seed": seed, "parameters": 1_944_000,
        "sentence": f"python train.py task={task} model={model}", "seconds": 60.0 * epochs, "epochs": epochs,
        "best_epoch": epochs - 1, "monitor": f"val/{kind['metric']}", "mode": "max", "machine": machine,
    }  # fmt: skip
    names = ["train/loss", "val/loss", f"val/{kind['metric']}", *(f"val/{name}" for name in kind["others"])]
    rows = ["epoch,step,time," + ",".join(dict.fromkeys(names))]
    for epoch in range(epochs):
        grown = score * (1 - 0.5 ** (epoch + 1))
        values = {"train/loss": 0.9 - grown, "val/loss": 1 - grown}
        rows.append(f"{epoch},{10 * epoch + 9},{epoch}," + ",".join(f"{values.get(name, grown)}" for name in names))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"data_fingerprint": fingerprint}))
    (folder / "overrides.txt").write_text("".join(f"{word}\n" for word in (f"task={task}", f"seed={seed}", *words)))
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    (folder / "metrics.json").write_text(json.dumps(dict.fromkeys(splits, scores)))
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def say(*words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["leaderboard", *words])
        cli.main("leaderboard")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        say(*words)
    assert ended.value.code == 2
    return capsys.readouterr().err


def boards_of(runs: Path, seeds: int | None = None) -> list[Board]:
    return make_boards(find_runs(runs)[0], seeds)
