"""A bundle: one folder with a network ready for use, described in bundle.json.

NAME/bundle.json          the network's input and output, scores, provenance and graphs
NAME/weights.safetensors  its weights, named as in its state dict
NAME/model-*.onnx, ...    the network as graphs, which take uint8 pixels
NAME/encoder-*, decoder-* a codec's two graphs; the exact entropy coder between them is in `imagier.models`
NAME/tables.safetensors   that coder's integer probability tables
NAME/curves.png, ...      plots of its training, where the run has drawn them
NAME/README.md            the commands to use it

Opening a bundle executes no code from it. This module imports neither torch nor Lightning.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagier.batch import frozen
from imagier.errors import BundleError

ABOUT, WEIGHTS, TABLES, README = "bundle.json", "weights.safetensors", "tables.safetensors", "README.md"
CHECKSUM = "checksum"  # key in ABOUT, of all its other content
FORMAT = 1  # increment whenever the meaning of the content changes
FORMATS = ("onnx", "pt2", "openvino")
TASKS = ("segment", "classify", "denoise", "compress")
PRECISIONS = ("fp32", "int8")
TRAINING = ("curves", "confusion", "levels", "rate_distortion")  # plots, NAME.png
WHOLE, PARTS = "net", ("encoder", "decoder")


@dataclass(frozen=True)
class Description:
    """A network's input, output and origin.

    name:         MODEL-DATA.
    task:         segment, classify, denoise or compress.
    net:          the network's class, relative to `imagier.models`, such as unet.UNet.
    arguments:    keyword arguments of its constructor.
    channels:     3 for RGB, 1 for grey.
    mean, std:    per channel, of image / 255; applied inside the network and its graphs.
    resize:       (height, width) to which images are resized before the network, or None: they keep their size.
    stride:       the network pads images to multiples of this itself; None: it does not, and its graphs take one size.
    classes:      names in the order of their indices; colors: an RGB triple each.
    ignore_index: the mask value left out of loss and metrics, or None.
    lambdas:      trade-offs of a codec's qualities 1, 2, ...; see `imagier.models.coded.Codec`.
    metrics:      data, split, samples (their number) and scores of the evaluation; empty if there was none.
    provenance:   versions, commit, data_fingerprint, data_settings that select the training samples, epoch, step.
    """

    name: str
    task: str
    net: str
    arguments: Mapping[str, Any]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, int] | None
    stride: int | None
    classes: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    ignore_index: int | None = None
    lambdas: tuple[float, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def color_space(self) -> str:
        """Name of the channels in their order: RGB or grey."""
        return "RGB" if self.channels == 3 else "grey"


@dataclass(frozen=True)
class Graph:
    """One exported graph.

    file:      its name in the folder.
    format:    one of FORMATS.
    precision: one of PRECISIONS.
    agreement: how closely its outputs match the checkpoint's; see `imagier.deploy.agreement`.
    part:      WHOLE, or one of a codec's PARTS.
    """

    file: str
    format: str
    precision: str
    agreement: Mapping[str, Any]
    part: str = WHOLE


@dataclass(frozen=True)
class Bundle:
    """The content of `folder`; `files` maps every file but bundle.json and README.md to its SHA-256."""

    folder: Path
    description: Description
    graphs: tuple[Graph, ...]
    files: Mapping[str, str]

    def graph(self, form: str, precision: str | None = None, part: str = WHOLE) -> Graph:
        """Return the first graph of this format, part and precision; None: any precision.

        Raises:
            BundleError: there is none; the message lists those that exist.
        """
        for graph in self.graphs:
            if (graph.format, graph.part) == (form, part) and precision in (None, graph.precision):
                return graph
        there = ", ".join(f"{graph.format} {graph.precision}" for graph in self.graphs) or "none"
        raise BundleError(
            f"{self.folder} has no graph of format {form}{f' and precision {precision}' if precision else ''}; its "
            f"graphs: {there}. Export it again with formats={form}{f' precision={precision}' if precision else ''}."
        )

    def path(self, name: str) -> Path:
        """Return the path of one of `files` after checking its SHA-256.

        Raises:
            BundleError: the file is missing or was changed.
        """
        path = self.folder / name
        try:
            found = digest(path)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}. {_CURE}") from error
        if found != self.files.get(name):
            raise BundleError(f"{path} is not the file that was exported: its checksum does not match. {_CURE}")
        return path

    def training(self) -> dict[str, Path]:
        """Return the paths of the training plots by name, checked as by `path`."""
        return {name: self.path(f"{name}.png") for name in TRAINING if f"{name}.png" in self.files}

    def to_json(self) -> str:
        """Return the content of bundle.json."""
        plain = {"format": FORMAT, "color_space": self.description.color_space} | dataclasses.asdict(self.description)
        plain |= {"graphs": [dataclasses.asdict(graph) for graph in self.graphs], "files": self.files}
        return json.dumps(plain | {CHECKSUM: _checksum(plain)}, indent=1) + "\n"


_CURE = "Copy the bundle again, or export it again."


def is_bundle(path: Path) -> bool:
    """Whether `path` is a bundle's folder, even a damaged one."""
    return (path / ABOUT).is_file() or (path / WEIGHTS).is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read bundle.json.

    Raises:
        BundleError: it is missing or damaged, or was written by a newer version.
    """
    path = folder / ABOUT
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        version = plain.pop("format")
        if version != FORMAT:
            raise BundleError(
                f"{path} has format {version}, but this version of imagier reads {FORMAT}. Update imagier."
            )
        if plain.pop(CHECKSUM) != _checksum({"format": version} | plain):
            raise BundleError(f"{path} is not as it was exported: its checksum does not match. {_CURE}")
        plain.pop("color_space")  # written for people who read the file; `channels` implies it
        graphs, files = tuple(Graph(**graph) for graph in plain.pop("graphs")), dict(plain.pop("files"))
        description = Description(**{key: frozen(value) for key, value in plain.items()})
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror}. Name a folder written by `imagier export`."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path} is damaged ({error}). {_CURE}") from error
    if description.task not in TASKS:
        raise BundleError(
            f"{path} is for the task {description.task}, which this version does not know. Update imagier."
        )
    if Path(description.name).name != description.name:  # predict names a folder after it
        raise BundleError(f"{path} has the name {description.name}, which is not that of a file. {_CURE}")
    if any(Path(name).name != name for name in files) or any(graph.file not in files for graph in graphs):
        raise BundleError(f"{path} refers to files outside the bundle. {_CURE}")
    return Bundle(folder, description, graphs, files)


def _checksum(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
