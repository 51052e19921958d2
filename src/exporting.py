"""`imagier export`: turn a checkpoint into a bundle, after checking that its graphs compute the same outputs."""

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
# Numbers of held-out images for the comparison, and of training images for int8 calibration. A classifier makes one
# decision per image, and small images contain few values, so it needs more images: half a point of accuracy must be
# more than one or two decisions. A mask has many of both.
SAMPLES, CALIBRATION = {"classify": 1000}, {"classify": 300}
USUAL_SAMPLES, USUAL_CALIBRATION = 200, 100


def run(cfg: DictConfig) -> None:
    """Export `cfg.ckpt` to `cfg.output`.

    Raises:
        ConfigError: a format or precision is unknown or lacks its packages, the split was trained on, the task cannot
            be deployed, or the data differ from the checkpoint's in kind or size.
        TrainingError: the checkpoint cannot be read.
        BundleError: a graph cannot be made, or disagrees with the checkpoint.
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
    """Return formats and precisions. Raises ConfigError for invalid ones, or a split that was trained on."""
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
    """Return functions that yield held-out samples to compare graphs on, and training images to calibrate them."""
    samples = cfg.samples or SAMPLES.get(name, USUAL_SAMPLES)
    calibration = cfg.calibration or CALIBRATION.get(name, USUAL_CALIBRATION)
    return (
        lambda: islice(_samples(task, data, cfg.split), samples),
        lambda: islice((image for _, image, _ in _samples(task, data, "train")), calibration),
    )


def _chosen(key: str, given: Any, known: tuple[str, ...]) -> list[str]:
    """Return a comma-separated string or a list as a list, and refuse unknown items."""
    words = given.split(",") if isinstance(given, str) else list(given)
    for word in words:
        if word not in known:
            raise ConfigError(f"{key}={word} is not known; choose from: {', '.join(known)}.")
    return words


def _refuse_missing(formats: Sequence[str]) -> None:
    """Refuse a format whose packages are not installed, before minutes of work."""
    for form in formats:
        for name in NEEDED.get(form, ()):
            if find_spec(name) is None:
                extra = "openvino" if name == "openvino" else "export"
                raise ConfigError(f"formats={form} needs {name}; install it with pip install 'imagier[{extra}]'.")


def _refuse_other_size(task: str, trained: Facts, given: Facts) -> None:
    """Refuse images of another size for a classifier, whose graph has a fixed input size; other tasks take any size."""
    if task == "classify" and given.size != trained.size:
        size = f"[{trained.size[0]},{trained.size[1]}]" if trained.size else "null"
        raise ConfigError(
            f"the checkpoint and its graphs take images of data.size={size}, but the data to compare on have "
            f"{list(given.size) if given.size else 'several sizes'}; remove data.size."
        )


def _usual_folder(checkpoint: Path) -> Path:
    """The default output: bundle/ in the run folder, bundle-NAME/ for a checkpoint other than best.

    A checkpoint outside a run folder's checkpoints/ gets bundle/ beside it.
    """
    if checkpoint.parent.name != "checkpoints":
        return checkpoint.parent / "bundle"
    return checkpoint.parent.parent / ("bundle" if checkpoint.stem == "best" else f"bundle-{checkpoint.stem}")


def _samples(task: Task, data: ImageData, split: Split) -> Iterator[Sample]:
    """Yield the samples of a split one by one: name, input image as the network takes it, target."""
    for batch in data.loader(split):
        asked = task.question(batch)
        for row, name in enumerate(batch["id"]):
            yield name, np.ascontiguousarray(asked[row].numpy()), batch["target"][row].numpy()


def _measured(path: Path) -> dict[str, Any]:
    """Return the run's test scores for its best checkpoint; empty for other checkpoints, or if the run has none."""
    results, summary = (_record(path, name) for name in ("metrics.json", "summary.json"))
    if path.name != "best.ckpt" or "test" not in results or "data" not in summary:
        return {}
    split = summary.get("stand_ins", {}).get("test", "test")
    known = {"samples": summary["samples"]["test"]} if "samples" in summary else {}
    return {"data": summary["data"], "split": split, **known, "scores": results["test"]}


def _made_with(path: Path) -> dict[str, Any]:
    """Return the commit and library versions of the training, and the library versions of the export."""
    environment = _record(path, "environment.json")
    made_with = {key: environment[key] for key in ("commit", "python", "packages") if key in environment}
    return made_with | {"exported_with": versions(EXPORTERS)}


def _record(path: Path, name: str) -> dict[str, Any]:
    """Read one of the run's JSON records; empty if it is missing, as for a checkpoint moved out of its run folder."""
    try:
        record = json.loads((path.parent.parent / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
