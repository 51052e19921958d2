"""Samples of a data set in a grid: with their labels, or beside the network's predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from imagier.batch import Facts
from imagier.datamodules.palette import Color
from imagier.training.pictures import wording
from imagier.training.pictures.charts import class_colors
from imagier.training.pictures.masks import WRONG, error_map, mask_overlay
from imagier.training.pictures.mosaic import Row, Tile, fit, mosaic
from imagier.training.pictures.restoration import coded_grid, denoised_grid
from imagier.training.pictures.sample import Sample

_IMAGE_BOX = (300, 396)  # largest height and width: four images per row fill the page
_LABEL_BOX = (224, 224)  # seven images per row


def sample_grid(samples: Sequence[Sample], facts: Facts) -> np.ndarray:
    """Draw truth beside prediction, in the order given; uint8 [H, W, 3].

    segment: a row per sample: image, truth, prediction, errors. classify: seven samples per row, mistakes framed.
    denoise: a row per sample: noisy, denoised, clean. compress: a row per sample: original, decoded, difference, JPEG.
    """
    if any(_is_picture(sample.target) for sample in samples):
        return coded_grid(samples) if any("bytes" in sample.figures for sample in samples) else denoised_grid(samples)
    if any(isinstance(sample.target, np.ndarray) for sample in samples):
        rows = [_mask_row(sample, facts) for sample in samples]
        legend = [*_legend(samples, facts), ("wrong", WRONG)]
        return mosaic(rows, ("picture", "truth", "prediction", "errors"), legend)
    return mosaic(_in_rows([_label_tile(sample, facts) for sample in samples], 7))


def batch_grid(samples: Sequence[Sample], facts: Facts) -> np.ndarray:
    """Draw samples with their labels only, as a network sees them in training; uint8 [H, W, 3]."""
    if any(_is_picture(sample.target) for sample in samples):
        return mosaic(_in_rows([Tile(fit(one.image, *_IMAGE_BOX), (one.id,)) for one in samples], 4))
    if any(isinstance(sample.target, np.ndarray) for sample in samples):
        tiles = []
        for sample in samples:
            image, mask = _fitted(sample.image, sample.target)
            tiles.append(Tile(mask_overlay(image, mask, facts), (sample.id,)))
        return mosaic(_in_rows(tiles, 4), legend=_legend(samples, facts))
    tiles = [Tile(fit(one.image, *_LABEL_BOX), (_name(one.target, facts), one.id)) for one in samples]
    return mosaic(_in_rows(tiles, 7))


def _mask_row(sample: Sample, facts: Facts) -> Row:
    image, truth = _fitted(sample.image, sample.target)
    _, prediction = _fitted(sample.image, sample.prediction)
    pictures = (
        image,
        mask_overlay(image, truth, facts),
        mask_overlay(image, prediction, facts),
        error_map(image, truth, prediction, facts),
    )
    score = f"   ·   IoU {wording.percent(sample.figures['iou'])}" if "iou" in sample.figures else ""
    return Row([Tile(picture) for picture in pictures], title=sample.id + score)


def _is_picture(target: np.ndarray | float) -> bool:
    return isinstance(target, np.ndarray) and target.ndim == 3


def _label_tile(sample: Sample, facts: Facts) -> Tile:
    fraction = isinstance(sample.target, float)  # which no prediction matches exactly
    wrong = not fraction and sample.prediction != sample.target
    chance = f" {100 * sample.figures['probability']:.0f} %" if "probability" in sample.figures else ""
    mark = "" if fraction else "✗ " if wrong else "✓ "
    said = f"{mark}{_name(sample.prediction, facts)}{chance}"
    truth = (f"truth: {_name(sample.target, facts)}",) if wrong or fraction else ()
    return Tile(fit(sample.image, *_LABEL_BOX), (said, *truth, sample.id), wrong=wrong)


def _fitted(image: np.ndarray, mask: np.ndarray | float | None) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(mask)
    # Pillow resizes uint8; larger classes do not occur, as masks are stored in uint8.
    return fit(image, *_IMAGE_BOX), fit(labels.astype(np.uint8), *_IMAGE_BOX, smooth=False)


def _name(label: Any, facts: Facts) -> str:
    if isinstance(label, float):
        return f"{label:.4g}"
    return facts.classes[int(label)] if label is not None and 0 <= label < facts.num_classes else str(label)


def _legend(samples: Sequence[Sample], facts: Facts) -> list[tuple[str, Color]]:
    """Return entries for the classes that occur, and a black one for ignored pixels if there are any."""
    masks = [mask for sample in samples for mask in (sample.target, sample.prediction) if isinstance(mask, np.ndarray)]
    seen = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    colors = class_colors(facts)
    known = [index for index in seen.tolist() if 0 <= index < facts.num_classes and index != facts.ignore_index]
    entries = [(facts.classes[index], colors[index]) for index in known]
    return [*entries, ("ignored", (0, 0, 0))] if len(known) < len(seen) else entries


def _in_rows(tiles: list[Tile], columns: int) -> list[Row]:
    return [Row(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
