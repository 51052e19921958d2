"""Make a bundle, and publish it only if its graphs agree with the trained network."""

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from imagier.deploy import codec_graphs
from imagier.deploy.agreement import Agreement, Sample, compare
from imagier.deploy.bundle import ABOUT, PRECISIONS, README, WHOLE, Bundle, Description, Graph, digest, read_bundle
from imagier.deploy.graph import save_onnx, save_openvino, save_pt2, trace
from imagier.deploy.network import TorchNet, save_network
from imagier.deploy.readme import readme
from imagier.deploy.runtime import OnnxRuntime, OpenVino, Runtime
from imagier.errors import BundleError, ConfigError, writing_to
from imagier.files import beside, left_behind
from imagier.models.pixels import FromPixels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to export.

    formats, precisions: of the graphs; int8 is for onnx and openvino.
    samples:     makes the held-out samples on which graphs are compared with the network; see `agreement.compare`.
    held_out:    their data set and split, as recorded in bundle.json.
    calibration: makes training images, uint8 [C, H, W], from which int8 takes its ranges.
    training:    paths of the training plots, by names of `imagier.deploy.bundle.TRAINING`.
    """

    formats: Sequence[str]
    precisions: Sequence[str]
    samples: Callable[[], Iterable[Sample]]
    calibration: Callable[[], Iterable[np.ndarray]]
    held_out: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Path] = field(default_factory=dict)


def publish(net: FromPixels, description: Description, plan: Plan, folder: Path) -> Bundle:
    """Write the whole bundle or nothing: an earlier one at `folder` stays until the new one has been verified.

    Raises:
        ConfigError: `folder` contains anything but a bundle or cannot be written, or int8 or OpenVINO is requested for
            a codec.
        BundleError: the network cannot be exported, or a graph disagrees with it.
    """
    folder = folder.resolve()  # a link to a bundle is kept, and then leads to the new one
    before = _replaceable(folder)
    if description.task == "compress":
        codec_graphs.refuse_unfit(plan.formats, plan.precisions)
    aside = beside(folder)
    with writing_to(folder):
        _sweep(folder)
        aside.mkdir(parents=True)
    try:
        with writing_to(folder):
            bundle = _filled(aside, net, description, plan)
            (aside / ABOUT).write_text(bundle.to_json(), encoding="utf-8")
            (aside / README).write_text(readme(bundle), encoding="utf-8")
            _replace(folder, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if gone := sorted(graph.file for graph in before if graph.file not in bundle.files):
        log.info("the previous bundle is replaced, including %s; formats=... exports several at once", ", ".join(gone))
    return Bundle(folder, description, bundle.graphs, bundle.files)


def _sweep(folder: Path) -> None:
    """Clean up after killed exports; restore the old bundle if one was killed while replacing it."""
    old = _old(folder)
    # Also those with this process's own id: in a container the main process always has the same one.
    replaced = [*left_behind(folder.parent, re.escape(old.name)), beside(old)]
    for left in replaced:
        if left.exists() and not folder.exists():
            left.rename(folder)
    for left in (*replaced, *left_behind(folder.parent, re.escape(folder.name)), beside(folder)):
        shutil.rmtree(left, ignore_errors=True)


def _old(folder: Path) -> Path:
    """Return NAME.old, from which `beside` makes the temporary name of a bundle being replaced."""
    return folder.with_name(f"{folder.name}.old")


def _replaceable(folder: Path) -> tuple[Graph, ...]:
    """Return the graphs to be replaced. Raises ConfigError if `folder` contains anything besides a bundle."""
    if folder.exists() and not (folder / ABOUT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"output={folder} exists and is not a bundle; choose another folder, or remove it.")
    if not folder.exists() or not any(folder.iterdir()):
        return ()
    try:
        bundle = read_bundle(folder)
    except BundleError as error:
        raise ConfigError(
            f"output={folder} contains a bundle that cannot be read, and possibly other files: {error} To export "
            "here, remove that folder, or choose another."
        ) from error
    others = {path.name for path in folder.iterdir()} - {ABOUT, README, *bundle.files}
    if others:
        raise ConfigError(
            f"output={folder} contains {min(others)} besides the bundle, which would be lost; move it away, or choose "
            "another folder."
        )
    return bundle.graphs


def _filled(folder: Path, net: FromPixels, description: Description, plan: Plan) -> Bundle:
    save_network(net, folder)
    for name, path in plan.training.items():
        shutil.copyfile(path, folder / f"{name}.png")
    graphs, complaints = [], []
    for graph, agreement in _compared(folder, net, description, plan):
        said = " ".join([graph.format, graph.precision, *([graph.part] if graph.part != WHOLE else [])])
        log.info("%s: %s", said, _told(agreement))
        worst = ", ".join(agreement.worst)
        complaints += [f"{said}: {fault} (worst: {worst})" for fault in agreement.faults(graph.precision)]
        graphs.append(replace(graph, agreement=agreement.to_dict() | dict(plan.held_out)))
    if complaints:
        raise BundleError(
            f"not exported, because a graph deviates from the trained network: {'; '.join(complaints)}. The previous "
            "bundle, if any, is kept. Remove that format or precision, calibrate on more images (calibration), or "
            "compare on more images if a few decide (samples, split)."
        )
    files = {path.name: digest(path) for path in sorted(folder.iterdir())}
    return Bundle(folder, description, tuple(graphs), files)


def _compared(folder: Path, net: FromPixels, description: Description, plan: Plan) -> Iterator[tuple[Graph, Agreement]]:
    """Write each requested graph and compare it with the network."""
    if description.task == "compress":
        yield from codec_graphs.compared(folder, net, description, plan.formats, plan.samples)
        return
    made = list(_graphs(folder, net, description, plan))
    if made:
        graphs, runtimes = zip(*made, strict=True)
        yield from zip(graphs, compare(TorchNet(net), runtimes, plan.samples(), description), strict=True)


def _graphs(folder: Path, net: FromPixels, description: Description, plan: Plan) -> Iterator[tuple[Graph, Runtime]]:
    """Write each requested graph; yield it with a runtime that has opened it."""
    if not plan.formats:
        return
    answer = "picture" if description.task == "denoise" else "logits"
    program = trace(net, description)
    if {"onnx", "openvino"} & set(plan.formats):
        fp32, int8 = (folder / f"model-{precision}.onnx" for precision in PRECISIONS)
        save_onnx(program, fp32, answer)
        if "int8" in plan.precisions:
            from imagier.deploy.quantize import quantize

            quantize(fp32, int8, plan.calibration())
        for precision, onnx in zip(PRECISIONS, (fp32, int8), strict=True):
            yield from _opened(onnx, precision, plan.formats if precision in plan.precisions else ())
    if "pt2" in plan.formats:
        save_pt2(program, folder / "model.pt2")
        yield Graph("model.pt2", "pt2", "fp32", {}), TorchNet(torch.export.load(folder / "model.pt2").module())


def _opened(onnx: Path, precision: str, formats: Sequence[str]) -> Iterator[tuple[Graph, Runtime]]:
    """Open the graph in `onnx` in each of the formats; the file itself is removed unless onnx is one of them."""
    if "onnx" in formats:
        yield Graph(onnx.name, "onnx", precision, {}), OnnxRuntime(onnx)
    if "openvino" in formats:
        path = onnx.with_suffix(".xml")
        save_openvino(onnx, path)
        yield Graph(path.name, "openvino", precision, {}), OpenVino(path)
    if "onnx" not in formats:
        onnx.unlink(missing_ok=True)


def _told(agreement: Agreement) -> str:
    return (
        f"{agreement.samples} held-out images, max difference {agreement.difference:.2g}, equal decisions "
        f"{agreement.decisions:.4%}, {agreement.metric} {agreement.reference:.4g} -> {agreement.graph:.4g}"
    )


def _replace(folder: Path, by: Path) -> None:
    """Replace `folder` by two renames, between which a reader finds no folder rather than an incomplete one."""
    old = beside(_old(folder))
    if folder.exists():
        folder.rename(old)
    by.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
