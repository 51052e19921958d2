"""`imagier export`: a checkpoint becomes a bundle, once its graphs are known to answer as it does."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from imagier import build
from imagier.batch import Facts, Split
from imagier.datamodules.base import ImageData
from imagier.deploy.agreement import Sample
from imagier.deploy.bundle import FORMATS, PRECISIONS
from imagier.deploy.codec_graphs import refuse_unfit
from imagier.deploy.publish import Plan, publish
from imagier.errors import ConfigError
from imagier.tasks.base import Task
from imagier.trained import describe, refuse_unknown_task, training_pictures
from imagier.training.environment import versions
from imagier.training.evaluation import data_for, refuse_other_meaning
from imagier.training.loggers import console, log_to
from imagier.training.run_folder import find_checkpoint

log = logging.getLogger(__name__)

HELD_OUT = ("val", "test")
NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
EXPORTERS = ("imagier", "torch", "onnx", "onnxscript", "onnxruntime", "openvino")
# Held-out pictures, and training pictures for int8. A class is one decision, and small pictures show few values: more
# are taken, so that half a point of accuracy is more than one or two decisions. A mask has many of both.
SAMPLES, CALIBRATION = {"classify": 1000}, {"classify": 300}
USUAL_SAMPLES, USUAL_CALIBRATION = 200, 100


def run(cfg: DictConfig) -> None:
    """Export `cfg.ckpt` to `cfg.output`.

    Raises:
        ConfigError: for a format or precision that is not known or lacks its packages, a task that is not known in
            use, or data of another kind or size than the checkpoint's.
        TrainingError: when the checkpoint cannot be read.
        BundleError: when a graph cannot be made, or disagrees with the checkpoint.
    """
    formats, precisions = _asked(cfg)
    with log_to(console()):
        path = find_checkpoint(cfg.ckpt, prefer="best")
        task, trained, said = build.from_checkpoint(path)
        refuse_unknown_task(trained)
        if trained.task.name == "compress":
            refuse_unfit(formats, precisions)  # before any data is read
        facts = Facts.from_dict(said["facts"])
        data = data_for(cfg, trained, facts)
        refuse_other_meaning(facts, data.facts)
        _refuse_other_size(trained.task.name, facts, data.facts)
        if data.findings.fingerprint != said["data_fingerprint"]:
            log.info("note: graphs are compared on data other than the training data, or on data changed since.")
        held_out = data.stand_ins.get(cfg.split, cfg.split)
        plan = Plan(
            formats,
            precisions,
            *_pictures(cfg, task, trained.task.name, data),
            held_out={"data": OmegaConf.select(cfg, "data.name") or trained.data.name, "split": held_out},
            training=training_pictures(path),
        )
        description = describe(build.net_of(task), trained, said, _measured(path), _made_with(path))
        folder = Path(cfg.output).expanduser().absolute() if cfg.output else _usual_folder(path)
        bundle = publish(build.net_of(task), description, plan, folder)
        for name in (*bundle.files, "bundle.json", "README.md"):
            log.info("%s: %.1f MB", folder / name, (folder / name).stat().st_size / 1e6)
        verb = "compress photo.jpg" if trained.task.name == "compress" else "predict source=photo.jpg"
        log.info("use it: imagier %s ckpt=%s", verb, folder)


def _asked(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """Formats and precisions, and a split that did not train. Raises ConfigError before anything is read."""
    formats, precisions = _chosen("formats", cfg.formats, FORMATS), _chosen("precision", cfg.precision, PRECISIONS)
    if "int8" in precisions and not {"onnx", "openvino"} & set(formats):
        raise ConfigError(
            f"precision=int8 needs formats=onnx or openvino, but formats={', '.join(formats)}; add one of them."
        )
    _refuse_missing(formats)
    if cfg.split not in HELD_OUT:
        raise ConfigError(
            f"split={cfg.split}: graphs are compared on images that were not used for training; choose from: "
            f"{', '.join(HELD_OUT)}."
        )
    return formats, precisions


def _pictures(
    cfg: DictConfig, task: Task, name: str, data: ImageData
) -> tuple[Callable[[], Iterator[Sample]], Callable[[], Iterator[np.ndarray]]]:
    """Held-out pictures to compare graphs on, and training pictures to calibrate them by."""
    samples = cfg.samples or SAMPLES.get(name, USUAL_SAMPLES)
    calibration = cfg.calibration or CALIBRATION.get(name, USUAL_CALIBRATION)
    return (
        lambda: islice(_samples(task, data, cfg.split), samples),
        lambda: islice((image for _, image, _ in _samples(task, data, "train")), calibration),
    )


def _chosen(key: str, given: Any, known: tuple[str, ...]) -> list[str]:
    """A word or a list of words, each of them known."""
    words = given.split(",") if isinstance(given, str) else list(given)
    for word in words:
        if word not in known:
            raise ConfigError(f"{key}={word} is not known; choose from: {', '.join(known)}.")
    return words


def _refuse_missing(formats: Sequence[str]) -> None:
    """Before minutes of work; what a graph is made with is an extra of its own."""
    for form in formats:
        for name in NEEDED.get(form, ()):
            if find_spec(name) is None:
                extra = "openvino" if name == "openvino" else "export"
                raise ConfigError(f"formats={form} needs {name}; install it with pip install 'imagier[{extra}]'.")


def _refuse_other_size(task: str, trained: Facts, given: Facts) -> None:
    """A classifier's graph is of one size; what looks at every pixel takes any."""
    if task == "classify" and given.size != trained.size:
        size = f"[{trained.size[0]},{trained.size[1]}]" if trained.size else "null"
        raise ConfigError(
            f"the checkpoint and its graphs take images of data.size={size}, but the data to compare on have "
            f"{list(given.size) if given.size else 'several sizes'}; remove data.size."
        )


def _usual_folder(checkpoint: Path) -> Path:
    """In the run's folder; another checkpoint than the best does not take its place."""
    if checkpoint.parent.name != "checkpoints":
        return checkpoint.parent / "bundle"
    return checkpoint.parent.parent / ("bundle" if checkpoint.stem == "best" else f"bundle-{checkpoint.stem}")


def _samples(task: Task, data: ImageData, split: Split) -> Iterator[Sample]:
    """Every sample of a split as the net is asked about it, one by one."""
    for batch in data.loader(split):
        asked = task.question(batch)
        for row, name in enumerate(batch["id"]):
            yield name, np.ascontiguousarray(asked[row].numpy()), batch["target"][row].numpy()


def _measured(path: Path) -> dict[str, Any]:
    """What the run has measured its best checkpoint at: the scores of the test split."""
    results, summary = (_record(path, name) for name in ("metrics.json", "summary.json"))
    if path.name != "best.ckpt" or "test" not in results or "data" not in summary:
        return {}
    split = summary.get("stand_ins", {}).get("test", "test")
    known = {"samples": summary["samples"]["test"]} if "samples" in summary else {}
    return {"data": summary["data"], "split": split, **known, "scores": results["test"]}


def _made_with(path: Path) -> dict[str, Any]:
    """The commit and the libraries that the run was trained with, and those that it is exported with."""
    environment = _record(path, "environment.json")
    made_with = {key: environment[key] for key in ("commit", "python", "packages") if key in environment}
    return made_with | {"exported_with": versions(EXPORTERS)}


def _record(path: Path, name: str) -> dict[str, Any]:
    """One of the files that a run has written about itself; empty for a checkpoint that was moved away from them."""
    try:
        record = json.loads((path.parent.parent / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
