"""What a run writes about itself: how it was made, before it starts; what came of it, when it is over."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from pytorch_lightning.loggers import Logger

from imagier.datamodules.base import ImageData, Split
from imagier.files import write_text
from imagier.tasks.base import Task
from imagier.training import loggers as outlets
from imagier.training.checkpoints import Checkpoints
from imagier.training.environment import environment
from imagier.training.exhibits import exhibits, first_batch
from imagier.training.report import Summary, write_report

Results = Mapping[Split, Mapping[str, float]]


def write_records(cfg: DictConfig, run_dir: Path, data: ImageData) -> None:
    """Write config.yaml, environment.json, and overrides.txt, the words that a resumed run starts from."""
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_text(run_dir / "environment.json", json.dumps(environment(data.findings.fingerprint), indent=2) + "\n")
    if HydraConfig.initialized():
        last = {word.partition("=")[0]: word for word in HydraConfig.get().overrides.task}
        last.pop("resume", None)
        write_text(run_dir / "overrides.txt", "".join(f"{word}\n" for word in last.values()))


def write_results(
    cfg: DictConfig,
    run_dir: Path,
    task: Task,
    data: ImageData,
    results: Results,
    checkpoints: Checkpoints,
    seconds: float,
    everywhere: list[Logger],
) -> Path:
    """Write metrics.json and the report, and send scores and confusion to the loggers; returns the report's path."""
    write_text(run_dir / "metrics.json", json.dumps(results, indent=2) + "\n")
    report = write_report(run_dir, _summary(cfg, run_dir, task, data, results, checkpoints, seconds))
    for path in sorted((run_dir / "pictures").glob("confusion*.png")):
        with Image.open(path) as picture:
            outlets.show(everywhere, path.stem, np.asarray(picture.convert("RGB")), checkpoints.best_step)
    scores = {f"best/{split}/{name}": value for split, scores in results.items() for name, value in scores.items()}
    outlets.close(everywhere, scores | {"epoch": checkpoints.best_epoch}, checkpoints.best_step)
    return report


def _summary(
    cfg: DictConfig,
    run_dir: Path,
    task: Task,
    data: ImageData,
    results: Results,
    checkpoints: Checkpoints,
    seconds: float,
) -> Summary:
    records = environment(data.findings.fingerprint)
    return Summary(
        title=f"{cfg.model.name} on {cfg.data.name}",
        sentence=_sentence(run_dir),
        task=cfg.task.name,
        metric=task.monitor.removeprefix("val/"),
        facts=data.facts,
        results={str(split): scores for split, scores in results.items()},
        parameters=sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad),
        seconds=seconds,
        machine=", ".join(records["machine"]["gpus"]) or records["machine"]["processor"],
        best_epoch=checkpoints.best_epoch,
        best_step=checkpoints.best_step,
        confusion={split: task.confusion_counts[split].numpy() for split in results if split in task.confusion_counts},
        samples=exhibits(task, data),
        first_batch=first_batch(data),
        class_counts={
            split: data.findings.class_counts(split, data.facts.num_classes)
            for split in data.sources
            if data.facts.classes
        },
        problems=[problem.sentence for problem in data.findings.problems],
        notes=data.notes,
        environment=records,
        config_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        next_commands=_next_commands(cfg, run_dir),
    )


def _sentence(run_dir: Path) -> str:
    saved = run_dir / "overrides.txt"
    words = saved.read_text(encoding="utf-8").splitlines() if saved.exists() else []
    return shlex.join(["python", "train.py", *words])


def _next_commands(cfg: DictConfig, run_dir: Path) -> list[tuple[str, str]]:
    longer = "trainer.budget=30m" if cfg.trainer.budget else f"trainer.max_epochs={2 * cfg.trainer.max_epochs}"
    return [
        ("measure the best checkpoint again", f"imagier evaluate ckpt={run_dir}"),
        ("train longer", f"python train.py resume={run_dir} {longer}"),
    ]
