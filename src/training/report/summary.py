"""Content of a report: the summary of a run, and the sections of a page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from imagier.batch import Facts
from imagier.training.pictures.rates import Comparison
from imagier.training.pictures.sample import Sample

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Table:
    """Rows of text under headers; the first column names the row, numbers are already formatted.

    colors: one RGB swatch per row, shown before its name, or empty.
    words:  number of columns, from the left, that hold text and are left-aligned.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    colors: Sequence[tuple[int, int, int]] = ()
    words: int = 1


@dataclass(frozen=True)
class Section:
    """A part of the page: heading, caption, and an image, a table, or both.

    name:       short and unique; the image is written to NAME.png, and the heading's anchor is #NAME.
    picture:    uint8 [H, W, 3].
    alt:        alternative text of the image.
    photograph: whether the image consists of photographs, which the page embeds with lossy compression.
    verdicts:   (label, value) pairs for the head of the page.
    """

    name: str
    title: str
    caption: str = ""
    picture: np.ndarray | None = None
    alt: str = ""
    photograph: bool = False
    table: Table | None = None
    verdicts: Sequence[tuple[str, str]] = ()

    @cached_property
    def png(self) -> bytes:
        """The image as PNG, empty without one; encoded once, for its own file and for the page."""
        buffer = io.BytesIO()
        if self.picture is not None:
            Image.fromarray(self.picture).save(buffer, format="png", optimize=True)
        return buffer.getvalue()


@dataclass(frozen=True)
class Summary:
    """A finished run. Splits are "train", "val" and "test"; K is the number of classes.

    title:         such as "unet on streets".
    sentence:      the command line that made the run, ready to paste.
    task:          as in `task=NAME`; its sections are chosen by this name.
    metric:        the monitored metric without its split, such as "iou" or "accuracy"; the page's headline.
    facts:         of the data module, with the network's normalisation.
    results:       split -> metric -> value of the best checkpoint; "iou/road" is of a single class.
    parameters:    number of trainable parameters.
    seconds:       time of pretraining, training (all sessions of a resumed run) and evaluation.
    machine:       GPUs or else CPU, such as "NVIDIA H200".
    best_epoch:    epoch of the best checkpoint, from 0 as in metrics.csv.
    best_step:     its number of optimiser steps.
    confusion:     split -> int64 [K, K], rows truth, columns prediction, ignored pixels left out.
    samples:       validation samples with predictions: some of the best, median and worst.
    first_batch:   training samples as the network saw them, augmented.
    class_counts:  split -> int64 [K], pixels (segment) or samples (classify).
    comparison:    compress: rate-distortion curves of the network and of other codecs.
    problems:      sentences about skipped files.
    notes:         sentences that a reader must know, such as that there is no test split.
    environment:   versions, commit, data fingerprint; may be nested.
    config_yaml:   the resolved configuration.
    next_commands: (what it does, command) pairs, ready to paste.
    """

    title: str
    sentence: str
    task: str
    metric: str
    facts: Facts
    results: Mapping[str, Mapping[str, float]]
    parameters: int
    seconds: float
    machine: str = ""
    best_epoch: int | None = None
    best_step: int | None = None
    confusion: Mapping[str, np.ndarray] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    first_batch: Sequence[Sample] = ()
    class_counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    comparison: Comparison | None = None
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    config_yaml: str = ""
    next_commands: Sequence[tuple[str, str]] = ()

    @property
    def final_split(self) -> str:
        """The split of the headline: test if it has a main score, else val."""
        return "test" if self.metric in self.results.get("test", {}) else "val"
