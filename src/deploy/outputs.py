"""Write prediction results to files, for each task."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imagier.datamodules.labels import ids_of
from imagier.datamodules.palette import as_rgb
from imagier.deploy.bundle import Description
from imagier.deploy.results import Classes, Mask, Picture, Result, save_pixels
from imagier.errors import ConfigError
from imagier.files import write_text

Write = Callable[[Result, Path, str], dict[str, Any]]
FORMATS = ("default", "cityscapes")
TABLE = "classes.csv"


def writer(description: Description, form: str, top: int = 5) -> Write:
    """Return a function that writes a result below a folder, under a stem, and returns its manifest entry.

    Args:
        description: of the network, which is not a codec.
        form: default, or cityscapes: only label ids, as the official evaluator reads them.
        top: number of most probable classes in a classifier's entry.

    Raises:
        ConfigError: the form is unknown, or it is cityscapes and the network does not segment, or has classes without
            an id in Cityscapes.
    """
    if form not in FORMATS:
        raise ConfigError(f"format={form} is not known; it is one of: {', '.join(FORMATS)}.")
    if form == "cityscapes":
        if description.task != "segment":
            raise ConfigError(f"format=cityscapes writes masks, but {description.name} is for task={description.task}.")
        ids = np.array(ids_of(description.classes), np.uint8)
        return lambda result, folder, stem: _label_ids(result, folder, stem, ids)
    if description.task == "classify":
        return lambda result, folder, stem: _classes(result, top)
    return {"segment": _mask, "denoise": _picture}[description.task]


def _label_ids(result: Result, folder: Path, stem: str, ids: np.ndarray) -> dict[str, Any]:
    assert isinstance(result, Mask)
    name = f"{stem.removesuffix('_leftImg8bit')}_labelIds.png"
    return _saved(folder, {name: ids[result.labels]}) | result.to_dict()


def _mask(result: Result, folder: Path, stem: str) -> dict[str, Any]:
    assert isinstance(result, Mask)
    parts = {"masks": result.labels, "colors": result.colored(), "overlays": result.picture()}
    return _saved(folder, {f"{part}/{stem}.png": pixels for part, pixels in parts.items()}) | result.to_dict()


def _picture(result: Result, folder: Path, stem: str) -> dict[str, Any]:
    assert isinstance(result, Picture)
    beside = np.concatenate([as_rgb(result.image), result.picture()], axis=1)
    made = {f"pictures/{stem}.png": result.pixels, f"beside/{stem}.png": beside}
    return _saved(folder, made) | result.to_dict()


def _classes(result: Result, top: int) -> dict[str, Any]:
    assert isinstance(result, Classes)
    return {"outputs": []} | result.to_dict(top)  # no files: manifest and table contain everything


def _saved(folder: Path, pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    for name, pixels in pictures.items():
        save_pixels(pixels, folder / name)
    return {"outputs": list(pictures)}


def write_table(folder: Path, lines: Iterable[Mapping[str, Any]], top: int) -> Path:
    """Write classes.csv: a row per readable image with its `top` most probable classes and their probabilities."""
    lines, text = [line for line in lines if "top" in line], io.StringIO()
    top = min(top, max((len(line["top"]) for line in lines), default=top))  # a network may have fewer classes
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", *(f"{name}_{place}" for place in range(1, top + 1) for name in ("class", "probability"))])
    for line in lines:
        table.writerow([line["file"], *(one[key] for one in line["top"] for key in ("class", "probability"))])
    write_text(folder / TABLE, text.getvalue())
    return folder / TABLE
