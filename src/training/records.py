"""Files that describe a run: its settings, written before training, and its results, written at the end."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from pytorch_lightning.loggers import Logger

from imagier.batch import Facts, Split
from imagier.datamodules.base import ImageData
from imagier.deploy.bundle import TRAINING
from imagier.files import write_text
from imagier.models.pixels import FromPixels
from imagier.tasks.base import Task
from imagier.training import loggers as outlets
from imagier.training.checkpoints import Checkpoints
from imagier.training.environment import environment, hardware_name
from imagier.training.exhibits import exhibits, first_batch
from imagier.training.report import Summary, write_report
from imagier.training.rivals import compare
from imagier.training.schedule import prolonged


@dataclass(frozen=True)
class Finished:
    """A run that has been trained and evaluated.

    cfg, run_dir, task, data: its parts; the task holds the best checkpoint's weights.
    results:     split -> score -> value.
    samples:     split -> number of samples evaluated.
    checkpoints: the callback, which knows the best checkpoint.
    epochs:      number of epochs trained, the last possibly in part.
    seconds:     time of pretraining, training (all sessions of a resumed run) and evaluation.
    gpus:        indices of the GPUs it was trained on; none on a CPU.
    """

    cfg: DictConfig
    run_dir: Path
    task: Task
    data: ImageData
    results: Mapping[Split, Mapping[str, float]]
    samples: Mapping[Split, int]
    checkpoints: Checkpoints
    epochs: int
    seconds: float
    gpus: Sequence[int]

    @property
    def measured(self) -> dict[Split, Mapping[str, float]]:
        """The results of splits that have samples of their own."""
        return {split: scores for split, scores in self.results.items() if split not in self.data.stand_ins}

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader of the scores must know."""
        whole = {split: len(self.data.sources[split]) for split in self.measured}
        parts = [
            f"the {split} scores are computed on the first {self.samples[split]:,} of {total:,} samples."
            for split, total in whole.items()
            if self.samples[split] < total
        ]
        return [*self.data.notes, *parts]

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.task.parameters() if parameter.requires_grad)


def write_records(cfg: DictConfig, run_dir: Path, data: ImageData) -> None:
    """Write config.yaml, environment.json and overrides.txt, from which a run is resumed; remove earlier results."""
    ended = [run_dir / "metrics.json", run_dir / "summary.json"]
    if not cfg.report:  # otherwise they are redrawn
        ended += [run_dir / "report.html", *(run_dir / "pictures" / f"{name}.png" for name in TRAINING)]
    for path in ended:  # of a finished run that continues, until it ends again
        path.unlink(missing_ok=True)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_text(run_dir / "environment.json", json.dumps(environment(data.findings.fingerprint), indent=2) + "\n")
    if HydraConfig.initialized():
        last = {word.partition("=")[0]: word for word in HydraConfig.get().overrides.task}
        last.pop("resume", None)
        write_text(run_dir / "overrides.txt", "".join(f"{word}\n" for word in last.values()))


def write_results(run: Finished, loggers: list[Logger]) -> Path | None:
    """Write metrics.json, summary.json and the report, and send scores and confusion to the loggers.

    Returns:
        The report's path; None if `report` is false.
    """
    write_text(run.run_dir / "metrics.json", json.dumps(run.results, indent=2) + "\n")
    records = environment(run.data.findings.fingerprint)
    machine = hardware_name(run.gpus)
    write_text(run.run_dir / "summary.json", json.dumps(_short(run, machine), indent=2) + "\n")
    report, best = None, run.checkpoints
    if run.cfg.report:
        report = write_report(run.run_dir, _summary(run, records, machine))
        for path in sorted((run.run_dir / "pictures").glob("confusion*.png")):
            with Image.open(path) as picture:
                outlets.show(loggers, path.stem, np.asarray(picture.convert("RGB")), best.best_step)
    scores = {f"best/{split}/{name}": value for split, scores in run.measured.items() for name, value in scores.items()}
    outlets.close(loggers, scores | {"epoch": best.best_epoch}, best.best_step)
    return report


def seconds_of_pretraining(cfg: DictConfig) -> float:
    """Return the time of the `pretrain` run, from the summary.json beside its checkpoint; 0 without such a run."""
    if cfg.pretrain is None or cfg.model.get("weights") is None:
        return 0.0
    words, summary = (Path(cfg.model.weights).parent.parent / name for name in ("overrides.txt", "summary.json"))
    if not (words.is_file() and summary.is_file()):
        return 0.0
    its_own = f"experiment={cfg.pretrain}" in words.read_text(encoding="utf-8").splitlines()
    return float(json.loads(summary.read_text(encoding="utf-8"))["seconds"]) if its_own else 0.0


def _short(run: Finished, machine: str) -> dict[str, Any]:
    """Return the content of summary.json, which tables of many runs read."""
    return {
        "task": run.cfg.task.name,
        "model": run.cfg.model.name,
        "data": run.cfg.data.name,
        "seed": run.cfg.seed,
        "sentence": _sentence(run.run_dir),
        "parameters": run.parameters,
        "seconds": round(run.seconds, 1),
        "epochs": run.epochs,
        "best_epoch": run.checkpoints.best_epoch,
        "stand_ins": run.data.stand_ins,
        "samples": run.samples,
        "monitor": run.task.monitor,
        "mode": run.task.mode,
        "machine": machine,
    }


def _summary(run: Finished, records: dict[str, Any], machine: str) -> Summary:
    task, data, confusion = run.task, run.data, run.task.confusion_counts
    return Summary(
        title=f"{run.cfg.model.name} on {run.cfg.data.name}",
        sentence=_sentence(run.run_dir),
        task=run.cfg.task.name,
        metric=task.monitor.removeprefix("val/"),
        facts=_as_seen(task, data.facts),
        results={str(split): scores for split, scores in run.measured.items()},
        parameters=run.parameters,
        seconds=run.seconds,
        machine=machine,
        best_epoch=run.checkpoints.best_epoch,
        best_step=run.checkpoints.best_step,
        confusion={split: confusion[split].numpy() for split in run.measured if split in confusion},
        samples=exhibits(task, data),
        first_batch=first_batch(data),
        class_counts=_class_counts(data) if data.facts.classes else {},
        comparison=compare(task, data),
        problems=[problem.sentence for problem in data.findings.problems],
        notes=run.notes,
        environment=records,
        config_yaml=OmegaConf.to_yaml(run.cfg, resolve=True),
        next_commands=_next_commands(run.cfg, run.run_dir),
    )


def _as_seen(task: Task, facts: Facts) -> Facts:
    """Return the facts with the network's normalisation, which may be its own."""
    assert isinstance(task.net, FromPixels)
    mean, std = task.net.normalisation
    return replace(facts, mean=mean, std=std)


def _class_counts(data: ImageData) -> dict[str, np.ndarray]:
    return {split: data.findings.class_counts(split, data.facts.num_classes) for split in data.sources}


def _sentence(run_dir: Path) -> str:
    saved = run_dir / "overrides.txt"
    words = saved.read_text(encoding="utf-8").splitlines() if saved.exists() else []
    return shlex.join(["imagier", "train", *words])


def _next_commands(cfg: DictConfig, run_dir: Path) -> list[tuple[str, str]]:
    words = prolonged(cfg.trainer, 2)
    if patience := (cfg.callbacks.get("early_stopping") or {}).get("patience"):  # may be exhausted
        words.append(f"callbacks.early_stopping.patience={2 * patience}")
    longer = shlex.join(["imagier", "train", f"resume={run_dir}", *words])
    return [
        ("evaluate the best checkpoint again", f"imagier evaluate ckpt={run_dir}"),
        ("train longer", longer),
    ]
