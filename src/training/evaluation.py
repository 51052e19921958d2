"""Evaluation of a split, each sample once: at the end of a run and for `imagier evaluate`."""

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning import Trainer
from rich.console import Console
from rich.table import Table
from rich.text import Text  # plain, since a class may be called [red]

from imagier import build
from imagier.batch import Facts, Split
from imagier.datamodules.base import ImageData
from imagier.errors import ConfigError, nearest, writing_to
from imagier.files import write_text
from imagier.keys import is_said
from imagier.nodes import parameters_of, target_of
from imagier.tasks.base import Task
from imagier.training.checkpoints import loud_interrupts
from imagier.training.hardware import (
    held_by_memory,
    make_trainer,
    refuse_no_batches,
    refuse_precision,
    settle_threads,
)
from imagier.training.loggers import console, log_to
from imagier.training.rivals import measured_rates
from imagier.training.run_folder import find_checkpoint

log = logging.getLogger(__name__)


def measure(trainer: Trainer, task: Task, data: ImageData, split: Split) -> dict[str, float]:
    """Return the scores of `task` on `split` by name without the split, {"loss": ..., "iou": ...}; no NaN.

    The task stays on the trainer's device for further predictions.

    Raises:
        ConfigError: if the task does not support the precision, or the limit is less than one batch.
        TrainingError: if the GPU's memory is full.
    """
    loader = data.loader(split, pin_memory=trainer.strategy.root_device.type == "cuda")
    run, stage = (trainer.test, "test") if split == "test" else (trainer.validate, "val")
    refuse_precision(str(trainer.precision), task)
    refuse_no_batches(stage, getattr(trainer, f"limit_{stage}_batches"), len(loader))
    with held_by_memory(data.batch_size):
        (scores,) = run(task, loader, verbose=False)
    task.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU
    # On a test split without labels even the loss is NaN, which JSON does not have.
    return {name.removeprefix(f"{stage}/"): value for name, value in scores.items() if not math.isnan(value)}


def run(cfg: DictConfig) -> float:
    """Evaluate `cfg.ckpt` on `cfg.split`, print a table and write metrics.json; returns the task's main score.

    Raises:
        ConfigError: if the data's classes or channels are not the checkpoint's, or `cfg.output` is a run folder.
        TrainingError: if the checkpoint cannot be read.
    """
    if cfg.output and (Path(cfg.output).expanduser() / "config.yaml").is_file():
        raise ConfigError(
            f"output={cfg.output} is a run folder, whose own metrics.json would be overwritten; name another, or "
            "remove output: results then go to evaluate/ in the checkpoint's run folder."
        )
    with log_to(console()):
        return _evaluate(cfg, find_checkpoint(cfg.ckpt, prefer="best"))


def _evaluate(cfg: DictConfig, path: Path) -> float:
    task, trained, said = build.from_checkpoint(path)
    facts = Facts.from_dict(said["facts"])
    data = data_for(cfg, trained, facts, cfg.split)
    refuse_other_meaning(facts, data.facts)
    if cfg.split == "all":
        data.join()
    settle_threads(cfg, data.usual_workers(cfg.split))
    trainer = make_trainer(cfg, path.parent, [], [], alone=True)
    same = data.findings.fingerprint == said["data_fingerprint"]
    folder_of_training = same or _same_folder(data.root, trained.data.get("root"))
    samples = measured_samples(trainer, data, cfg.split)
    limit = f"first-{samples}-of-" if samples < len(data.sources[cfg.split]) else ""
    split = data.stand_ins.get(cfg.split, cfg.split)
    skipped = [one.sentence for one in data.findings.problems if split in ("all", one.split)]
    count = "1 sample" if samples == 1 else f"{samples:,} samples"
    log.info("%s on %s of data=%s, %s, precision %s", path, split, data.name, count, trainer.precision)
    for note in [*data.notes, *_about_the_split(cfg.split, samples, data, same, folder_of_training)]:
        log.info("note: %s", note)
    if skipped:
        log.warning("unreadable samples skipped: %d; metrics.json lists them", len(skipped))
    usual = _usual_folder(path, said["data_fingerprint"], facts, data, f"{limit}{cfg.split}")
    folder = Path(cfg.output).expanduser() if cfg.output else usual
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)  # fail before minutes of evaluation
    with loud_interrupts():
        scores = measure(trainer, task, data, cfg.split)
    record = {
        "task": trained.task.name,
        "model": trained.model.name,
        "data": data.name,
        "split": split,
        "samples": samples,
        "size": data.facts.size,
        "metrics": scores,
        "checkpoint": str(path),
        "epoch": said["epoch"],
        "step": said["step"],
        "data_fingerprint": data.findings.fingerprint,
        "skipped": skipped,
    }
    counts = task.confusion_counts.get("test" if cfg.split == "test" else "val")
    if counts is not None:
        record["confusion"] = np.asarray(counts).tolist()
    try:
        _keep(record, folder)
        # A codec is compared with other formats on all of these images; most of the time goes to AVIF.
        scores |= measured_rates(task, data, cfg.split, most=samples if limit else None)
        _keep(record, folder)
    finally:
        print_scores({split: scores}, facts)  # after writing, even if that failed: stdout may be closed
    log.info("metrics: %s", folder / "metrics.json")
    return scores[task.monitor.removeprefix("val/")]


def _keep(record: Mapping[str, Any], folder: Path) -> None:
    with writing_to(folder):
        write_text(folder / "metrics.json", json.dumps(record, indent=2) + "\n")


def _same_folder(one: Path | None, other: str | None) -> bool:
    """Return whether both are one folder: its images trained the network, even if split or read differently now."""
    return one is not None and other is not None and one.resolve() == Path(other).expanduser().resolve()


def _about_the_split(split: str, samples: int, data: ImageData, same: bool, same_folder: bool) -> Iterator[str]:
    """Yield notes for readers of the scores: that training images are included, or that images were left out."""
    if same_folder:
        if split == "all":
            yield "these images include those used for training; split=all is meant for other data."
        elif not same:
            yield "the training data, but split or read differently, or changed since: some may have been trained on."
    elif split != "all":
        own = [source for name, source in data.sources.items() if name not in data.stand_ins]
        if samples < (total := sum(map(len, own))):
            yield f"{samples} of {total} samples; split=all evaluates all of them."


def measured_samples(trainer: Trainer, data: ImageData, split: Split) -> int:
    """Return how many samples of a split are evaluated. Raises ConfigError if the limit is less than one batch."""
    loader, stage = data.loader(split), "test" if split == "test" else "val"
    limit = getattr(trainer, f"limit_{stage}_batches")
    refuse_no_batches(stage, limit, len(loader))
    batches = limit if isinstance(limit, int) else int(limit * len(loader))
    return min(len(data.sources[split]), batches * loader.sampler.batch_size)


def _usual_folder(checkpoint: Path, fingerprint: str, trained: Facts, data: ImageData, split: str) -> Path:
    """Return the default output folder: in the checkpoint's run folder, one per checkpoint, data, size and split."""
    name = data.name
    if data.findings.fingerprint != fingerprint:
        name += f"-{data.findings.fingerprint}"
    name += f"-first{data.limit}" if data.limit else ""
    if data.facts.size != trained.size:
        name += f"-{data.facts.size[0]}x{data.facts.size[1]}" if data.facts.size else "-whole"
    of_a_run = checkpoint.parent.name == "checkpoints"
    name += "" if of_a_run and checkpoint.stem == "best" else f"-{checkpoint.stem}"
    return (checkpoint.parent.parent if of_a_run else checkpoint.parent) / "evaluate" / f"{name}-{split}"


def data_for(cfg: DictConfig, trained: DictConfig, facts: Facts, measured: Split | None = None) -> ImageData:
    """Return the data module of the command line, or the checkpoint's own with the settings changed there.

    Args:
        cfg: configuration of the command, possibly with `data`.
        trained: configuration of the run that wrote the checkpoint.
        facts: facts of its training data.
        measured: the one split that must exist, or "all" for those that do; None for every split.

    Raises:
        ConfigError: if the data are for another task.
    """
    given = cfg.get("data")
    settings = DictConfig(OmegaConf.to_container(trained, resolve=True))
    with open_dict(settings):
        if given is not None and "_target_" in given:
            _refuse_other_task(trained, given)
            settings.data = given
            # Unless set explicitly: the classes and size of the training, and the samples that it left out.
            for key in ("size", *build.AS_TRAINED):
                if key in settings.data and key in trained.data and not is_said(f"data.{key}"):
                    settings.data[key] = trained.data[key]
            if "channels" in settings.data and not is_said("data.channels"):
                settings.data.channels = facts.channels
        elif given is not None:
            settings.data = OmegaConf.merge(settings.data, given)
        unsaid = settings.data.get("size") in ("auto", None) and not is_said("data.size")
        size = facts.size if unsaid and trained.task.name == "classify" else None  # other networks take any size
        if given is not None and size:
            settings.data.size = list(size)
        if trained.task.name == "classify" and "known" in parameters_of(target_of(settings.data, "data"))[0]:
            settings.data.known = list(facts.classes)  # the images may lack some
        settings.pop("augment", None)
        if not is_said("data.cache"):
            settings.data.cache = cfg.paths.cache  # of this user, not of the one who trained
        settings.data.limit = None if given is None else given.get("limit")  # training's limit does not apply
        if measured == "all" and settings.data.get("per_class") and not is_said("data.per_class"):
            settings.data.per_class = None  # all images of the folder
    data = build.data_module(settings, measured)
    if size and data.facts.size != size:  # images of other sizes have been added since
        with open_dict(settings):
            settings.data.size = list(size)
        data = build.data_module(settings, measured)
    return data


def _refuse_other_task(trained: DictConfig, given: DictConfig) -> None:
    tasks = given.get("tasks", [trained.task.name])
    if trained.task.name not in tasks:
        raise ConfigError(
            f"data={given.name} is for task={' or '.join(tasks)}, but the checkpoint is of task={trained.task.name}."
        )


def refuse_other_meaning(trained: Facts, given: Facts) -> None:
    """Raise ConfigError if the classes or channels of the given data are not those of the training data."""
    if unknown := [name for name in given.classes if name not in trained.classes]:
        raise ConfigError(
            f"{given.name} has the class {unknown[0]}, which the checkpoint does not know."
            f"{nearest(unknown[0], trained.classes)} Evaluate on data with its classes, {', '.join(trained.classes)}."
        )
    if given.classes != trained.classes:
        raise ConfigError(
            f"the checkpoint has the classes {', '.join(trained.classes)}, but {given.name} has "
            f"{', '.join(given.classes)}; evaluate on data with the same classes in the same order."
        )
    if given.channels != trained.channels:
        raise ConfigError(
            f"the checkpoint takes {trained.channels} channels, but {given.name} has {given.channels}; set "
            f"data.channels={trained.channels}."
        )


def print_scores(results: Mapping[Split, Mapping[str, float]], facts: Facts) -> None:
    """Print a row per metric, then per class, noise level or rate; a column per split; a dash for no value."""
    names = list(dict.fromkeys(name for scores in results.values() for name in scores))
    table = Table(show_edge=False)
    table.add_column("score")
    for split in results:
        table.add_column(split, justify="right")
    for name in (name for name in names if "/" not in name):
        table.add_row(Text(name), *(_cell(scores.get(name)) for scores in results.values()))
    parts = [name for name in names if "/" in name]
    kinds = dict.fromkeys(name.partition("/")[0] for name in parts)
    classes = [f"{kind}/{label}" for kind in kinds for label in facts.classes]  # even if they do not occur
    for name in classes or parts:
        table.add_row(Text(name), *(_cell(scores.get(name)) for scores in results.values()))
    Console(file=sys.stdout).print(table)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"
