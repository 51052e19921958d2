"""A bundle: one folder that holds a net for use, and says in bundle.json all that its users must know.

NAME/bundle.json          what the net takes and answers, how good it is, where it comes from, which graphs there are
NAME/weights.safetensors  its weights, by the names of the net's tensors
NAME/model-*.onnx, ...    the net as graphs, which take uint8 pixels
NAME/encoder-*, decoder-* a codec's two graphs; between them its numbers are coded by `imagier.models`, exactly
NAME/tables.safetensors   and by these probabilities, in whole numbers
NAME/curves.png, ...      pictures of its training, where the run has drawn them
NAME/README.md            the commands to use it

Opening one executes nothing of what it holds, and imports neither torch nor Lightning.
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
CHECKSUM = "checksum"  # in ABOUT, of all else that stands there
FORMAT = 1  # to be raised whenever the meaning of what is written changes
FORMATS = ("onnx", "pt2", "openvino")
TASKS = ("segment", "classify", "denoise", "compress")
PRECISIONS = ("fp32", "int8")
TRAINING = ("curves", "confusion", "levels", "rate_distortion")  # pictures, NAME.png
WHOLE, PARTS = "net", ("encoder", "decoder")


@dataclass(frozen=True)
class Description:
    """A net, what it takes, what it answers, and where it comes from.

    name:         MODEL-DATA.
    task:         segment, classify, denoise or compress.
    net:          the net's class, a name below `imagier.models`, such as unet.UNet.
    arguments:    the class is made with these.
    channels:     3 for RGB, 1 for grey.
    mean, std:    per channel, of image / 255; applied inside the net and its graphs.
    resize:       (height, width) to which a picture is brought before the net sees it, or None: it is taken as it is.
    stride:       to a multiple of this the net itself extends pictures, or None: it takes one size alone.
    classes:      names in the order of their indices; colors: an RGB triple each.
    ignore_index: the mask value that counts nowhere, or None.
    lambdas:      of a codec: what its qualities 1, 2, ... were trained for; see `imagier.models.coded.Codec`.
    metrics:      what it was measured at: data, split, samples (how many), scores.
    provenance:   versions, commit, data_fingerprint, data_settings that say which samples trained, epoch, step.
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
        """What the channels are, in their order."""
        return "RGB" if self.channels == 3 else "grey"


@dataclass(frozen=True)
class Graph:
    """One exported graph.

    file:      its name in the folder.
    format:    one of FORMATS.
    precision: one of PRECISIONS.
    agreement: how far its answers are from the checkpoint's; see `imagier.deploy.agreement`.
    part:      WHOLE, or which of a codec's PARTS.
    """

    file: str
    format: str
    precision: str
    agreement: Mapping[str, Any]
    part: str = WHOLE


@dataclass(frozen=True)
class Bundle:
    """What lies in `folder`: `files` are the names of all that matter, with their SHA-256."""

    folder: Path
    description: Description
    graphs: tuple[Graph, ...]
    files: Mapping[str, str]

    def graph(self, form: str, precision: str | None = None, part: str = WHOLE) -> Graph:
        """The graph of this format and part, of `precision` where it matters.

        Raises:
            BundleError: there is none, saying which there are.
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
        """Where one of `files` is, once its bytes are known to be those that were exported.

        Raises:
            BundleError: the file is missing or was changed.
        """
        path = self.folder / name
        try:
            found = digest(path)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}. {_CURE}") from error
        if found != self.files[name]:
            raise BundleError(f"{path} is not the file that was exported: its checksum does not match. {_CURE}")
        return path

    def training(self) -> dict[str, Path]:
        """Where the pictures of its training are, by their names; see `path`."""
        return {name: self.path(f"{name}.png") for name in TRAINING if f"{name}.png" in self.files}

    def to_json(self) -> str:
        """The text of bundle.json."""
        plain = {"format": FORMAT, "color_space": self.description.color_space} | dataclasses.asdict(self.description)
        plain |= {"graphs": [dataclasses.asdict(graph) for graph in self.graphs], "files": self.files}
        return json.dumps(plain | {CHECKSUM: _checksum(plain)}, indent=1) + "\n"


_CURE = "Copy the bundle again, or export it again."


def is_bundle(path: Path) -> bool:
    """Whether this is a bundle's folder, be it a damaged one."""
    return (path / ABOUT).is_file() or (path / WEIGHTS).is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read bundle.json.

    Raises:
        BundleError: there is none, it is damaged, or a newer version has written it.
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
        plain.pop("color_space")  # is told for readers of the file: `channels` says it
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
    if any(Path(name).name != name for name in files) or any(graph.file not in files for graph in graphs):
        raise BundleError(f"{path} refers to files outside the bundle. {_CURE}")
    return Bundle(folder, description, graphs, files)


def _checksum(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """The file's SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
