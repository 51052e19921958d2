"""A training run, from the composed configuration to the report. Read `run` from top to bottom."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer

from imagier import build
from imagier.batch import Split
from imagier.datamodules.base import ImageData
from imagier.datamodules.diagnosis import doubts
from imagier.errors import ConfigError
from imagier.launch import leader, waiting_since
from imagier.models.pixels import FromPixels
from imagier.nodes import call, plain
from imagier.randomness import derive_seed
from imagier.tasks.base import Task
from imagier.training import loggers as outlets
from imagier.training.checkpoints import Checkpoints, Validated, ending_at_once, loud_interrupts
from imagier.training.companions import watched
from imagier.training.ema import WithoutAverages
from imagier.training.evaluation import measure, measured_samples, print_scores
from imagier.training.finite import StopOnNonFiniteLoss
from imagier.training.frozen_features import FrozenFeatures
from imagier.training.hardware import (
    describe_hardware,
    held_by_memory,
    keep_freed_memory,
    make_trainer,
    process_count,
    refuse_no_batches,
    refuse_precision,
    settle_threads,
    trainer_settings,
)
from imagier.training.monitors import MonitorsExist
from imagier.training.processes import in_turn, part, together
from imagier.training.progress import EpochLines, ProgressBar
from imagier.training.provenance import Provenance
from imagier.training.records import Finished, seconds_of_pretraining, write_records, write_results
from imagier.training.resuming import SentenceHolds, changes, checkpoint_to_resume
from imagier.training.run_folder import find_checkpoint, name_latest, new_folder, shared_run_folder
from imagier.training.schedule import Schedule, seconds
from imagier.training.throughput import Throughput

log = logging.getLogger(__name__)

MOST_NAMES = 5


def run(cfg: DictConfig) -> float:
    """Train, validate, test and report.

    Returns:
        The best checkpoint's monitored validation score, which sweeps optimise; NaN in processes other than the leader.

    Raises:
        ImagierError: for every error that the user can fix.
    """
    asked = waiting_since()
    settings = trainer_settings(cfg)  # reports a missing GPU before any data are read
    if cfg.data.get("root") is not None:  # the saved configuration must work from any directory
        cfg.data.root = str(Path(cfg.data.root).expanduser().absolute())
    if (weights := cfg.model.get("weights")) and (Path(weights).expanduser() / "checkpoints").is_dir():
        cfg.model.weights = str(find_checkpoint(weights, prefer="best"))  # of that run
    with outlets.log_to(_console()), together(settings):
        resumed = find_checkpoint(cfg.resume, prefer="last") if cfg.resume else None
        data = in_turn(lambda: build.data_module(cfg))
        for stage in ("train", "val", "test") if cfg.test else ("train", "val"):
            loader = data.loader(stage, shuffle=stage == "train", world=process_count(settings))
            refuse_no_batches(stage, settings[f"limit_{stage}_batches"], len(loader))
        settle_threads(cfg, data.usual_workers("train"))
        keep_freed_memory(cfg)
        build.settle_class_weights(cfg, data)
        build.settle_classes(cfg, data)
        torch.manual_seed(derive_seed("weights", cfg.seed))  # here: reading a data set for the first time may draw too
        task = build.task(cfg, data.facts)
        refuse_precision(settings["precision"], task)
        schedule = _schedule(cfg, data.samples_an_epoch)
        said = checkpoint_to_resume(resumed, cfg, task) if resumed else None
        run_dir = _open_run_folder(cfg, resumed)  # after the checks above: a wrong configuration leaves no folder
        with outlets.log_to(outlets.file(run_dir / "log.txt") if leader() else logging.NullHandler()):
            return _fit_and_report(cfg, run_dir, data, task, schedule, resumed, said, asked)


def _fit_and_report(
    cfg: DictConfig,
    run_dir: Path,
    data: ImageData,
    task: Task,
    schedule: Schedule,
    resumed: Path | None,
    said: dict[str, Any] | None,
    asked: float,
) -> float:
    began = time.monotonic()
    _describe(cfg, run_dir, task, data)
    for change in changes(said["imagier"]["config"], cfg) if said else ():
        log.info("note: %s", change)
    wandb_id = said["imagier"]["wandb_id"] if said else _new_wandb_id(run_dir)
    loggers = outlets.loggers(cfg, run_dir, wandb_id, said["global_step"] if said else None)
    callbacks = _callbacks(cfg, run_dir, data, task, schedule, wandb_id, asked)
    trainer = make_trainer(cfg, run_dir, callbacks, loggers)
    checkpoints = next((callback for callback in callbacks if isinstance(callback, Checkpoints)), None)
    if checkpoints is None:
        raise ConfigError(
            "callbacks.checkpoints._target_ must be imagier.training.checkpoints.Checkpoints or its subclass."
        )
    outlets.tell_settings(loggers, cfg)  # before any file is replaced, since W&B may reject the run
    if leader():
        write_records(cfg, run_dir, data)
        name_latest(Path(cfg.paths.runs), run_dir)
    if cfg.trainer.compile:
        task.net.compile()

    memory = held_by_memory(cfg.data.batch_size, cfg.trainer.accumulate_grad_batches, checkpoints.last)
    with loud_interrupts(), watched(trainer, run_dir), memory:
        trainer.fit(task, data, ckpt_path=resumed, weights_only=True)

    part()
    if not leader():
        return float("nan")  # only the leader evaluates and reports
    with ending_at_once(checkpoints.best):
        log.info("the best checkpoint is from epoch %d; measuring it", checkpoints.best_epoch + 1)
        task, *_ = build.from_checkpoint(checkpoints.best, cfg)  # the trained network may be sharded
        judge = make_trainer(cfg, run_dir, [], [], alone=True)
        splits: list[Split] = ["val", "test"] if cfg.test else ["val"]
        samples = {split: measured_samples(judge, data, split) for split in splits}
        results = _measured(judge, task, data, splits, _validated(trainer, checkpoints))
        spent = schedule.pretraining + schedule.earlier + time.monotonic() - began
        gpus = trainer.device_ids if trainer.strategy.root_device.type == "cuda" else []
        finished = Finished(cfg, run_dir, task, data, results, samples, checkpoints, _epochs(trainer), spent, gpus)
        print_scores(finished.measured, data.facts)
        if cfg.report:
            log.info("drawing the report")
        report = write_results(finished, loggers)
    log.info("best checkpoint: %s", checkpoints.best)
    if report is not None:
        log.info("report: %s", report)
    return results["val"][task.monitor.removeprefix("val/")]


def _new_wandb_id(run_dir: Path) -> str:
    """Return a new W&B run id, or in a W&B sweep the one that its agent has assigned and requires."""
    if "WANDB_SWEEP_ID" in os.environ and (given := os.environ.get("WANDB_RUN_ID")):
        return given
    return f"{derive_seed(run_dir.name, time.time_ns()):x}"[:8]


def _validated(trainer: Trainer, checkpoints: Checkpoints) -> Validated | None:
    """Return the best checkpoint's validation scores; None if unknown, or if evaluating it again could differ.

    It can with several processes, which split the samples; with a compiled network, which rounds differently; with a
    frozen one, which was validated on stored features; and for tasks that compute more scores after training.
    """
    trained = trainer.lightning_module
    assert isinstance(trained, Task)
    compiled = trained.net._compiled_call_impl is not None
    other = compiled or trainer.world_size > 1 or build.net_of(trained).frozen or not trained.validates_wholly
    return None if other else checkpoints.validated


def _measured(
    judge: Trainer, task: Task, data: ImageData, splits: list[Split], validated: Validated | None
) -> dict[Split, dict[str, float]]:
    """Return every score of every split, reusing known ones, since an evaluation takes minutes on slow CPUs."""
    results: dict[Split, dict[str, float]] = {}
    if validated is not None:
        results["val"] = validated.scores
        if validated.confusion is not None:
            task.confusion_counts["val"] = validated.confusion
    task.reports_anyway = True
    for split in splits:
        same = data.stand_ins.get(split, split)
        results[split] = results.get(same) or measure(judge, task, data, split)
        if same in task.confusion_counts:
            task.confusion_counts[split] = task.confusion_counts[same]
    task.to(judge.strategy.root_device)  # for the report's predictions, even if nothing was evaluated
    return results


def _epochs(trainer: Trainer) -> int:
    """Return the number of epochs started, including one that a budget or a step limit ended early."""
    return trainer.fit_loop.epoch_progress.current.ready


def _open_run_folder(cfg: DictConfig, resumed: Path | None) -> Path:
    names = cfg.task.name, f"{cfg.model.name}-{cfg.data.name}"
    return shared_run_folder(lambda: resumed.parent.parent if resumed else new_folder(Path(cfg.paths.runs), *names))


def _console() -> logging.Handler:
    console = outlets.console()
    if not leader():
        console.addFilter(logging.Filter("imagier.datamodules"))  # each process reports the samples that it skips
    return console


def _schedule(cfg: DictConfig, samples: int) -> Schedule:
    budget = seconds(cfg.trainer.budget) if cfg.trainer.budget is not None else None
    curve = call(cfg.scheduler, "scheduler", {})
    return Schedule(
        curve, build.learning_rate(cfg, samples), budget, cfg.trainer.max_steps, seconds_of_pretraining(cfg)
    )


def _callbacks(
    cfg: DictConfig, run_dir: Path, data: ImageData, task: Task, schedule: Schedule, wandb_id: str, asked: float
) -> list[Callback]:
    """Return the callbacks in the order in which they run: those that change a step first, those that save it last."""
    throughput = Throughput(asked)
    return [
        MonitorsExist(),
        FrozenFeatures(data, Path(cfg.paths.cache).expanduser()),
        SentenceHolds(),
        WithoutAverages(),
        schedule,
        StopOnNonFiniteLoss(cfg.trainer.log_every_n_steps),
        EpochLines(throughput),
        *([ProgressBar(throughput)] if sys.stderr.isatty() else []),
        Provenance(
            plain(cfg),
            task.facts.to_dict(),
            wandb_id,
            batch_size=cfg.data.batch_size,
            samples=data.samples_an_epoch,
            fingerprint=data.findings.fingerprint,
        ),
        *build.callbacks(cfg, monitor=task.monitor, mode=task.mode, run_dir=run_dir, folder=run_dir / "checkpoints"),
        throughput,  # last, so that the others' work after a step does not count as waiting for data
    ]


def _describe(cfg: DictConfig, run_dir: Path, task: Task, data: ImageData) -> None:
    log.info("run folder: %s", run_dir)
    sizes = ", ".join(f"{len(source):,} {split}" for split, source in data.sources.items())
    trained = sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
    size = "{} x {} pixels".format(*data.facts.size) if data.facts.size else "images of several sizes"
    classes = f"; {data.facts.num_classes} classes" if data.facts.classes else ""
    log.info("data: %s (%s)%s; %s", data.name, sizes, classes, size)
    log.info("network: %s, %s trainable parameters", cfg.model.name, f"{trained:,}")
    if weights := cfg.model.get("weights"):
        log.info("initial weights: %s", weights)
    log.info(
        "learning rate: %.3g (optimizer.lr=%g for a batch of %d; this run's batch is %d)",
        build.learning_rate(cfg, data.samples_an_epoch), cfg.optimizer.lr, cfg.optimizer.reference_batch,
        build.step_size(cfg, data.samples_an_epoch),
    )  # fmt: skip
    if cfg.trainer.budget is not None:
        log.info("budget: %s of training (replaces trainer.max_epochs)", cfg.trainer.budget)
    describe_hardware(cfg, data.worker_count("train"))
    data.notes += doubts(data) if leader() else []
    for note in data.notes:
        log.info("note: %s", note)
    assert isinstance(task.net, FromPixels)
    if task.net.frozen and cfg.model.get("weights") is None and cfg.resume is None:
        log.info(
            "note: model.freeze=true, but the frozen part has random weights; add model.weights=imagenet or a file."
        )
    for place, target in build.foreign_targets(cfg):
        log.info(
            "note: loading the checkpoint will need %s for its %s, which no file in conf/ offers: set IMAGIER_CONF to "
            "a folder with one that does, wherever it is loaded.", target, place,
        )  # fmt: skip
    if data.findings.problems:
        names = ", ".join(problem.id for problem in data.findings.problems[:MOST_NAMES])
        log.warning(
            "unreadable samples skipped: %d (%s%s); `imagier doctor` says what is wrong with each",
            len(data.findings.problems), names, ", ..." if len(data.findings.problems) > MOST_NAMES else "",
        )  # fmt: skip
