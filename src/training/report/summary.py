"""What a report is made from: a run summed up, and the sections that a page is built of."""

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
    """Rows of text under headers; the first column names the row, numbers come already written out.

    colors: one RGB swatch a row before its name, or empty.
    words:  how many columns, from the left, hold words rather than numbers and start at their left edge.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    colors: Sequence[tuple[int, int, int]] = ()
    words: int = 1


@dataclass(frozen=True)
class Section:
    """A part of the page: heading, a sentence on how to read it, and a picture, a table, or both.

    name:       short and unique; the picture becomes pictures/NAME.png and the heading's anchor #NAME.
    picture:    uint8 [H, W, 3].
    alt:        what the picture shows, for those who cannot see it.
    photograph: whether the picture consists of photographs, which the page then holds in a compact form.
    verdicts:   (label, value) pairs that belong at the head of the page.
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
        """The picture as a file, or nothing without one: encoded once, for its own file and for the page."""
        buffer = io.BytesIO()
        if self.picture is not None:
            Image.fromarray(self.picture).save(buffer, format="png", optimize=True)
        return buffer.getvalue()


@dataclass(frozen=True)
class Summary:
    """A finished run. Splits are "train", "val" and "test"; K is the number of classes.

    title:         such as "unet on streets".
    sentence:      the command line that made the run, ready to paste.
    task:          as in `task=NAME`; the sections that belong to it are chosen by this name.
    metric:        the monitored metric without its split, such as "iou" or "accuracy"; the page's headline.
    facts:         of the data module.
    results:       split -> metric -> value of the best checkpoint; "iou/road" is of a single class.
    parameters:    trainable numbers in the net.
    seconds:       spent on training, in all sessions of a resumed run, on what was trained first, and on measuring.
    machine:       in a few words, such as "1 x NVIDIA H200" or "2 CPU cores".
    best_epoch:    of the best checkpoint, from 0 as in metrics.csv.
    best_step:     the same in optimiser steps.
    confusion:     split -> int64 [K, K], rows truth, columns prediction, ignored pixels left out.
    samples:       of validation with predictions, some of the best, of the middle and of the worst.
    first_batch:   training samples as the net saw them, augmented.
    class_counts:  split -> int64 [K], pixels (segment) or samples (classify).
    comparison:    compress: rate-distortion curves of the net and of other codecs.
    problems:      sentences about files that were skipped and the like.
    notes:         sentences a reader must know, such as that there is no test split.
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
        """The split that the verdict is about: test where that has a main score, else val."""
        return "test" if self.metric in self.results.get("test", {}) else "val"
